"""Coroutine tests that need no plugin: each is wrapped into a plain test that runs it on an event loop of its own.

Fixtures are plain too. What has to be opened on the loop of the test is handed over as an :class:`OnLoop`, which the
wrapper enters before the test and leaves after it.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from types import TracebackType
from typing import Any, Generic, TypeVar

import attrs

#: The frame that a case starts from, see below.
_CASE = "run_case"

T_co = TypeVar("T_co", covariant=True)
F = TypeVar("F", bound=Callable[..., Any])


@attrs.frozen
class OnLoop(Generic[T_co]):
    """What a fixture gives that the test finds opened: ``open()`` is entered on its event loop."""

    open: Callable[[], AbstractAsyncContextManager[T_co]]


def in_real_time(test: F) -> F:
    """Marks a case that runs by the clock of this machine."""
    test.__dict__["in_real_time"] = True
    return test


def is_in_real_time(test: object) -> bool:
    """Whether a test function is so marked."""
    return getattr(test, "in_real_time", False)


class Case:
    """Base of the contract classes. ``async def test_...`` of a subclass become plain tests."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name, function in list(vars(cls).items()):
            if name.startswith("test") and inspect.iscoroutinefunction(function):
                setattr(cls, name, _plain(function))


def _plain(function: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    async def run_case(self: Any, given: dict[str, Any]) -> None:
        __tracebackhide__ = True
        async with AsyncExitStack() as stack:
            for name, value in given.items():
                if isinstance(value, OnLoop):
                    given[name] = await stack.enter_async_context(value.open())
            await function(self, **given)

    @functools.wraps(function)
    def test(self: Any, **given: Any) -> None:
        __tracebackhide__ = True
        try:
            asyncio.run(run_case(self, given))
        except Exception as error:
            raise error.with_traceback(_of_the_case(error.__traceback__))  # noqa: B904 - it is the same error

    return test


def _of_the_case(traceback: TracebackType | None) -> TracebackType | None:
    """A traceback from where the case begins; the inside of ``asyncio.run`` before it tells nobody anything."""
    found = traceback
    while found is not None and found.tb_frame.f_code.co_name != _CASE:
        found = found.tb_next
    return found or traceback
