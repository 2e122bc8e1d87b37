"""How many slots: a decision over what was seen of the queues, the worker and its memory. Values in, a value out."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence

from stem_core.model._value import value
from stem_core.worker.memory import Memory


@value
class ScaleRules:
    """When to have more slots, and when fewer. Spans are seconds."""

    #: The least and the most slots.
    low: int
    high: int
    #: More ready tasks than this for each slot are a backlog, when every slot has something to do.
    backlog: float
    #: A task that has been ready for longer than this is one too, on the same condition.
    age: float
    #: Slots that were not needed for so long go.
    idle: float
    #: The size of a step as a part of the slots.
    step: float
    #: No step up takes more than this part of the memory.
    memory: float


@value
class Sample:
    """What was seen at one moment."""

    #: Monotonic time in seconds.
    at: float
    slots: int
    #: Deliveries in the worker's hands, also those that are being settled, and slots that are kept free for one queue.
    held: int
    #: Tasks that are ready in those of its queues that more slots would serve.
    ready: int = 0
    #: Since when the oldest of them has been ready, in seconds.
    oldest: float = 0.0


@value
class Decision:
    """Have so many slots from now on, and why."""

    slots: int
    reason: str


def decide(rules: ScaleRules, samples: Sequence[Sample]) -> Decision | None:
    """What follows from these samples, the latest last; None: nothing.

    One step up when the last two both show a backlog. One step down when slots were idle in every one since the last
    change, for as long as the rules say; never below what is held.
    """
    last = samples[-1]
    if not rules.low <= last.slots <= rules.high:
        slots = min(max(rules.low, last.slots), rules.high)
        return Decision(slots=slots, reason=f"back into the range from {rules.low} to {rules.high}")
    backlog = _backlog(rules, last)
    if backlog:
        again = len(samples) > 1 and _backlog(rules, samples[-2])
        if not again or last.slots == rules.high:
            return None
        slots = min(rules.high, last.slots + max(1, math.ceil(last.slots * rules.step)))
        return Decision(slots=slots, reason=backlog)
    return _fewer(rules, samples)


def afford(
    rules: ScaleRules, decision: Decision, slots: int, memory: Iterable[Memory], needs: Callable[[int], int]
) -> Decision:
    """What is left of a step up from so many ``slots`` when there is not memory for all of it; as many slots as now:
    nothing.

    ``needs`` says about how many bytes more the strategies take for a number of slots, never less for more: for
    children, what those there are hold. What tasks take beside that nobody knows: a step is taken when it is still
    free, and so the part that the rules leave is for the tasks.
    """
    if decision.slots <= max(slots, rules.low):
        # Fewer, or the least that there are to be.
        return decision
    tightest = min(memory, key=lambda seen: seen.limit * rules.memory - seen.used, default=None)
    if tightest is None:
        return decision
    allowed = tightest.limit * rules.memory
    room = allowed - tightest.used
    bound = f"autoscale_max_memory allows {_mib(allowed)} of {_mib(tightest.limit)}"
    if room <= 0:
        return Decision(slots=slots, reason=f"{_mib(tightest.used)} of memory are in use, {bound}")
    fits = slots + bisect_right(range(slots + 1, decision.slots + 1), room, key=needs)
    if fits == decision.slots:
        return decision
    short = f"{_mib(needs(fits + 1))} of memory more for {fits + 1} slots, {_mib(tightest.used)} are in use, {bound}"
    return Decision(slots=fits, reason=short if fits == slots else f"{decision.reason}; no more: {short}")


def _mib(size: float) -> str:
    return f"{size / 2**20:,.0f} MiB"


def _backlog(rules: ScaleRules, sample: Sample) -> str:
    if sample.held < sample.slots:
        # Where slots are free, more of them would not help: what is ready will be claimed in a moment, or may not be,
        # as suspects that go one by one.
        return ""
    if sample.ready > rules.backlog * sample.slots:
        return f"{sample.ready} tasks are ready for {sample.slots} slots"
    if sample.ready and sample.oldest > rules.age:
        return f"the oldest ready task has waited for {sample.oldest:.1f} s"
    return ""


def _fewer(rules: ScaleRules, samples: Sequence[Sample]) -> Decision | None:
    last = samples[-1]
    begin, peak = last.at, 0
    for sample in reversed(samples):
        if sample.slots != last.slots or sample.held >= sample.slots:
            return None
        begin, peak = sample.at, max(peak, sample.held)
        if last.at - begin >= rules.idle:
            break
    else:
        return None
    slots = max(rules.low, peak, last.slots - max(1, int(last.slots * rules.step)))
    if slots == last.slots:
        return None
    return Decision(slots=slots, reason=f"{last.slots - peak} slots were idle for {last.at - begin:.0f} s")
