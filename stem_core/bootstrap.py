"""The composition root: what a command line says, the app it names, and the worker that runs it, wired together."""

from __future__ import annotations

import importlib
import inspect
import sys
import traceback
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import attrs

from stem_core.client import Stem
from stem_core.errors import AppNotFound, ConfigurationError, StemError
from stem_core.model._value import value
from stem_core.settings import peek, read_sources

if TYPE_CHECKING:
    from stem_core.model import StoreUrl
    from stem_core.plugins.runtime import Runtime
    from stem_core.worker.replicas_link import Link


@value
class CommandLine:
    """What a command was told about the app and its settings."""

    #: ``module:attribute``, as given with ``-A``; None: ``STEM_APP``, the file, or no app.
    app: str | None = None
    #: Settings by dotted key, as text; None is not a value.
    settings: Mapping[str, object] = attrs.field(factory=dict)
    #: The plugins selected with ``-p``; None: not said; one empty name: the built-ins only.
    plugins: tuple[str, ...] | None = None


@value
class Composition:
    """The app that a command works with."""

    app: Stem
    #: Whether somebody named it; else it has no tasks, and serves to reach the stores.
    named: bool


def compose(line: CommandLine, *, app_needed: bool = False) -> Composition:
    """The app that the command line, ``STEM_APP`` or the file names, with the settings of the command line.

    Without a name it is an app without tasks, unless ``app_needed``. From here on the current directory can be
    imported from, for apps and for plugins that are modules in it.

    Raises:
        AppNotFound: the name leads to no app.
        ConfigurationError: no app is named and one is needed; a setting cannot be used.
    """
    _import_from_here()
    spec, origin = peek(read_sources(command_line={"app": line.app}), "app")
    if spec is not None:
        app = load_app(spec, origin="-A" if origin.kind == "command-line" else str(origin))
    elif app_needed:
        raise ConfigurationError(
            "no app is named",
            hint="name it as -A MODULE:ATTRIBUTE, in STEM_APP, or in stem.toml: app = 'MODULE:ATTRIBUTE'",
        )
    else:
        app = Stem("stem")
    app.configure(command_line=line.settings, selection=line.plugins)
    return Composition(app=app, named=spec is not None)


def load_app(spec: str, *, origin: str = "-A") -> Stem:
    """Import the app called ``module:attribute``: a Stem, or a function without arguments that returns one.

    The current directory can be imported from. ``origin`` says in messages where ``spec`` stood.

    Raises:
        AppNotFound: no such module or attribute, no Stem, or an exception on the way, which is its cause.
    """
    name, colon, attribute = spec.partition(":")
    where = f"{origin} {spec}"
    if not colon or not name or not attribute:
        raise AppNotFound(
            f"{where}: this names no app",
            hint=f"write MODULE:ATTRIBUTE, such as {_module_of(name) or 'tasks'}:{attribute or 'app'}",
        )
    if not all(part.isidentifier() for part in name.split(".")):
        raise AppNotFound(f"{where}: {name!r} is no name of a module", hint=_similar(name, attribute))
    _import_from_here()
    module = _import(name, attribute, where)
    found: Any = module
    for step in attribute.split("."):
        found = getattr(found, step, _MISSING)
        if found is _MISSING:
            raise AppNotFound(
                f"{where}: the module {name!r} has no attribute {attribute!r}", hint=_apps_of(module, attribute)
            )
    app = found if isinstance(found, Stem) else _make(found, module, attribute, where)
    # Child processes of a worker find it there, too.
    app.path = spec
    return app


def _import_from_here() -> None:
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)


_MISSING = object()


def _import(name: str, attribute: str, where: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise AppNotFound(
                f"{where}: there is no module {error.name!r} in {Path.cwd()} or among the installed packages",
                hint=_similar(name, attribute),
            ) from None
        raise _raised(error, f"{where}: importing {name!r} failed", name) from error
    except (Exception, SystemExit) as error:
        raise _raised(error, f"{where}: importing {name!r} failed", name) from error


def _make(found: Any, module: ModuleType, attribute: str, where: str) -> Stem:
    kind = f"it is {_describe(found)}"
    factory = callable(found) and not inspect.isclass(found) and not _is_task(found)
    if not factory:
        raise AppNotFound(f"{where}: {attribute!r} is no Stem; {kind}", hint=_apps_of(module, attribute))
    try:
        inspect.signature(found).bind()
    except TypeError:
        raise AppNotFound(
            f"{where}: the function {attribute!r} takes arguments; an app comes from one without",
            hint=_apps_of(module, attribute),
        ) from None
    try:
        made = found()
    except (Exception, SystemExit) as error:
        raise _raised(error, f"{where}: the function {attribute!r} failed", module.__name__) from error
    if inspect.iscoroutine(made):
        made.close()
        raise AppNotFound(f"{where}: {attribute!r} is a coroutine function", hint="make it a plain function (def)")
    if not isinstance(made, Stem):
        raise AppNotFound(
            f"{where}: the function {attribute!r} returned no Stem but {_describe(made)}",
            hint=f"end it with: return {_apps(module)[0]}" if _apps(module) else "return the Stem from it",
        )
    return made


def _raised(error: BaseException, what: str, name: str) -> AppNotFound:
    if isinstance(error, StemError):
        # It says itself what to do next.
        return AppNotFound(f"{what}: {error.message}{_place(error)}", hint=error.hint)
    text = str(error).partition("\n")[0]
    if isinstance(error, SyntaxError):
        text = f"{error.msg} ({error.filename}, line {error.lineno})"
    told = f"{type(error).__name__}: {text}" if text else type(error).__name__
    place = "" if isinstance(error, SyntaxError) else _place(error)
    return AppNotFound(f"{what}: {told}{place}", hint=f'python -c "import {name}" shows the whole traceback')


def _place(error: BaseException) -> str:
    """Where it was raised: the last line of the user's code, not of the import system or of Stem."""
    own = str(Path(__file__).parent)
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<") and not frame.filename.startswith(own)
    ]
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""


def _apps(module: ModuleType) -> list[str]:
    return sorted(name for name, found in vars(module).items() if isinstance(found, Stem))


def _apps_of(module: ModuleType, attribute: str) -> str:
    if apps := _apps(module):
        return f"its apps are {', '.join(apps)}: -A {module.__name__}:{apps[0]}"
    close = get_close_matches(attribute, [name for name in vars(module) if not name.startswith("_")], n=1)
    guess = f"did you mean {close[0]!r}? " if close and close[0] != attribute else ""
    return (
        f"{guess}{module.__name__!r} holds no Stem; make one: {attribute.partition('.')[0]} = Stem({module.__name__!r})"
    )


def _module_of(name: str) -> str:
    """A path that somebody took for a module, as a module."""
    return name.removesuffix(".py").removeprefix("./").strip("/").replace("/", ".")


def _similar(name: str, attribute: str) -> str:
    dotted = _module_of(name)
    *parents, last = dotted.split(".")
    folder = Path.cwd().joinpath(*parents)
    names = sorted(
        entry.stem
        for entry in (folder.iterdir() if folder.is_dir() else ())
        if (entry.suffix == ".py" or (entry.is_dir() and any(entry.glob("*.py")))) and entry.stem.isidentifier()
    )
    if dotted != name and last in names:
        return f"write it as a module: {dotted}:{attribute}"
    if close := get_close_matches(last, names, n=1):
        return f"did you mean {'.'.join((*parents, close[0]))}:{attribute}?"
    return "change to the folder that holds it, or install the package that does"


def _describe(found: object) -> str:
    if _is_task(found):
        return f"the task {getattr(found, 'name', '?')}"
    if inspect.ismodule(found):
        return "a module"
    if inspect.isclass(found):
        return f"the class {found.__name__}"
    return "None" if found is None else f"of type {type(found).__name__}"


def _is_task(found: object) -> bool:
    from stem_core.tasks import Task

    return isinstance(found, Task)


def require_shared(runtime: Runtime, what: str) -> None:
    """Refuse stores that only one process can see, for ``what`` (``"a worker"``) that has to meet others in them.

    Raises:
        BrokenPlugin: a selected plugin cannot be used, so that nobody knows what it would have provided.
        ConfigurationError: the broker, result backend or state store is such a one.
    """
    runtime.require_usable()
    urls = runtime.urls()
    stores: tuple[tuple[str, StoreUrl | None], ...] = (
        ("broker", urls.broker), ("result backend", urls.backend), ("state store", urls.state)
    )  # fmt: skip
    for kind, url in stores:
        if url is None or url.scheme not in runtime.brokers or runtime.brokers.get(url.scheme).capabilities.shared:
            continue
        raise ConfigurationError(
            f"the {kind} {url} is private to one process: {what} on it would meet nobody",
            hint="use a broker that processes share, such as sqlite:///stem.db, "
            "or run the worker inside your program: async with Worker(app)",
        )


def run_worker(
    app: Stem,
    settings: Mapping[str, object],
    *,
    burst: bool = False,
    announce: Callable[[str], None] | None = None,
    last: bool = False,
    link: Link | None = None,
) -> int:
    """Run a worker in this process until it is stopped, or with ``burst`` until there is nothing more to do.

    Args:
        app: Composed with the same ``settings``.
        settings: Those of the command line, by dotted key.
        burst: Whether to stop when there is nothing more to do.
        announce: Is given the lines of the banner; None: they are log lines. Where the log is JSON, they always are.
        last: Whether the process ends with it; see :meth:`stem_core.worker.Worker.run_blocking`.
        link: Leads to the supervisor, where this worker is one of several replicas.

    Returns the exit code.

    Raises:
        StemError: the worker cannot start, or failed.
    """
    from stem_core.worker import Worker
    from stem_core.worker.identity import numbered
    from stem_core.worker.logs import configure_logging, held_back
    from stem_core.worker.stopping import margins

    with held_back():
        runtime = app.runtime
        require_shared(runtime, "a worker" if link is None else "a replica")
        options = runtime.settings.worker
        if link is not None and options.name is not None:
            settings = {**settings, "worker.name": numbered(options.name, link.setup.number)}
        worker = Worker(app, command_line=settings)
        configure_logging(options.log_level, options.log_format, worker.id, one_of_several=link is not None)
    if not (options.log_format == "text" or (options.log_format == "auto" and sys.stderr.isatty())):
        announce = None
    if link is None:
        return worker.run_blocking(burst=burst, announce=announce, last=last)
    link.on_gone(lambda: worker.stop(reason="the supervisor is gone"))
    budget = options.shutdown_timeout
    ready = partial(link.ready, budget, *margins(budget, options.soft_margin, options.hard_margin))
    announce = announce if link.setup.banner else _say_nothing
    return worker.run_blocking(burst=burst, announce=announce, on_ready=ready, last=last)


def _say_nothing(text: str) -> None:
    """The banner of a worker like others that have shown it."""
