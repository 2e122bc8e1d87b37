"""``stem worker``: run tasks until told to stop."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Annotated, Any, cast

import attrs
import typer

from stem_core.cli import options, output
from stem_core.settings import WORKER, Key

#: Parameters with this prefix are settings of the worker: both it and the app have a namespace.
_PREFIX = "worker_"
_SHORT = {"queues": "-Q", "exclude": "-X", "concurrency": "-c", "strategy": "-P", "log_level": "-l"}
#: Options that may be given several times, and may have several values in one.
_REPEATED = frozenset({"queues", "exclude", "reserve", "limit", "broadcasts"})
_METAVARS = {
    "queues": "NAME[:WEIGHT]",
    "broadcasts": "NAME",
    "exclude": "NAME",
    "reserve": "NAME=SLOTS",
    "limit": "NAME=SLOTS",
    "autoscale": "MIN,MAX",
    "name": "NAME",
    "namespace": "NAME",
    "strategy": "NAME",
    "log_level": "LEVEL",
    "log_format": "FORMAT",
}
_HELP = """Run tasks until told to stop.

    `stem worker tasks:app` is short for `stem worker -A tasks:app`. TIME is 250ms, 5s, 2m, 1h or a number of seconds.

    SIGTERM drains: it waits for running tasks, within --shutdown-timeout. SIGINT (Ctrl-C) asks them to stop and hands
    back what is left, SIGQUIT hands back everything at once; repeating a signal goes one step further.

    With --replicas the signals are for all workers, and SIGHUP replaces them one after another.

    Exit codes: 0 drained, 1 error, 2 usage or configuration, 3 plugin, 4 stopped with started work handed back.
    """


def register(cli: typer.Typer) -> None:
    """Add the command."""
    cli.command("worker", help=inspect.cleandoc(_HELP))(options.command(_run, _parameters()))


def _run(*, context: typer.Context, named: str | None, target: options.Target, burst: bool, **given: Any) -> None:
    if named is not None:
        if target.app not in {None, named}:
            raise typer.BadParameter(f"two apps are named: {named} and -A {target.app}")
        target = attrs.evolve(cast("Any", target), app=named)
    settings = {
        f"worker.{name.removeprefix(_PREFIX)}": ",".join(value) if isinstance(value, list) else value
        for name, value in given.items()
        if value is not None
    }
    from stem_core.settings import peek, read_sources

    replicas, _ = peek(read_sources(command_line=settings), "worker.replicas")
    if replicas > 1:
        from stem_core.worker.replicas_link import Setup
        from stem_core.worker.replicas_supervisor import supervise

        stores = {key: url for key, url in target.stores.items() if url is not None}
        setup = Setup(app=target.app, settings={**stores, **settings}, plugins=target.plugins, burst=burst)
        raise typer.Exit(supervise(setup, replicas, tell=_tell, last=context.obj))
    from stem_core.bootstrap import compose, run_worker

    try:
        composed = compose(target.line(settings), app_needed=True)
    except Exception as error:
        from stem_core.cli.replica import show_cause

        show_cause(error, settings)
        raise
    code = run_worker(composed.app, settings, burst=burst, announce=output.message, last=context.obj)
    raise typer.Exit(code)


def _tell(why: str) -> None:
    output.message(f"stem: error: {why}")


def _parameters() -> Iterator[inspect.Parameter]:
    """What the command takes: each setting of a worker is an option, told by its declaration and no other."""
    named = typer.Argument(metavar="[MODULE:ATTRIBUTE]", help="The app, as with -A.", show_default=False)
    burst = typer.Option("--burst", help="Stop when there is nothing more to do, instead of waiting for work.")
    yield _parameter("context", typer.Context, inspect.Parameter.empty)
    yield _parameter("named", Annotated[str | None, named], None)
    yield _parameter("target", options.Target, inspect.Parameter.empty)
    for key in WORKER.keys:
        yield _parameter(_PREFIX + key.name, _option(key), None)
    yield _parameter("burst", Annotated[bool, burst], False)


def _parameter(name: str, annotation: Any, default: object) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _option(key: Key) -> Any:
    names = [key.option]
    kind: Any = str | None
    if isinstance(key.default, bool):
        kind = bool | None
        names = [f"{key.option}/--no-{key.option.removeprefix('--')}"]
    elif key.name in _REPEATED:
        kind = list[str] | None
    if key.name in _SHORT:
        names.append(_SHORT[key.name])
    told = f"{key.help} [default: {key.show(key.default).strip('()')}] [env: {', '.join(key.environment)}]"
    option = typer.Option(*names, metavar=_metavar(key), help=told, show_default=False)
    return Annotated[kind, option]


def _metavar(key: Key) -> str | None:
    if isinstance(key.default, bool):
        return None
    accepts = key.parse.accepts
    guessed = "TIME" if accepts.startswith("a duration") else "N" if "number" in accepts else "VALUE"
    return _METAVARS.get(key.name, guessed)
