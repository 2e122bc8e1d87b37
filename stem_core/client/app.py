"""The application: tasks, middleware and settings under one name, not yet connected to anything."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, Unpack, overload

from stem_core.client import sync
from stem_core.client.caller import caller
from stem_core.client.decorator import DefinesTasks
from stem_core.client.results import TaskHandle
from stem_core.client.session import Session, Sessions
from stem_core.client.submitting import Submitter
from stem_core.clock import SYSTEM_CLOCK, Clock
from stem_core.contracts import Middleware
from stem_core.errors import AppNotOpen, ConfigurationError, InvalidOption
from stem_core.model import Envelope, check_id
from stem_core.signals import Signals
from stem_core.tasks import (
    BoundTask,
    CallArguments,
    CallOptions,
    Task,
    TaskCall,
    TaskContext,
)

if TYPE_CHECKING:
    from stem_core.plugins.runtime import Runtime
    from stem_core.settings import Sources

P = ParamSpec("P")
R = TypeVar("R")

#: What ``lifespan=`` takes: entered once a worker process, its value is ``ctx.state``.
Lifespan = Callable[["Stem"], AbstractAsyncContextManager[Any]]


class Stem(DefinesTasks):
    """The configured application; :meth:`open` makes a session of it.

    Making one reads no file and loads no plugin: that happens once, when :attr:`runtime` is first needed.

    Args:
        name: A label for people; it is part of no key in a store.
        include: Modules with tasks, globs allowed (``"shop.*.tasks"``); imported when a worker starts.
        lifespan: Takes the app, returns an async context manager. A worker enters it once, tasks find its value as
            ``ctx.state``, and it is left after the last task. Producers do not enter it.
        middleware: Wraps publishing and running; the first is the outermost, those of plugins come inside.
        clock: Where the time comes from; tests hand in one that they turn.
        broker_url: Where messages are kept.
        result_backend_url: Where results are kept; ``"none"`` keeps none.
        state_url: Where revocations and heartbeats are kept.
        namespace: Prefix of everything that is stored.
        plugins: Which plugins to load: names, or ``no:NAME``.
        default_queue: For tasks that name none.
        default_max_retries: For tasks that say nothing.
        settings: Any further setting of the app (``require_config``, ``max_message_size``, ``result_ttl`` ...), or
            of a plugin by its dotted key: ``**{"sqlite.synchronous": "normal"}``.

    Settings given here lose to the command line and the environment, and win over ``stem.toml``.
    """

    def __init__(
        self,
        name: str,
        *,
        include: Iterable[str] = (),
        lifespan: Lifespan | None = None,
        middleware: Sequence[Middleware] = (),
        clock: Clock = SYSTEM_CLOCK,
        broker_url: str | None = None,
        result_backend_url: str | None = None,
        state_url: str | None = None,
        namespace: str | None = None,
        plugins: Sequence[str] | None = None,
        default_queue: str | None = None,
        default_max_retries: int | None = None,
        **settings: Any,
    ) -> None:
        super().__init__()
        if isinstance(include, str):
            raise InvalidOption("include", include, f"a list of modules: include=[{include!r}]")
        self.name = name
        self.include: tuple[str, ...] = tuple(include)
        self.lifespan = lifespan
        self.middleware: tuple[Middleware, ...] = tuple(middleware)
        self.clock = clock
        #: The bus; handlers may be connected at any time.
        self.signals = Signals()
        named = {
            "broker_url": broker_url,
            "result_backend_url": result_backend_url,
            "state_url": state_url,
            "namespace": namespace,
            "plugins": plugins,
            "default_queue": default_queue,
            "default_max_retries": default_max_retries,
        }
        self._code = {key: given for key, given in {**named, **settings}.items() if given is not None}
        #: Name of the module that made it, and ``module:attribute`` under which a command loaded it.
        self.module, self._code_origin = caller()
        self.path: str | None = None
        self._command_line: dict[str, Any] = {}
        self._sources: Sources | None = None
        self._selection: Sequence[str] | None = None
        self._runtime: Runtime | None = None
        self._sessions = Sessions(self)
        self._submitter = Submitter(self)

    # Settings and plugins

    @property
    def runtime(self) -> Runtime:
        """Settings and plugins, assembled at the first look and kept. Thread-safe.

        Raises:
            ConfigurationError: a setting that cannot be used.
        """
        # The second look is under the lock: assembling twice would connect the handlers of plugins twice.
        runtime = self._runtime
        if runtime is None:
            with _assembling:
                runtime = self._runtime
                if runtime is None:
                    runtime = self._runtime = self._assemble()
                    runtime.configured(self)
        return runtime

    def configure(
        self, command_line: Mapping[str, Any], *, selection: Sequence[str] | None = None, sources: Sources | None = None
    ) -> None:
        """Take what the command line says: dotted settings, and the plugins it selects. It wins over everything.

        With ``sources``, those are all there is besides: neither environment nor file is read.

        Raises:
            ConfigurationError: too late, :attr:`runtime` was looked at already.
        """
        with _assembling:
            if self._runtime is not None:
                raise ConfigurationError(
                    f"the app {self.name!r} is configured already",
                    hint="import the app without opening it or looking at app.runtime at import time",
                )
            self._command_line.update(command_line)
            if selection is not None:
                self._selection = tuple(selection)
            self._sources = sources

    def _assemble(self) -> Runtime:
        # Here, not above: a module of tasks is imported without loading the plugin machinery.
        from stem_core.plugins.runtime import assemble

        return assemble(
            self._code,
            self._code_origin,
            command_line=self._command_line,
            selection=self._selection,
            signals=self.signals,
            clock=self.clock,
            sources=self._sources,
        )

    # Sessions

    def open(self, *, producer: bool = True) -> AbstractAsyncContextManager[Session]:
        """The session of the running loop. May be entered several times on it; the last to leave closes the stores.

        ``producer=False`` is for who shows the address of the store himself, as a worker does: nothing is logged when
        it is a default one.

        Raises:
            ConfigurationError, PluginError: settings or plugins that cannot be used.
            StoreError: a store that cannot be opened.
        """
        return self._sessions.enter(producer=producer)

    @property
    def is_open(self) -> bool:
        """Whether a session is open on the running loop."""
        return self._sessions.current() is not None

    @property
    def session(self) -> Session:
        """The session that is open on the running loop.

        Raises:
            AppNotOpen: there is none.
        """
        session = self._sessions.current()
        if session is None:
            raise AppNotOpen(
                f"the app {self.name!r} is not open on this event loop",
                hint="put the code inside 'async with app.open():' (in a web framework: in its lifespan), or use "
                ".enqueue_sync(...) where there is no event loop",
            )
        return session

    # Enqueueing

    @overload
    async def enqueue(
        self, task: Task[P, R, Any] | BoundTask[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> TaskHandle[R]: ...

    @overload
    async def enqueue(self, task: str, /, *args: Any, **kwargs: Any) -> TaskHandle[Any]: ...

    async def enqueue(self, task: Any, /, *args: Any, **kwargs: Any) -> TaskHandle[Any]:
        """Enqueue a task of this app, or by name one whose code need not be here.

        By name, arguments are checked against the signature when the task is registered here, else for JSON only.

        Raises:
            PublishError, AppNotOpen, StoreError: as :meth:`Task.enqueue <stem_core.tasks.Task.enqueue>`.
        """
        return await self.submit(self._call(task, args, kwargs))

    @overload
    def enqueue_sync(
        self, task: Task[P, R, Any] | BoundTask[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> TaskHandle[R]: ...

    @overload
    def enqueue_sync(self, task: str, /, *args: Any, **kwargs: Any) -> TaskHandle[Any]: ...

    def enqueue_sync(self, task: Any, /, *args: Any, **kwargs: Any) -> TaskHandle[Any]:
        """As :meth:`enqueue`, for code without an event loop; blocks."""
        return self.submit_sync(self._call(task, args, kwargs))

    @overload
    async def enqueue_many(self, calls: Iterable[TaskCall[R]]) -> list[TaskHandle[R]]: ...

    @overload
    async def enqueue_many(self, calls: Iterable[TaskCall[Any]]) -> list[TaskHandle[Any]]: ...

    async def enqueue_many(self, calls: Iterable[TaskCall[Any]]) -> list[TaskHandle[Any]]:
        """Enqueue many calls (``task.call(...)``, :meth:`call`); the handles come in the same order.

        Every call is checked before the first is sent; they are sent a thousand at a time.

        Raises:
            PublishError: one of them cannot be sent; nothing was sent.
            AppNotOpen
            StoreError: the broker did not take them all; any of them may be in.
        """
        return await self._submitter.many(calls)

    @overload
    def enqueue_many_sync(self, calls: Iterable[TaskCall[R]]) -> list[TaskHandle[R]]: ...

    @overload
    def enqueue_many_sync(self, calls: Iterable[TaskCall[Any]]) -> list[TaskHandle[Any]]: ...

    def enqueue_many_sync(self, calls: Iterable[TaskCall[Any]]) -> list[TaskHandle[Any]]:
        """As :meth:`enqueue_many`, for code without an event loop; blocks. A generator runs in the calling thread."""
        made = list(calls)
        return sync.run(self, lambda: self.enqueue_many(made))

    def call(
        self,
        task: str,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        /,
        **options: Unpack[CallArguments],
    ) -> TaskCall[Any]:
        """A call by name, with options: ``app.call("tasks.render", ["a.png"], delay=30)``.

        Raises:
            BadArguments, InvalidName, InvalidOption
        """
        return self.tasks.call(self, task, args, kwargs or {}, CallOptions.build(options))

    def submit(self, call: TaskCall[R]) -> Coroutine[Any, Any, TaskHandle[R]]:
        """Publish one call; inside a task as its child, and at once."""
        # Not a coroutine of its own: each is one more to be made for every job that is enqueued.
        return self._submitter.one(call)

    def submit_sync(self, call: TaskCall[R]) -> TaskHandle[R]:
        """As :meth:`submit`, for code without an event loop; blocks."""
        return sync.run(self, lambda: self.submit(call))

    def stage(self, call: TaskCall[R], parent: TaskContext, id: str) -> tuple[Envelope, TaskHandle[R]]:
        """Build what ``parent`` enqueues with its own success; publish nothing. For any thread."""
        envelope = self._submitter.build(call, self.clock.now(), parent, id)
        return envelope, self._submitter.handle_of(envelope)

    def handle(self, id: str) -> TaskHandle[Any]:
        """The handle of a job that was enqueued elsewhere.

        Raises:
            InvalidName: no job can have this id.
        """
        return TaskHandle(check_id("task id", id), "", self)

    def __repr__(self) -> str:
        return f"<Stem {self.name!r}: {len(self.tasks)} tasks>"

    def _call(self, task: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> TaskCall[Any]:
        if isinstance(task, str):
            return self.tasks.call(self, task, args, kwargs)
        if isinstance(task, Task | BoundTask):
            made: TaskCall[Any] = task.call(*args, **kwargs)
            return made
        raise InvalidOption("task", task, "a task of this app, one with options, or the name of a task")


#: One for all apps: reassigned in a forked child, where the thread that held it may not exist.
_assembling = threading.RLock()


def _after_fork() -> None:
    global _assembling
    _assembling = threading.RLock()


os.register_at_fork(after_in_child=_after_fork)
