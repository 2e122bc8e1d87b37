"""Whether an app could do its work from here: settings, plugins, stores and clocks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Literal

from stem_core.contracts import TellsTime
from stem_core.errors import PluginError, StemError
from stem_core.model import HEARTBEATS, StoreUrl
from stem_core.model._value import value

if TYPE_CHECKING:
    from stem_core.client.app import Stem
    from stem_core.plugins.runtime import Runtime

#: Seconds that a clock may be off before it is told.
SKEW = 1.0

#: ``warning``: it works, and somebody should look at it. ``skipped``: could not be asked, because of another failure.
State = Literal["ok", "warning", "failed", "skipped"]


@value
class Check:
    """One thing that was looked at."""

    #: ``settings``, ``plugins``, ``broker``, ``result backend``, ``state store``, and ``... clock`` for each of these
    #: stores that tells its time.
    name: str
    state: State
    #: What was found, or what is wrong.
    detail: str
    #: What to do next; empty when it is well.
    hint: str = ""
    #: The address of a store, without its secrets; empty for the rest.
    target: str = ""
    #: Seconds that a store took to answer one small question, once it was open.
    latency: float | None = None
    #: Seconds by which this machine's clock is ahead of the store's; below 0: behind it.
    skew: float | None = None


#: Something small to ask an opened store.
_Question = Callable[[Any], Awaitable[object]]
_STORES = ("broker", "result backend", "state store")


async def check_health(app: Stem) -> list[Check]:
    """Look at everything, whatever fails on the way. The stores are asked side by side."""
    try:
        runtime = app.runtime
        urls = runtime.urls()
    except PluginError as error:
        return [Check(name="settings", state="ok", detail="readable"), _failed("plugins", error), *_skipped(*_STORES)]
    except StemError as error:
        return [_failed("settings", error), *_skipped("plugins", *_STORES)]
    checks = [_settings(runtime), _plugins(runtime)]
    questions: tuple[tuple[StoreUrl | None, Callable[[], AbstractAsyncContextManager[Any]], _Question], ...] = (
        (urls.broker, runtime.open_broker, lambda broker: broker.depth([runtime.settings.app.default_queue])),
        (urls.backend, runtime.open_backend, lambda backend: backend.get(["health"])),
        (urls.state, runtime.open_state, lambda state: state.get(HEARTBEATS, "health")),
    )
    asked = [
        _store(app, name, url, opener, question)
        for name, (url, opener, question) in zip(_STORES, questions, strict=True)
    ]
    for answers in await asyncio.gather(*asked):
        checks += answers
    # The clocks come last.
    return sorted(checks, key=lambda check: check.skew is not None)


def healthy(checks: list[Check]) -> bool:
    """Whether nothing failed; warnings do not count."""
    return all(check.state in {"ok", "warning"} for check in checks)


def _settings(runtime: Runtime) -> Check:
    given = sum(row.origin != "default" for row in runtime.settings.rows())
    if runtime.urls().default_used:
        return Check(
            name="settings",
            state="warning",
            detail=f"no broker is configured; the default is {runtime.urls().broker}",
            hint="set STEM_BROKER_URL, or broker_url in stem.toml",
        )
    return Check(name="settings", state="ok", detail=f"{given} set, namespace {runtime.settings.app.namespace}")


def _plugins(runtime: Runtime) -> Check:
    try:
        runtime.require_usable()
    except PluginError as error:
        return _failed("plugins", error)
    return Check(name="plugins", state="ok", detail=runtime.plugins_line.removeprefix("plugins: "))


def _failed(name: str, error: StemError, target: str = "") -> Check:
    return Check(name=name, state="failed", detail=error.message, hint=error.hint, target=target)


def _skipped(*names: str) -> list[Check]:
    return [Check(name=name, state="skipped", detail="not asked") for name in names]


async def _store(
    app: Stem,
    name: str,
    url: StoreUrl | None,
    opener: Callable[[], AbstractAsyncContextManager[Any]],
    question: _Question,
) -> list[Check]:
    if url is None:
        return [Check(name=name, state="ok", detail="no results are kept")]
    target = str(url)
    limit = app.runtime.settings.worker.call_timeout
    try:
        async with asyncio.timeout(limit), opener() as store:
            begun = app.clock.monotonic()
            await question(store)
            latency = app.clock.monotonic() - begun
            clock = [await _clock(app, name, target, store)] if isinstance(store, TellsTime) else []
    except TimeoutError:
        return [
            Check(
                name=name,
                state="failed",
                detail=f"no answer within {limit:g} s",
                hint="see that the store is up and can be reached from here",
                target=target,
            )
        ]
    except StemError as error:
        return [_failed(name, error, target)]
    except Exception as error:
        # A plugin's own error must not hide what the other stores have to say.
        detail = f"{type(error).__name__}: {error}"
        hint = "the plugin let out an error that is none of Stem's: tell its author"
        return [Check(name=name, state="failed", detail=detail, hint=hint, target=target)]
    return [Check(name=name, state="ok", detail="reachable", target=target, latency=latency), *clock]


async def _clock(app: Stem, name: str, target: str, store: TellsTime) -> Check:
    before, begun = app.clock.now(), app.clock.monotonic()
    told = await store.now()
    took = app.clock.monotonic() - begun
    # The store looked at its clock somewhere within the time that the question took.
    skew = before + took / 2 - told
    name = f"{name} clock"
    if abs(skew) - took / 2 <= SKEW:
        return Check(name=name, state="ok", detail="in step", target=target, skew=skew)
    way = "ahead of" if skew > 0 else "behind"
    return Check(
        name=name,
        state="warning",
        detail=f"this machine is {abs(skew):.1f} s {way} the store",
        hint="set the clocks by NTP; delays and leases follow the store's clock, but expires= follows this machine's",
        target=target,
        skew=skew,
    )
