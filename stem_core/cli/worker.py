"""``stem worker``: run tasks until told to stop."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from stem_core.cli import common, options, output
from stem_core.settings import WORKER, Key

#: Parameters with this prefix are settings of the worker: both it and the app have a namespace.
_PREFIX = "worker_"
_SHORT = {"queues": "-Q", "concurrency": "-c", "strategy": "-P", "log_level": "-l"}
_METAVARS = {
    "queues": "NAME[:WEIGHT]",
    "broadcasts": "NAME",
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
    cli.command("worker", help=inspect.cleandoc(_HELP))(_command())


def _run(
    *,
    context: typer.Context,
    target: str | None,
    app: str | None,
    burst: bool,
    broker: str | None,
    backend: str | None,
    namespace: str | None,
    plugins: list[str] | None,
    **given: Any,
) -> None:
    if target is not None and app is not None and target != app:
        raise typer.BadParameter(f"two apps are named: {target} and -A {app}")
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

        stores = {"broker_url": broker, "result_backend_url": backend, "namespace": namespace}
        given_stores = {key: url for key, url in stores.items() if url is not None}
        setup = Setup(app=target or app, settings={**given_stores, **settings}, plugins=plugins, burst=burst)
        raise typer.Exit(supervise(setup, replicas, tell=_tell, last=context.obj))
    try:
        composed = common.compose_app(
            target or app, broker, backend, namespace, plugins, settings=settings, app_needed=True
        )
    except Exception as error:
        from stem_core.cli.replica import show_cause

        show_cause(error, settings)
        raise
    from stem_core.bootstrap import run_worker

    code = run_worker(composed.app, settings, burst=burst, announce=output.message, last=context.obj)
    raise typer.Exit(code)


def _tell(why: str) -> None:
    output.message(f"stem: error: {why}")


def _command() -> Callable[..., None]:
    """The function that typer reads: each setting of a worker is an option, told by its declaration and no other."""

    def command(**arguments: Any) -> None:
        _run(**arguments)

    target = typer.Argument(metavar="[MODULE:ATTRIBUTE]", help="The app, as with -A.", show_default=False)
    burst = typer.Option("--burst", help="Stop when there is nothing more to do, instead of waiting for work.")
    declared: dict[str, tuple[Any, Any]] = {
        "context": (typer.Context, inspect.Parameter.empty),
        "target": (Annotated[str | None, target], None),
        "app": (options.App, None),
        **{_PREFIX + key.name: _option(key) for key in WORKER.keys},
        "burst": (Annotated[bool, burst], False),
        "broker": (options.Broker, None),
        "backend": (options.Backend, None),
        "namespace": (options.Namespace, None),
        "plugins": (options.Plugins, None),
    }
    parameters = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in declared.items()
    ]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # typer asks inspect.signature
    command.__annotations__ = {name: annotation for name, (annotation, _) in declared.items()}
    return command


def _option(key: Key) -> tuple[Any, Any]:
    names = [key.option]
    kind: Any = str | None
    if isinstance(key.default, bool):
        kind = bool | None
        names = [f"{key.option}/--no-{key.option.removeprefix('--')}"]
    elif key.name in ("queues", "broadcasts"):
        kind = list[str] | None
    if key.name in _SHORT:
        names.append(_SHORT[key.name])
    told = f"{key.help} [default: {key.show(key.default).strip('()')}] [env: {', '.join(key.environment)}]"
    option = typer.Option(*names, metavar=_metavar(key), help=told, show_default=False)
    return Annotated[kind, option], None


def _metavar(key: Key) -> str | None:
    if isinstance(key.default, bool):
        return None
    accepts = key.parse.accepts
    guessed = "TIME" if accepts.startswith("a duration") else "N" if "number" in accepts else "VALUE"
    return _METAVARS.get(key.name, guessed)
