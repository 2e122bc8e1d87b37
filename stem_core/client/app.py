"""The application: tasks, middleware and settings under one name, not yet connected to anything."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, TypeVar

from stem_core.client.session import Session, Sessions
from stem_core.contracts import Middleware
from stem_core.errors import AppNotOpen, ConfigurationError, InvalidOption
from stem_core.signals import Signals

if TYPE_CHECKING:
    from stem_core.client.results import TaskHandle
    from stem_core.plugins.runtime import Runtime

#: What ``lifespan=`` takes: entered once a worker process, its value is ``ctx.state``.
Lifespan = Callable[["Stem"], AbstractAsyncContextManager[Any]]

R = TypeVar("R")


class Stem:
    """The configured application; :meth:`open` makes a session of it.

    Making one reads no file and loads no plugin: that happens once, when :attr:`runtime` is first needed.

    Args:
        name: A label for people; it is no part of any key in a store.
        include: Modules with tasks, globs allowed (``"shop.*.tasks"``); imported when a worker starts.
        lifespan: Takes the app, returns an async context manager. A worker enters it once, tasks find its value as
            ``ctx.state``; it is left after the last task.
        middleware: Wraps publishing and running; the first is the outermost, plugins' middleware comes inside.
        broker_url, result_backend_url, state_url, namespace, plugins, default_queue, default_max_retries: Settings;
            the command line and the environment win over what stands here, ``stem.toml`` and defaults lose.
        settings: Any further setting of the app (``require_config``, ``max_message_size``, ``result_ttl`` ...) or,
            with its dotted key through ``**{"sqlite.synchronous": "normal"}``, of a plugin.
    """

    def __init__(
        self,
        name: str,
        *,
        include: Iterable[str] = (),
        lifespan: Lifespan | None = None,
        middleware: Sequence[Middleware] = (),
        broker_url: str | None = None,
        result_backend_url: str | None = None,
        state_url: str | None = None,
        namespace: str | None = None,
        plugins: Sequence[str] | None = None,
        default_queue: str | None = None,
        default_max_retries: int | None = None,
        **settings: Any,
    ) -> None:
        self.name = name
        self.include: tuple[str, ...]
        self.lifespan = lifespan
        self.middleware: tuple[Middleware, ...] = tuple(middleware)
        self.signals = Signals()

    @property
    def runtime(self) -> Runtime:
        """Settings and plugins, assembled at the first look and kept. Thread-safe."""
        raise NotImplementedError

    def configure(self, command_line: Mapping[str, Any] | None = None, selection: Sequence[str] | None = None) -> None:
        """Take what a command line says, before :attr:`runtime` is assembled.

        Raises:
            ConfigurationError: too late, the runtime is assembled.
        """
        raise NotImplementedError

    def open(self, *, producer: bool = True) -> AbstractAsyncContextManager[Session]:
        """The session of the running loop. May be entered several times: the last to leave closes it.

        ``producer=False`` is for who shows the store's address itself: no warning about a default URL.
        """
        raise NotImplementedError

    @property
    def session(self) -> Session:
        """The session that is open on the running loop.

        Raises:
            AppNotOpen: there is none.
        """
        raise NotImplementedError
