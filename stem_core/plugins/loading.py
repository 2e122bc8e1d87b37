"""Importing plugins, one by one: what is wrong with one is written on it and touches no other."""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Iterator
from difflib import get_close_matches
from importlib.metadata import EntryPoint
from types import ModuleType
from typing import Any

from stem_core.contracts import API_VERSION
from stem_core.plugins import hookspecs
from stem_core.plugins.discovery import GROUP
from stem_core.plugins.plugin import Plugin

logger = logging.getLogger("stem_core.plugins")

#: The parameters of each hook.
HOOKS: dict[str, tuple[str, ...]] = {
    name: tuple(inspect.signature(function).parameters)
    for name, function in vars(hookspecs).items()
    if name.startswith("stem_")
}

_VERSION = re.compile(r"([0-9]+)\.([0-9]+)")


def load(plugin: Plugin) -> None:
    """Import the plugin and check its hook implementations; whatever is wrong makes it broken."""
    point = EntryPoint(name=plugin.name, value=plugin.target, group=GROUP)
    try:
        implementation = point.load()
    # SystemExit: a module that calls sys.exit() must not take `stem plugins` with it.
    except (Exception, SystemExit) as error:
        logger.debug("the plugin %s cannot be imported", plugin, exc_info=error)
        plugin.fail(f"{plugin.target} cannot be imported: {one_line(error)}")
        return
    problems = [*_api_problems(implementation), *_hook_problems(implementation)]
    if problems:
        plugin.fail("; ".join(problems))
        return
    plugin.implementation = implementation
    plugin.hooks = tuple(sorted(hook for hook, _, _ in _marked(implementation)))


def one_line(error: BaseException) -> str:
    """Type and message of an exception, in one line."""
    message = " ".join(str(error).split())
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def _routines(implementation: Any) -> Iterator[tuple[str, Any]]:
    for name in dir(implementation):
        routine = getattr(implementation, name, None)
        if inspect.isroutine(routine):
            yield name, routine


def _marked(implementation: Any) -> Iterator[tuple[str, str, Any]]:
    """``(hook, name, function)`` of all that carries the marker."""
    for name, routine in _routines(implementation):
        options = getattr(routine, "stem_impl", None)
        if isinstance(options, dict):
            yield options.get("specname") or name, name, routine


def _api_problems(implementation: Any) -> Iterator[str]:
    needed = getattr(implementation, "requires_api", None)
    if needed is None:
        return
    match = _VERSION.fullmatch(needed) if isinstance(needed, str) else None
    if match is None:
        yield f"requires_api is {needed!r}; write a version such as {API_VERSION!r}"
        return
    major, minor = map(int, API_VERSION.split("."))
    if int(match[1]) != major or int(match[2]) > minor:
        yield f"it requires version {needed} of the plugin interface; this Stem has {API_VERSION}"


def _hook_problems(implementation: Any) -> Iterator[str]:
    marked = {name for _, name, _ in _marked(implementation)}
    for hook, _, function in _marked(implementation):
        if hook not in HOOKS:
            close = get_close_matches(hook, HOOKS, n=1)
            remedy = f"did you mean {close[0]}()?" if close else f"hooks are {', '.join(sorted(HOOKS))}"
            yield f"{hook}() is no hook; {remedy}"
        elif function.stem_impl.get("wrapper") or function.stem_impl.get("hookwrapper"):
            yield f"{hook}() is a hook wrapper; implementations are called one by one and wrap nothing"
        elif inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            yield f"{hook}() is async; hooks are plain functions, only what they return may be asynchronous"
        elif not _fits(function, HOOKS[hook]):
            written = ", ".join(map(str, inspect.signature(function).parameters.values()))
            yield f"{hook}({written}) has wrong arguments; the hook is {hook}({', '.join(HOOKS[hook])})"
    for name, routine in _routines(implementation):
        # Helpers that were imported from elsewhere are not the plugin's own attempt at a hook.
        own = not isinstance(implementation, ModuleType) or routine.__module__ == implementation.__name__
        if name.startswith("stem_") and name not in marked and own:
            yield f"{name}() is not marked with @hookimpl"


def _fits(function: Any, names: tuple[str, ...]) -> bool:
    """Whether each parameter is one of the hook's, and would really be passed: one with a default is not."""
    return all(
        parameter.name in names
        and parameter.default is parameter.empty
        and parameter.kind in {parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD}
        for parameter in inspect.signature(function).parameters.values()
    )
