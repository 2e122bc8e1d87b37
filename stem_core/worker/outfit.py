"""What a child process is given to become like its worker: the app, the settings as they are resolved, the plugins."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from stem_core.errors import ConfigurationError

if TYPE_CHECKING:
    from stem_core.client.app import Stem
    from stem_core.settings import Settings


class Logging(msgspec.Struct):
    """How a child logs."""

    level: str
    format: str


class Outfit(msgspec.Struct):
    """The setup of a child, as JSON. Nothing in it is resolved anew in the child."""

    #: ``module:attribute`` of the app.
    app: str
    #: Modules to import besides those that the app includes: where the tasks were defined.
    modules: list[str]
    #: All settings that somebody set, by dotted key, as they were resolved.
    settings: dict[str, Any]
    #: What relative things start from.
    directory: str
    #: Id of the worker.
    worker: str
    #: Tasks that run in children.
    tasks: list[str]
    #: None: the program that embeds the worker sets up its own logging.
    logging: Logging | None


def pack(outfit: Outfit) -> bytes:
    """As bytes. What JSON has no word for goes as text, which the parser of the setting reads again."""
    return msgspec.json.encode(outfit, enc_hook=str)


def unpack(data: bytes) -> Outfit:
    """What :func:`pack` made."""
    return msgspec.json.decode(data, type=Outfit)


def make_outfit(app: Stem, settings: Settings, tasks: Iterable[str], *, worker: str, owns_process: bool) -> Outfit:
    """The outfit of the children of this worker, which run the named tasks.

    Raises:
        ConfigurationError: a child could not find the app.
    """
    names = sorted(tasks)
    said = {key: settings.get(key) for key in settings.keys if settings.origin(key).kind != "default"}
    options = settings.worker
    return Outfit(
        app=locate(app, settings.app.app),
        modules=sorted({app.tasks[name].function.__module__ for name in names}),
        settings=said,
        directory=str(settings.directory),
        worker=worker,
        tasks=names,
        logging=Logging(options.log_level, options.log_format) if owns_process else None,
    )


def locate(app: Stem, configured: str | None = None) -> str:
    """Where another process finds this app: ``module:attribute``.

    How it was loaded, else a global name in the module that made it, else what is ``configured``.

    Raises:
        ConfigurationError: nowhere.
    """
    if app.path is not None:
        return app.path
    module = sys.modules.get(app.module)
    if app.module != "__main__" and module is not None:
        for name, found in vars(module).items():
            if found is app:
                return f"{app.module}:{name}"
    if configured is not None:
        return configured
    if app.module == "__main__":
        raise ConfigurationError(
            f"the app {app.name!r} is made in the program itself (__main__), which child processes cannot import",
            hint="move the app and its tasks into a module of their own (tasks.py) and import them from there",
        )
    raise ConfigurationError(
        f"child processes cannot find the app {app.name!r}: it is no global name of {app.module}",
        hint="assign it to a name in a module, or say where it is: STEM_APP=MODULE:ATTRIBUTE, which may be a function "
        "without arguments that returns it",
    )
