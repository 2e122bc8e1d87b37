"""Where calls go: the routes of an operator, and what is known of queues and broadcast channels."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Literal

import attrs

from stem_core.model._value import value
from stem_core.model.envelope import MAX_PRIORITY, MIN_PRIORITY

DeliveryMode = Literal["live", "retained"]


@value
class QueueRule:
    """What holds for one queue."""

    #: The least and the greatest priority of what goes there.
    priority: tuple[int, int] = (MIN_PRIORITY, MAX_PRIORITY)


@value
class Channel:
    """A broadcast channel: every worker that listens runs a copy of its own."""

    #: ``live``: workers that listen when it is sent. ``retained``: also those that start within the ttl.
    delivery: DeliveryMode = "live"
    #: How long a message is kept for those who are to get it, in seconds.
    ttl: float = 60.0


@value
class Route:
    """Tasks whose name matches ``task`` go to the queue, or to the channel: exactly one of the two is set."""

    #: A name, or a pattern with ``* ? [...]``.
    task: str
    queue: str | None = None
    channel: str | None = None


@value
class Routing:
    """The routing configuration. Has the shape of its file, so that it can be read again from its JSON."""

    #: For tasks that name no queue.
    default_queue: str | None = None
    queues: Mapping[str, QueueRule] = attrs.field(factory=dict, hash=False)
    channels: Mapping[str, Channel] = attrs.field(factory=dict, hash=False)
    #: The first whose pattern matches decides.
    routes: tuple[Route, ...] = ()

    def route(self, task: str) -> Route | None:
        """The route of the task of this name, or None."""
        for route in self.routes:
            if fnmatchcase(task, route.task):
                return route
        return None

    def destination(self, task: str, queue: str) -> tuple[str, str | None]:
        """Queue and channel of a task that would go to ``queue`` without routes. The queue of a broadcast has the name
        of its channel."""
        route = self.route(task)
        if route is None:
            return queue, None
        if route.channel is not None:
            return route.channel, route.channel
        assert route.queue is not None
        return route.queue, None

    def priority(self, queue: str, priority: int) -> int:
        """The priority, brought into the range of the queue."""
        rule = self.queues.get(queue)
        if rule is None:
            return priority
        least, greatest = rule.priority
        return min(max(priority, least), greatest)

    def __str__(self) -> str:
        counts = [(len(self.routes), "route"), (len(self.queues), "queue"), (len(self.channels), "channel")]
        return ", ".join(f"{count} {what}{'s' * (count != 1)}" for count, what in counts if count) or "none"
