"""Calling hooks, implementation by implementation, so that everything returned keeps its owner."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import pluggy

from stem_core.errors import ConfigurationError
from stem_core.model._value import value
from stem_core.plugins import hookspecs
from stem_core.plugins.loading import one_line
from stem_core.plugins.plugin import Plugin

logger = logging.getLogger("stem_core.plugins")

T = TypeVar("T")


@value
class ForEach:
    """An argument that differs from plugin to plugin."""

    make: Callable[[Plugin], object]


class Hooks:
    """The implementations of the loaded plugins."""

    def __init__(self, plugins: Sequence[Plugin]) -> None:
        self._manager = pluggy.PluginManager("stem")
        self._manager.add_hookspecs(hookspecs)
        self._plugins: dict[int, Plugin] = {}
        # pluggy keeps the last registered first; reversed, the order is that of the list.
        for plugin in reversed(plugins):
            if not plugin.loaded:
                continue
            try:
                self._manager.register(plugin.implementation, plugin.name)
            except Exception as error:
                plugin.fail(f"it cannot be registered: {one_line(error)}")
            else:
                self._plugins[id(plugin.implementation)] = plugin

    def call(self, hook: str, **arguments: object) -> Iterator[tuple[Plugin, Any]]:
        """Yield each loaded plugin with what its implementation returned. One that raises makes its plugin broken.

        An argument that is a :class:`ForEach` is made for each of them.

        Raises:
            ConfigurationError: raised by an implementation that was given settings, which are the user's to mend.
        """
        for implementation in reversed(getattr(self._manager.hook, hook).get_hookimpls()):
            plugin = self._plugins[id(implementation.plugin)]
            if not plugin.loaded:
                continue
            values = [arguments[name] for name in implementation.argnames]
            try:
                result = implementation.function(
                    *(item.make(plugin) if isinstance(item, ForEach) else item for item in values)
                )
            except Exception as error:
                if arguments and isinstance(error, ConfigurationError):
                    raise
                logger.debug("%s() of the plugin %s raised", hook, plugin, exc_info=error)
                plugin.fail(f"{hook}() raised {one_line(error)}")
                continue
            if inspect.iscoroutine(result):
                result.close()
                plugin.fail(f"{hook}() returned a coroutine; hooks are plain functions")
                continue
            yield plugin, result

    def notify(self, hook: str, **arguments: object) -> None:
        """As :meth:`call`, for a hook that returns nothing."""
        for _ in self.call(hook, **arguments):
            pass

    def collect(self, hook: str, kind: type[T], **arguments: object) -> Iterator[tuple[Plugin, list[T]]]:
        """As :meth:`call`, for a hook that returns several of ``kind``; a plugin that returns else is broken."""
        for plugin, result in self.call(hook, **arguments):
            if result is None:
                continue
            try:
                items = _items(result)
            except Exception as error:
                plugin.fail(f"{hook}() raised {one_line(error)}")
                continue
            if items is None:
                plugin.fail(f"{hook}() returned a {type(result).__name__}, not a list of {kind.__name__}")
            elif strangers := [item for item in items if not isinstance(item, kind)]:
                plugin.fail(f"{hook}() returned a {type(strangers[0]).__name__} in its list, not a {kind.__name__}")
            else:
                yield plugin, items


def _items(result: Any) -> list[Any] | None:
    if not isinstance(result, Iterable) or isinstance(result, str | bytes | Mapping):
        return None
    return list(result)
