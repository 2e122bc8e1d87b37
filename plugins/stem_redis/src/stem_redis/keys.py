"""The names of all keys. Those of one queue share the hash tag ``{namespace:queue}``: a cluster keeps them together."""

from __future__ import annotations

import functools
from collections.abc import Iterable

#: Of so many queues what was made of their names is kept. Who has one for each of his users must not fill the memory.
KEPT = 1024

#: The keys of a queue, in the order in which scripts get them; the streams of priorities 0 to 9 follow.
QUEUE_KEYS = (
    "levels", "delayed", "leases", "suspects", "aside", "dead", "settled", "wake", "offers", "extra", "picked",
)  # fmt: skip


class Keys:
    """The keys of one namespace, as bytes."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        shared = f"{{{namespace}}}:"
        #: Hash: the record of every live message, by id.
        self.jobs = f"{shared}jobs".encode()
        #: Set: queues that may hold something.
        self.queues = f"{shared}queues".encode()
        #: Hash: the sessions that wait for the result of an id.
        self.waiters = f"{shared}waiters".encode()
        #: Number: how many broadcasts were sent; orders those of several channels.
        self.sent = f"{shared}sent".encode()
        self._state = f"{shared}state:"
        self._outcome = f"{namespace}:outcome:"
        self._channel = f"{shared}channel:"
        self._news = f"{namespace}:news:"
        self._session = f"{namespace}:session:"
        self._version = f"{shared}version".encode()
        #: All keys of one queue: those of :data:`QUEUE_KEYS`, then the streams.
        self.queue = functools.lru_cache(KEPT)(functools.partial(_of_queue, namespace))

    def head(self, *queues: str) -> tuple[bytes, ...]:
        """What every script of these queues gets first: index, names, the keys of each queue."""
        keys = [self.jobs, self.queues]
        for queue in queues:
            keys += self.queue(queue)
        return tuple(keys)

    def to_run_at_once(self, queue: str, priority: int, id: str) -> tuple[bytes, ...]:
        """What the script ``publish_one`` gets."""
        keys = self.queue(queue)
        stream = keys[len(QUEUE_KEYS) + priority]
        return (
            self.jobs, self.queues, keys[DELAYED], keys[WAKE], keys[LEVELS], stream, keys[OFFERS], keys[ASIDE],
            keys[LEASES], self.outcome(id),
        )  # fmt: skip

    def to_run_alike(self, queue: str, priority: int) -> tuple[bytes, ...]:
        """What the script ``publish_alike`` gets before the outcome of each."""
        keys = self.queue(queue)
        stream = keys[len(QUEUE_KEYS) + priority]
        return self.jobs, self.queues, keys[DELAYED], keys[WAKE], keys[LEVELS], stream, keys[OFFERS], keys[EXTRA]

    def to_confirm(self, queue: str) -> tuple[bytes, bytes]:
        """What the script ``confirm`` gets."""
        return (self.jobs, self.queue(queue)[LEASES])

    def wake(self, queue: str) -> bytes:
        """The list that those who wait for the queue read."""
        return self.queue(queue)[WAKE]

    def outcome(self, id: str) -> bytes:
        """What is kept of an id: its status and the marker against repeated publishing."""
        return f"{self._outcome}{id}".encode()

    def outcomes(self, ids: Iterable[str]) -> list[bytes]:
        """:meth:`outcome` of each."""
        prefix = self._outcome
        return [(prefix + id).encode() for id in ids]

    @property
    def outcome_prefix(self) -> str:
        """What the keys of all outcomes begin with."""
        return self._outcome

    def state(self, collection: str) -> tuple[bytes, ...]:
        """The version of the store, then values, versions and ends of one collection."""
        prefix = f"{self._state}{collection}"
        return (self._version, *(f"{prefix}{part}".encode() for part in ("", ":versions", ":ends")))

    def channel(self, name: str) -> bytes:
        """The stream of a broadcast channel."""
        return f"{self._channel}{name}".encode()

    def news(self, channel: str) -> bytes:
        """Where is published that a broadcast channel has something new. No key."""
        return f"{self._news}{channel}".encode()

    def session(self, id: str) -> bytes:
        """Where a session is told of results it waits for, or is sent what is handed over to it. No key."""
        return f"{self._session}{id}".encode()


def _of_queue(namespace: str, name: str) -> tuple[bytes, ...]:
    tag = f"{{{namespace}:{name}}}:"
    return tuple(f"{tag}{one}".encode() for one in (*QUEUE_KEYS, *(f"p{priority}" for priority in range(10))))


LEVELS, DELAYED, LEASES, ASIDE, WAKE, OFFERS, EXTRA = (
    QUEUE_KEYS.index(name) for name in ("levels", "delayed", "leases", "aside", "wake", "offers", "extra")
)
