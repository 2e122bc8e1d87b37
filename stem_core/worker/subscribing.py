"""What a worker reads, and which of its slots are for whom: from the settings, checked against each other."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches
from typing import TYPE_CHECKING

from stem_core.errors import InvalidSetting
from stem_core.model import Subscription
from stem_core.worker.lanes import LaneRules

if TYPE_CHECKING:
    from stem_core.settings import Settings


def subscribe(settings: Settings) -> Subscription:
    """The queues to read, without those that are excluded.

    Raises:
        InvalidSetting: a queue has the name of a channel, one is excluded that is not read, or none is left.
    """
    options = settings.worker
    subscription = Subscription.parse(options.queues or (settings.app.default_queue,), strict=options.strict)
    for queue in subscription.queues:
        if queue in settings.app.routing_config.channels:
            raise _refused(
                settings,
                "worker.queues",
                f"{queue!r} is a broadcast channel ({settings.origin('routing_config')})",
                f"listen to it with --broadcast {queue}, or give one of the two another name",
            )
    for queue in options.exclude:
        if queue not in subscription.queues:
            raise _unread(settings, "worker.exclude", queue, subscription)
    if not options.exclude:
        return subscription
    kept = subscription.without(options.exclude)
    if not kept.queues:
        raise _refused(
            settings, "worker.exclude", "that leaves no queue to read", "exclude fewer, or name more queues with -Q"
        )
    return kept


def lane_rules(
    settings: Settings, subscription: Subscription, slots: int, broadcasts: Collection[str] = ()
) -> LaneRules:
    """The reserves and limits of a worker that has at least so many slots, and listens to these channels.

    Raises:
        InvalidSetting: an unread queue, a limit below the reserve, or more reserves than slots.
    """
    rules = LaneRules(reserve=dict(settings.worker.reserve), limit=dict(settings.worker.limit))
    for key, named in (("worker.reserve", rules.reserve), ("worker.limit", rules.limit)):
        for queue in named:
            if queue not in subscription.queues:
                raise _unread(settings, key, queue, subscription)
    for queue, limit in rules.limit.items():
        reserved = rules.reserve.get(queue, 0)
        if limit < reserved:
            raise _refused(
                settings,
                "worker.limit",
                f"{queue} may use {limit} slot{'s' * (limit != 1)}, but {reserved} are reserved for it "
                f"({settings.origin('worker.reserve')})",
                "let no limit be below the reserve of its queue",
            )
    problem = too_few_slots(rules, subscription, slots, broadcasts)
    if problem:
        raise _refused(settings, "worker.reserve", problem, "reserve less, or raise -c (the MIN of --autoscale)")
    return rules


def too_few_slots(rules: LaneRules, subscription: Subscription, slots: int, broadcasts: Collection[str] = ()) -> str:
    """Why the reserves do not fit into so many slots; empty when they do. Broadcasts run in what is not reserved."""
    reserved = sum(rules.reserve.values())
    if reserved > slots:
        return f"{reserved} slots are reserved, and the worker has {slots}"
    others = [queue for queue in subscription.queues if queue not in rules.reserve]
    others += [f"broadcasts on {channel}" for channel in broadcasts]
    if others and reserved == slots:
        return f"all {slots} slots are reserved, and none is left for {', '.join(others)}"
    return ""


def _unread(settings: Settings, key: str, queue: str, subscription: Subscription) -> InvalidSetting:
    close = get_close_matches(queue, subscription.queues, n=1)
    hint = f"did you mean {close[0]}?" if close else f"it reads {', '.join(subscription.queues)}; -Q says what it reads"
    return _refused(settings, key, f"this worker does not read the queue {queue!r}", hint)


def _refused(settings: Settings, key: str, problem: str, hint: str) -> InvalidSetting:
    origin = settings.origin(key)
    shown = settings.keys[key].show(settings.get(key))
    return InvalidSetting(f"{origin}: {key} = {shown}: {problem}", key=key, origin=str(origin), hint=hint)
