"""Importing the modules that define tasks."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Iterable
from fnmatch import fnmatchcase
from types import ModuleType

from stem_core.errors import ConfigurationError, StemError

_GLOB = frozenset("*?[")


def import_tasks(patterns: Iterable[str]) -> list[str]:
    """Import the modules that ``patterns`` name, such as ``shop.tasks`` and ``shop.*.tasks``; returns their names.

    ``*``, ``?`` and ``[...]`` match inside one part of the name. Packages on the way are imported too.

    Raises:
        ConfigurationError: a pattern that matches no module, or a module that cannot be imported.
        StemError: what a module raised of these itself, such as InvalidName.
    """
    modules: dict[str, None] = {}
    for pattern in patterns:
        found = _expand(pattern)
        if not found:
            raise ConfigurationError(
                f"include={pattern!r} matches no module",
                hint="check the name; packages need to be importable from here",
            )
        modules.update(dict.fromkeys(found))
    for module in modules:
        _import(module, f"include={module!r}")
    return list(modules)


def _expand(pattern: str) -> list[str]:
    first, *rest = pattern.split(".")
    if not all((first, *rest)) or _GLOB & set(first):
        raise ConfigurationError(
            f"include={pattern!r} is no module pattern",
            hint="write shop.tasks or shop.*.tasks, with a package in front",
        )
    names = [first]
    for place, part in enumerate(rest, start=2):
        globbed = bool(_GLOB & set("".join(rest[: place - 1])))
        names = [
            child
            for name in names
            for child in (_children(name, part, pattern) if _GLOB & set(part) else [f"{name}.{part}"])
        ]
        # Behind a glob a name is looked for, before it it is demanded: then its absence is found by importing it.
        if globbed and not _GLOB & set(part):
            names = [name for name in names if _exists(name, pattern)]
    return names


def _children(package: str, part: str, pattern: str) -> list[str]:
    module = _import(package, f"include={pattern!r}")
    found = pkgutil.iter_modules(getattr(module, "__path__", []))
    return sorted(f"{package}.{child.name}" for child in found if fnmatchcase(child.name, part))


def _exists(name: str, pattern: str) -> bool:
    package = name.rpartition(".")[0]
    module = _import(package, f"include={pattern!r}")
    return hasattr(module, "__path__") and importlib.util.find_spec(name) is not None


def _import(name: str, source: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise ConfigurationError(
                f"{source}: there is no module {error.name!r}",
                hint="check the name, and that the program runs in the right folder and environment",
            ) from error
        raise ConfigurationError(
            f"{source}: {name} needs the module {error.name!r}, which is not installed", hint=f"install {error.name}"
        ) from error
    except StemError:
        raise  # says by itself what is wrong, and with which exit code
    except Exception as error:  # a module of the user can raise anything
        raise ConfigurationError(
            f"{source}: importing {name} raised {type(error).__name__}: {error}", hint=f"try: python -c 'import {name}'"
        ) from error
