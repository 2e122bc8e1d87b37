"""The opened app: the stores of one event loop, each call to them under a deadline."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary, WeakSet

import attrs

from stem_core.client.broadcasting import Sender
from stem_core.client.deadlines import CallDeadlines
from stem_core.client.layers import through
from stem_core.client.portions import CHUNK, one_ahead
from stem_core.clock import Clock
from stem_core.contracts import Broker, Middleware, ResultBackend, StateStore
from stem_core.errors import ConfigurationError, PayloadTooLarge, StoreUnavailable
from stem_core.model import Envelope, Message, StoreUrl
from stem_core.signals import AfterTaskPublishEvent, BeforeTaskPublishEvent
from stem_core.wire import seal, unseal

if TYPE_CHECKING:
    from stem_core.client.app import Stem
    from stem_core.plugins.runtime import Runtime

logger = logging.getLogger("stem_core.client")

T = TypeVar("T")

#: How long the stores stay open for those who use them when the loop ends under all of them, in seconds.
LAST_WORDS = 5.0


@attrs.define(eq=False, kw_only=True)
class Session:
    """What ``async with app.open() as session`` gives. Belongs to the event loop that opened it.

    Direct calls to the stores are for the worker and tools; put them through :meth:`deadline`.
    """

    app: Stem
    runtime: Runtime
    broker: Broker
    #: None when no results are kept (``result_backend_url = "none"``).
    backend: ResultBackend | None
    state: StateStore
    clock: Clock
    #: Seconds that one call to a store may take.
    call_timeout: float
    #: The most bytes of header and payload of one message.
    max_message_size: int
    #: The first is the outermost: the app's own, then those of plugins.
    middleware: tuple[Middleware, ...] = ()
    _deadlines: CallDeadlines = attrs.field(factory=CallDeadlines, init=False, repr=False)
    #: None when no broadcast channel is declared.
    _broadcasts: Sender | None = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._broadcasts = Sender(self) if self.runtime.settings.app.routing_config.channels else None

    def deadline(self, what: str, call: Awaitable[T], *, seconds: float | None = None) -> Coroutine[Any, Any, T]:
        """Await ``call``, at most ``seconds`` (default: ``call_timeout``).

        ``what`` names the store and the call for the message: ``"broker: publish"``.

        Raises:
            StoreUnavailable: not done in time.
        """
        # Not a coroutine of its own: each is one more to be made for every job that is enqueued.
        return self._deadlines.within(self.call_timeout if seconds is None else seconds, call, what)

    def watched(self) -> bool:
        """Whether anything looks at the envelopes on their way: middleware, a handler of a signal, or the search for
        broadcasts among them."""
        signals = self.app.signals
        return bool(
            self.middleware or self._broadcasts is not None or signals.before_task_publish or signals.after_task_publish
        )

    async def publish(self, envelopes: Sequence[Envelope], *, composed: bool = False) -> Sequence[Envelope]:
        """Send the requests, through middleware and signals, in calls of at most :data:`CHUNK` messages.

        Returns them as they were sent: as middleware left them. ``composed``: they are as
        :func:`~stem_core.client.publisher.build_envelope` made them; see :func:`~stem_core.wire.seal`.

        Nothing is sent before every one of them is sealed and found small enough. When this raises a StoreError, any
        of them may be in; the same envelopes may be sent again, and those that are in stay as they are.

        Raises:
            PublishError: a request that cannot be sent, is too large, or was refused by middleware; nothing was sent.
            ConfigurationError: a broadcast, and the broker has none; nothing was sent.
            StoreError: the broker did not take them.
        """
        if self.middleware:
            envelopes = [through(self.middleware, envelope) for envelope in envelopes]
            composed = False
        signals = self.app.signals
        now = self.clock.now()
        messages = [self._seal(envelope, now, composed) for envelope in envelopes[:CHUNK]]
        for start in range(CHUNK, len(envelopes), CHUNK):
            # Sealing a thousand takes some milliseconds; others on the loop get their turn in between.
            await asyncio.sleep(0)
            messages += [self._seal(envelope, now, composed) for envelope in envelopes[start : start + CHUNK]]
        if self._broadcasts is not None:
            self._broadcasts.check(envelopes)
        if signals.before_task_publish:
            for envelope in envelopes:
                await signals.before_task_publish.send(BeforeTaskPublishEvent(occurred_at=now, envelope=envelope))
        if len(messages) <= CHUNK:
            await self._send(messages, envelopes)
        else:
            parts = [slice(start, start + CHUNK) for start in range(0, len(messages), CHUNK)]
            await one_ahead(self._send(messages[part], envelopes[part]) for part in parts)
        return envelopes

    async def send(self, messages: Sequence[Message]) -> None:
        """As :meth:`publish`, of at most :data:`CHUNK` messages that are sealed and small enough, where nothing is
        :meth:`watched`."""
        await self.deadline("broker: publish", self.broker.publish(messages))
        if self.app.signals.after_task_publish:
            # A handler that was connected in the meantime.
            await self._tell([unseal(message) for message in messages])

    async def _send(self, messages: Sequence[Message], envelopes: Sequence[Envelope]) -> None:
        if self._broadcasts is not None:
            messages = await self._broadcasts.send(envelopes, messages)
        if messages:
            await self.deadline("broker: publish", self.broker.publish(messages))
        if self.app.signals.after_task_publish:
            await self._tell(envelopes)

    async def _tell(self, envelopes: Iterable[Envelope]) -> None:
        published, now = self.app.signals.after_task_publish, self.clock.now()
        for envelope in envelopes:
            await published.send(AfterTaskPublishEvent(occurred_at=now, envelope=envelope))

    def _seal(self, envelope: Envelope, now: float, composed: bool) -> Message:
        message = seal(envelope, now=now, composed=composed)
        self.check_size(envelope.header.task, len(message.header) + len(message.payload))
        return message

    @property
    def largest(self) -> int:
        """The most bytes of header and payload of one message: what :meth:`check_size` lets through."""
        limit = self.broker.max_message_size
        return self.max_message_size if limit is None else min(limit, self.max_message_size)

    def check_size(self, task: str, size: int) -> None:
        """``size`` is that of header and payload, in bytes.

        Raises:
            PayloadTooLarge: more than this session or its broker sends.
        """
        if size > self.max_message_size:
            raise PayloadTooLarge(task=task, size=size, limit=self.max_message_size)
        limit = self.broker.max_message_size
        if limit is not None and size > limit:
            raise PayloadTooLarge(task=task, size=size, limit=limit, of_the_broker=True)


@asynccontextmanager
async def open_session(app: Stem, *, producer: bool = False) -> AsyncIterator[Session]:
    """Open a session of its own on the running loop, without registering it with the app.

    ``app.open()`` is what producers want; this is for threads with a loop and stores of their own.
    Closes state store, backend and broker in this order. With ``producer``, a default URL is warned about, once.

    Raises:
        ConfigurationError, PluginError: settings or plugins that cannot be used.
        StoreError: a store cannot be opened.
    """
    runtime = app.runtime
    runtime.require_usable()
    timeout = runtime.settings.worker.call_timeout
    urls = runtime.urls()
    if urls.default_used:
        _default_url(app, urls.broker, producer=producer)
    async with AsyncExitStack() as stack:
        broker = await _enter(stack, "broker", urls.broker, timeout, runtime.open_broker)
        backend = None
        if urls.backend is not None:
            backend = await _enter(stack, "result backend", urls.backend, timeout, runtime.open_backend)
        state = await _enter(stack, "state store", urls.state, timeout, runtime.open_state)
        yield Session(
            app=app,
            runtime=runtime,
            broker=broker,
            backend=backend,
            state=state,
            clock=app.clock,
            call_timeout=timeout,
            max_message_size=runtime.settings.app.max_message_size,
            middleware=(*app.middleware, *runtime.middleware),
        )


async def _enter(
    stack: AsyncExitStack,
    what: str,
    url: StoreUrl,
    timeout: float,
    opener: Callable[[], AbstractAsyncContextManager[T]],
) -> T:
    try:
        async with asyncio.timeout(timeout):
            return await stack.enter_async_context(opener())
    except TimeoutError as error:
        raise StoreUnavailable(
            f"the {what} {url} could not be opened within {timeout:g} s",
            hint="see that the store is up and can be reached from here",
        ) from error


def _default_url(app: Stem, url: StoreUrl, *, producer: bool) -> None:
    remedy = "set STEM_BROKER_URL, or broker_url in stem.toml"
    if app.runtime.settings.app.require_config:
        raise ConfigurationError(
            f"no broker is configured, and require_config forbids the default {url}",
            hint=f"{remedy}, or unset STEM_REQUIRE_CONFIG",
        )
    if producer and app not in _warned:
        _warned.add(app)
        logger.warning("no broker is configured: tasks of %r go to the default %s; %s", app.name, url, remedy)


#: Apps whose producers have been told that they use a default URL.
_warned: WeakSet[Stem] = WeakSet()


@attrs.define(eq=False)
class _Shared:
    """The session of one loop, while any number of users hold it."""

    ready: asyncio.Future[Session]
    leave: asyncio.Event = attrs.field(factory=asyncio.Event)
    #: Who holds it now, with the asyncio task that asked for it.
    users: dict[object, asyncio.Task[Any] | None] = attrs.field(factory=dict)
    #: Set while it can be used.
    session: Session | None = None
    #: What enters and leaves the stores.
    owner: asyncio.Task[None] | None = None


class Sessions:
    """The sessions that ``app.open()`` has open, by event loop."""

    def __init__(self, app: Stem) -> None:
        self._app = app
        self._by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, _Shared] = WeakKeyDictionary()
        #: The newest of them, which mostly is the only one: to look it up among the others takes 0.6 us for each job
        #: that is enqueued.
        self._newest: tuple[asyncio.AbstractEventLoop, _Shared] | None = None

    def current(self) -> Session | None:
        """The session of the running loop; None when there is no loop, or none is open on it."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return None
        newest = self._newest
        if newest is not None and newest[0] is loop:
            return newest[1].session
        shared = self._by_loop.get(loop)
        return None if shared is None else shared.session

    @asynccontextmanager
    async def enter(self, *, producer: bool = True) -> AsyncIterator[Session]:
        """Open the session of the running loop, or use it once more; the last to leave closes it."""
        loop = asyncio.get_running_loop()
        shared = self._by_loop.get(loop)
        if shared is None:
            shared = self._by_loop[loop] = _Shared(ready=loop.create_future())
            self._newest = loop, shared
            # A task of its own enters and leaves the stores: the first user may leave before the last,
            # and scopes such as task groups must be left by the task that entered them. Its context is empty, for
            # the session may outlive the job or request that happens to open it.
            shared.owner = loop.create_task(
                self._own(loop, shared, producer),
                name=f"stem-session-{self._app.name}",
                context=contextvars.Context(),
            )
        user = object()
        shared.users[user] = asyncio.current_task()
        try:
            yield await asyncio.shield(shared.ready)
        finally:
            del shared.users[user]
            if not shared.users:
                await self._close(loop, shared)

    async def _own(self, loop: asyncio.AbstractEventLoop, shared: _Shared, producer: bool) -> None:
        try:
            async with open_session(self._app, producer=producer) as session:
                shared.session = session
                shared.ready.set_result(session)
                await self._left(shared)
        except Exception as error:
            if shared.ready.done():
                raise
            shared.ready.set_exception(error)
        finally:
            self._forget(loop, shared)
            # Only a cancellation while opening leaves it undone.
            shared.ready.cancel()

    async def _left(self, shared: _Shared) -> None:
        try:
            await shared.leave.wait()
        except asyncio.CancelledError:
            # The end of a loop cancels all its tasks at once, and those that use the stores may have something to
            # write yet: a worker hands back what it holds.
            if all(task is None or task.done() for task in shared.users.values()):
                raise
            with suppress(TimeoutError):
                async with asyncio.timeout(LAST_WORDS):
                    await shared.leave.wait()

    async def _close(self, loop: asyncio.AbstractEventLoop, shared: _Shared) -> None:
        self._forget(loop, shared)
        shared.leave.set()
        owner = shared.owner
        if owner is None:
            return
        if not shared.ready.done():
            owner.cancel()
            await asyncio.wait([owner])
            return
        # Shielded: a user that is cancelled while leaving must not cut the closing short.
        await asyncio.shield(owner)

    def _forget(self, loop: asyncio.AbstractEventLoop, shared: _Shared) -> None:
        shared.session = None
        if self._by_loop.get(loop) is shared:
            del self._by_loop[loop]
        newest = self._newest
        if newest is not None and newest[1] is shared:
            self._newest = None
