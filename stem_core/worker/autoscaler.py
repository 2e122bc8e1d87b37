"""The service that looks at the queues, and lets the number of slots follow them."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from stem_core.errors import StoreError
from stem_core.worker.autoscale import Sample, ScaleRules, afford, decide
from stem_core.worker.memory import Memory, read_memory

if TYPE_CHECKING:
    from stem_core.client.session import Session
    from stem_core.settings import WorkerSettings
    from stem_core.worker.inflight import InFlight
    from stem_core.worker.intake import Intake
    from stem_core.worker.steering import Steering

logger = logging.getLogger("stem_core.worker")


class Autoscaler:
    """Takes a sample every ``interval`` seconds, and does what :func:`decide` makes of the samples."""

    def __init__(
        self,
        session: Session,
        options: WorkerSettings,
        *,
        inflight: InFlight,
        intake: Intake,
        steering: Steering,
        memory: Callable[[], Iterable[Memory]] = read_memory,
    ) -> None:
        low, high = options.autoscale or (1, 1)
        self._rules = ScaleRules(
            low=low,
            high=high,
            backlog=options.autoscale_backlog,
            age=options.autoscale_age,
            idle=options.autoscale_idle,
            step=options.autoscale_step,
            memory=options.autoscale_max_memory,
        )
        self._interval = options.autoscale_interval
        self._session = session
        self._inflight = inflight
        self._intake = intake
        self._steering = steering
        self._memory = memory
        self._samples: deque[Sample] = deque()

    async def run(self) -> None:
        """Look and decide until cancelled; a service of the worker."""
        failing = False
        while True:
            await asyncio.sleep(self._interval)
            try:
                await self.look()
                failing = False
            except StoreError as error:
                # What was not seen is no idleness.
                self._samples.clear()
                if not failing:
                    logger.warning("cannot look at the queues, the concurrency stays: %s", error.message)
                failing = True
            except Exception:
                self._samples.clear()
                logger.exception("autoscaling failed, trying on")

    async def look(self) -> None:
        """Take one sample, and do what follows from it.

        Raises:
            StoreError: the broker does not say what it holds.
        """
        steering, samples = self._steering, self._samples
        if steering.pinned or self._intake.failing:
            samples.clear()
            return
        samples.append(await self._sample())
        while samples[-1].at - samples[0].at > self._rules.idle + 2 * self._interval:
            samples.popleft()
        decision = decide(self._rules, samples)
        if decision is None or steering.pinned:
            return
        slots = samples[-1].slots
        # Looked at only when it matters: it is some files to read.
        memory = self._memory() if decision.slots > slots else ()
        allowed = afford(self._rules, decision, slots, memory, steering.memory_for)
        if allowed.slots == slots:
            steering.stay(decision.slots, allowed.reason)
        else:
            await steering.resize(allowed.slots, allowed.reason)

    async def _sample(self) -> Sample:
        session, lanes = self._session, self._steering.running
        # Whoever has all slots that its queue may use gains nothing by more of them.
        queues = [queue for queue in self._intake.reading.queues if lanes is None or not lanes.full(queue)]
        depths = await session.deadline("broker: depth", session.broker.depth(queues)) if queues else {}
        return Sample(
            at=session.clock.monotonic(),
            slots=self._steering.concurrency,
            # A slot that is kept free for one queue is not free for what waits in another.
            held=len(self._inflight) + (0 if lanes is None else lanes.taken - self._inflight.running),
            ready=sum(depth.ready for depth in depths.values()),
            oldest=max((depth.oldest_ready_age or 0.0 for depth in depths.values()), default=0.0),
        )
