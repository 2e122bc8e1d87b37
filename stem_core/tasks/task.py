"""A registered function, and the ways to run it later."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, Unpack

from stem_core.errors import ConfigurationError, InvalidOption, RetryTask
from stem_core.model import RetryPolicy
from stem_core.model.names import check_name
from stem_core.tasks import retrying
from stem_core.tasks.call import BoundTask, TaskCall
from stem_core.tasks.context import TaskContext, current
from stem_core.tasks.host import TaskHost
from stem_core.tasks.options import NO_OPTIONS, CallArguments, CallOptions, TaskOptions
from stem_core.tasks.signature import Signature

if TYPE_CHECKING:
    from stem_core.client.results import TaskHandle

P = ParamSpec("P")
R = TypeVar("R")
#: What calling the function itself returns: ``R``, or a coroutine of it.
C = TypeVar("C")

#: What users of other queues try first.
_FOREIGN = frozenset({"delay", "apply_async", "send", "kiq", "queue_job"})


class Task(Generic[P, R, C]):
    """A function that can be enqueued. Made by ``@app.task``.

    Calling it runs the function here and now: ``await send_welcome(42)``.
    """

    def __init__(
        self,
        function: Callable[..., C],
        *,
        host: TaskHost,
        name: str | None = None,
        aliases: Sequence[str] = (),
        options: TaskOptions | None = None,
    ) -> None:
        """Raises:
        InvalidName: a name that no task may have.
        ConfigurationError: a function that cannot be a task; says why and what to do.
        """
        functools.update_wrapper(self, function)
        #: The function as it was written.
        self.function = function
        #: The app.
        self.host = host
        #: ``module.function``, unless it was given one.
        self.name = check_name("task", _default_name(function) if name is None else name)
        #: Former names under which it is found as well.
        self.aliases = tuple(check_name("task", alias) for alias in aliases)
        #: The options that it was defined with; those of a call go first.
        self.defaults = options if options is not None else TaskOptions()
        #: Whether the function is a coroutine function.
        self.is_coroutine = _is_coroutine(self.name, function)
        #: How arguments are bound, checked and encoded.
        self.signature = Signature(self.name, function)
        if self.is_coroutine and self.defaults.strategy == "threads":
            raise ConfigurationError(
                f"task {self.name} is a coroutine function and cannot run with strategy='threads'",
                hint="leave strategy out to run it on the event loop, or make it a plain function (def)",
            )
        if self.defaults.strategy == "threads" and self.defaults.time_limit is not None:
            raise ConfigurationError(
                f"task {self.name} has a time_limit, and strategy='threads': a thread cannot be stopped",
                hint="use strategy='processes' or leave it out; or use soft_time_limit, and ctx.check() in the task",
            )
        soft, hard = self.defaults.soft_time_limit, self.defaults.time_limit
        if soft is not None and hard is not None and soft >= hard:
            raise ConfigurationError(
                f"task {self.name} has a soft_time_limit of {soft:g} s, but ends at its time_limit of {hard:g} s",
                hint="make soft_time_limit the smaller one, or leave it out",
            )
        if not self.is_coroutine and self.defaults.strategy == "event_loop":
            raise ConfigurationError(
                f"task {self.name} is a plain function; with strategy='event_loop' it would block all other tasks",
                hint="leave strategy out to run it in a thread, or make it a coroutine function (async def)",
            )

    @property
    def queue(self) -> str | None:
        """The queue it was defined with; None: the default queue of the app."""
        return self.defaults.queue

    @property
    def strategy(self) -> str:
        """Where it runs: as it was defined, and for ``auto`` by its kind: a coroutine function on the ``event_loop``, a
        plain one in ``threads``, or in ``processes`` when it has a time limit."""
        chosen = self.defaults.strategy
        if chosen != "auto":
            return chosen
        if self.is_coroutine:
            return "event_loop"
        return "threads" if self.defaults.time_limit is None else "processes"

    @property
    def takes_context(self) -> bool:
        """Whether the function's first parameter is its :class:`TaskContext`."""
        return self.signature.takes_context

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> C:
        """Run the function here and now, with nothing around it. It gets the context of the task that runs here,
        or a local one that cannot enqueue."""
        if not self.signature.takes_context:
            return self.function(*args, **kwargs)
        ctx = current.get()
        if ctx is None:
            ctx = TaskContext.direct(self.name)
        return self.function(ctx, *args, **kwargs)

    def call(self, /, *args: P.args, **kwargs: P.kwargs) -> TaskCall[R]:
        """One call with its arguments checked, for ``app.enqueue_many``.

        Raises:
            BadArguments: arguments that do not fit, or that JSON cannot carry; names the parameter.
        """
        return TaskCall(self.name, self.signature.encode_arguments(args, kwargs), self.host, NO_OPTIONS, self)

    async def enqueue(self, /, *args: P.args, **kwargs: P.kwargs) -> TaskHandle[R]:
        """Enqueue the task; returns when the broker has stored it.

        Raises:
            BadArguments: arguments that do not fit, or that JSON cannot carry; names the parameter.
            AppNotOpen: outside of ``app.open()``.
            PayloadTooLarge: over the size limit.
            StoreError: the broker could not store it.
        """
        # As `call`, whose arguments would be packed once more.
        payload = self.signature.encode_arguments(args, kwargs)
        return await self.host.submit(TaskCall(self.name, payload, self.host, NO_OPTIONS, self))

    def enqueue_sync(self, /, *args: P.args, **kwargs: P.kwargs) -> TaskHandle[R]:
        """As :meth:`enqueue`, for code without an event loop: no ``app.open()`` is needed, and it blocks."""
        return self.host.submit_sync(self.call(*args, **kwargs))

    def options(self, **options: Unpack[CallArguments]) -> BoundTask[P, R]:
        """The task with options for the next calls: ``task.options(delay=30).enqueue(...)``.

        Spans are seconds or timedeltas: ``delay`` before the start, ``expires`` for the latest start,
        ``soft_time_limit``, ``time_limit``, ``result_ttl``. ``at`` and ``expires`` take datetimes with a time zone.
        ``id``: the same id is the same job.

        Raises:
            InvalidOption: an unknown option, a value that cannot be used, or a time limit that cannot be enforced.
            InvalidName: a queue or id with a name that it may not have.
        """
        return BoundTask(self, self.checked(CallOptions.build(options)))

    def checked(self, options: CallOptions) -> CallOptions:
        """The same options.

        Raises:
            InvalidOption: they do not go with this task.
        """
        if options.time_limit is not None and self.strategy == "threads":
            raise InvalidOption(
                "time_limit",
                options.time_limit,
                f"soft_time_limit instead: {self.name} runs in a thread, and a thread cannot be stopped; or give the "
                "task itself a time_limit, or strategy='processes'",
            )
        soft, hard = options.soft_time_limit, options.time_limit
        if soft is None and hard is None:
            return options
        soft = self.defaults.soft_time_limit if soft is None else soft
        hard = self.defaults.time_limit if hard is None else hard
        if soft is not None and hard is not None and soft >= hard:
            name = "time_limit" if options.soft_time_limit is None else "soft_time_limit"
            accepted = f"a soft_time_limit below the time_limit: this call of {self.name} has {soft:g} s and {hard:g} s"
            raise InvalidOption(name, getattr(options, name), accepted)
        return options

    def decode_arguments(self, payload: bytes) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """As :meth:`Signature.decode_arguments`: the arguments after ``ctx``."""
        return self.signature.decode_arguments(payload)

    def encode_result(self, returned: Any) -> bytes:
        """As :meth:`Signature.encode_result`."""
        return self.signature.encode_result(returned)

    def decode_result(self, result: bytes) -> R:
        """As :meth:`Signature.decode_result`."""
        decoded: R = self.signature.decode_result(result)
        return decoded

    def retry_delay(self, error: BaseException, failures: int, override: RetryPolicy | None = None) -> float | None:
        """Seconds to wait after the ``failures``-th failed attempt (from 1); None: give up.

        ``retry_on`` and ``give_up_on`` say whether; how long is said by the first of ``ctx.retry(after=...)``, the
        call's own policy (``override``), the task's policy or rule, which may still give up.
        """
        defaults = self.defaults
        if not retrying.retried(error, defaults.retry_on or (), defaults.give_up_on or ()):
            return None
        if isinstance(error, RetryTask) and error.delay is not None:
            return error.delay
        policy = override if override is not None else defaults.retry
        if isinstance(policy, RetryPolicy):
            return policy.delay(failures)
        return retrying.asked(self.name, policy, failures, error)

    if not TYPE_CHECKING:  # to a type checker, __getattr__ says that every attribute exists

        def __getattr__(self, attribute: str) -> Any:
            if attribute in _FOREIGN:
                raise AttributeError(
                    f"a Stem task has no .{attribute}(): use 'await task.enqueue(...)', 'task.enqueue_sync(...)' where "
                    "no event loop runs, and 'task.options(delay=..., queue=...).enqueue(...)' for options"
                )
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {attribute!r}")

    def __repr__(self) -> str:
        return f"<Task {self.__dict__.get('name', '?')}>"


AnyTask = Task[Any, Any, Any]


def _default_name(function: Callable[..., Any]) -> str:
    name = getattr(function, "__name__", None)
    module = getattr(function, "__module__", None)
    if not isinstance(name, str) or not isinstance(module, str):
        raise ConfigurationError(
            f"{function!r} has no name of its own", hint="name the task: @app.task(name='shop.send_welcome')"
        )
    return f"{module}.{name}"


def _is_coroutine(name: str, function: Callable[..., Any]) -> bool:
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise ConfigurationError(
            f"task {name} is a generator: it has no one return value",
            hint="return a list, or enqueue a task for each item",
        )
    if inspect.isclass(function):
        raise ConfigurationError(f"task {name} is no function but {function!r}", hint="decorate a function")
    return inspect.iscoroutinefunction(function)
