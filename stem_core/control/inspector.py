"""Read-only views of the queues of a session."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING

from stem_core.contracts import Inspectable, KeepsDeadLetters, TellsTime
from stem_core.control.views import MessageView, QueueView, message_view
from stem_core.errors import ConfigurationError, NotFound, StoreRefused
from stem_core.model import HEARTBEATS, Heartbeat, QueueDepth
from stem_core.wire import decode_heartbeat

if TYPE_CHECKING:
    from stem_core.client.session import Session

logger = logging.getLogger("stem_core.control")

#: The most that is asked of a store in one call: messages with their payloads, or queues to count.
PAGE = 100

#: The names of tasks by the queue that they go to.
TasksByQueue = Mapping[str, Collection[str]]


class Inspector:
    """Looks into the queues of an opened app. Changes nothing, claims nothing.

    ``tasks`` are those of the app, by the queue that they go to; without them only queues that hold something or
    that somebody reads are known.
    """

    def __init__(self, session: Session, tasks: TasksByQueue | None = None) -> None:
        self._session = session
        self._tasks: TasksByQueue = tasks or {}

    async def now(self) -> float:
        """The time by the broker's clock where it tells it, else by this machine's."""
        broker = self._session.broker
        if isinstance(broker, TellsTime):
            return await self._session.deadline("broker: now", broker.now())
        return self._session.clock.now()

    async def workers(self) -> list[Heartbeat]:
        """The latest heartbeat of each live worker, by id. A record that cannot be read is told in the log."""
        records = await self._session.deadline("state store: list", self._session.state.list(HEARTBEATS))
        found: list[Heartbeat] = []
        for record in records:
            try:
                found.append(decode_heartbeat(record.value))
            except StoreRefused as error:
                logger.warning("the heartbeat of %s is passed over: %s", record.key, error.message)
        return sorted(found, key=lambda heartbeat: heartbeat.worker)

    async def queues(self) -> list[QueueView]:
        """Every queue that a task of the app goes to, that a live worker reads or that holds a message, by name."""
        readers = await self._readers()
        names = sorted({*self._tasks, *readers, *await self._occupied()})
        depths: dict[str, QueueDepth] = {}
        for start in range(0, len(names), PAGE):
            call = self._session.broker.depth(names[start : start + PAGE])
            depths |= await self._session.deadline("broker: depth", call)
        return [self._view(name, depths.get(name, QueueDepth()), readers.get(name, ())) for name in names]

    async def queue(self, name: str) -> QueueView:
        """One queue.

        Raises:
            NotFound: it is none of those that :meth:`queues` gives.
        """
        readers = await self._readers()
        known = {*self._tasks, *readers, *await self._occupied()}
        if name not in known:
            raise unknown_queue(name, known)
        depths = await self._session.deadline("broker: depth", self._session.broker.depth([name]))
        return self._view(name, depths.get(name, QueueDepth()), readers.get(name, ()))

    async def messages(self, queue: str, state: str = "ready", *, limit: int = PAGE) -> list[MessageView]:
        """The first ``limit`` messages of a queue in one state (``ready delayed leased``), in the order of delivery.

        Read page by page: where the queue moves meanwhile, it may be fewer.

        Raises:
            ConfigurationError: the broker cannot show messages.
        """
        broker = inspectable(self._session)
        found: dict[str, MessageView] = {}
        last: str | None = None
        while len(found) < limit:
            call = broker.peek(queue, state, limit=min(PAGE, limit - len(found)), after=last)
            page = await self._session.deadline("broker: peek", call)
            if not page:
                break
            found |= {stored.message.id: message_view(stored, queue) for stored in page}
            last = page[-1].message.id
        return list(found.values())

    async def _occupied(self) -> list[str]:
        return await self._session.deadline("broker: queues", self._session.broker.queues())

    async def _readers(self) -> dict[str, list[str]]:
        readers: dict[str, list[str]] = {}
        for worker in await self.workers():
            if takes_work(worker):
                for queue in (name for name in worker.queues if name not in worker.paused):
                    readers.setdefault(queue, []).append(worker.worker)
        return readers

    def _view(self, name: str, depth: QueueDepth, workers: Collection[str]) -> QueueView:
        return QueueView(
            queue=name,
            ready=depth.ready,
            scheduled=depth.delayed,
            in_flight=depth.leased,
            dead=depth.dead,
            oldest_age=depth.oldest_ready_age,
            workers=tuple(workers),
            tasks=tuple(sorted(self._tasks.get(name, ()))),
        )


def takes_work(worker: Heartbeat) -> bool:
    """Whether a live worker takes from its queues now: one that is quiet, stopping or wedged does not."""
    return worker.phase in {"starting", "running"} and worker.health != "wedged"


def unknown_queue(name: str, known: Collection[str]) -> NotFound:
    """The error about a queue that nothing is known of."""
    close = get_close_matches(name, sorted(known), n=3)
    guess = f"did you mean {' or '.join(close)}? " if close else ""
    return NotFound(
        f"no queue {name!r} is known: it holds nothing, no live worker reads it, and no task of the app goes to it",
        hint=f"{guess}`stem queues` lists the queues; see broker and namespace with `stem settings`",
    )


def inspectable(session: Session) -> Inspectable:
    """The broker, as one that shows single messages.

    Raises:
        ConfigurationError: it cannot.
    """
    if isinstance(session.broker, Inspectable):
        return session.broker
    raise _lacks(session, "show or move the messages in its queues", "Inspectable")


def keeps_dead_letters(session: Session) -> KeepsDeadLetters:
    """The broker, as one that keeps dead letters for people.

    Raises:
        ConfigurationError: it cannot.
    """
    if isinstance(session.broker, KeepsDeadLetters):
        return session.broker
    raise _lacks(session, "show its dead letters or put them back", "KeepsDeadLetters")


def _lacks(session: Session, what: str, facet: str) -> ConfigurationError:
    url = session.runtime.urls().broker
    owner = session.runtime.brokers.claim(url.scheme).plugin
    return ConfigurationError(
        f"the broker {url} cannot {what}: it lacks the ability {facet}",
        hint=f"use the tools of the broker itself, or a version of the plugin {owner} that implements {facet}",
    )
