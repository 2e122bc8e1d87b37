"""Claims, and when to look for work again."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Sequence
from typing import Any

from stem_core.errors import StoreUnavailable
from stem_core.model import Delivery, Subscription
from stem_redis.bodies import delivery
from stem_redis.connection import Argument
from stem_redis.doorbell import LONGEST_WAIT, Doorbell, wake_keys
from stem_redis.handover import Handover
from stem_redis.keys import Keys
from stem_redis.store import Store, together

#: The most that one claim grants; a larger limit takes several.
_PORTION = 1_000

Suspects = frozenset[tuple[bytes, bytes]]


class Claimer:
    """Claims and waits of one session."""

    def __init__(self, store: Store, keys: Keys) -> None:
        self._store = store
        self._keys = keys
        self._loop = asyncio.get_running_loop()
        self._session = f"{store.session}{next(_numbers):x}"
        self._claims = itertools.count(1)
        self._doorbell = Doorbell(store.address, store.commands)
        self._handover = Handover(store, keys, self._doorbell)
        #: Queues whose last claim found no more, unless there was a wait since: when the next delay or lease ends, in
        #: the loop's time; None for none.
        self._dry: dict[str, float | None] = {}
        #: The suspects that the last claim of each queue left lying there. One look may be several claims, each of
        #: other queues.
        self._left: dict[str, Suspects] = {}
        #: Claims whose reply was lost, and the queues they were for.
        self._unsure: dict[str, tuple[str, ...]] = {}
        self._recovered: list[Delivery] = []

    async def receive(self, subscription: Subscription, limit: int, lease: float, suspects: int) -> list[Delivery]:
        """Grant up to ``limit`` ready messages; first what was handed over, then what an earlier call was granted
        without learning of it."""
        if limit <= 0 or not subscription.queues:
            return []
        # Without a connection nothing that was handed over could be confirmed.
        connection = self._store.commands.connection or await self._store.commands.open()
        assert connection is not None
        if self._handover.waiting and (handed := self._handover.take(subscription, limit, lease)):
            return handed
        if self._unsure:
            await self._recover(lease)
        if self._recovered:
            found, self._recovered = self._recovered[:limit], self._recovered[limit:]
            return found
        deliveries: list[Delivery] = []
        while len(deliveries) < limit:
            wanted = min(limit - len(deliveries), _PORTION)
            try:
                portion = await self._claim(subscription, wanted, lease, suspects)
            except StoreUnavailable:
                if deliveries:
                    break
                raise
            deliveries += portion
            if not deliveries and self._unsure:
                await self._recover(lease)
                found, self._recovered = self._recovered[:limit], self._recovered[limit:]
                return found
            suspects -= sum(1 for one in portion if one.crashes)
            if len(portion) < wanted or subscription.caps:
                # Caps hold for the whole claim, so it has one portion; who wants more claims again.
                break
        return deliveries

    async def _claim(self, subscription: Subscription, limit: int, lease: float, suspects: int) -> list[Delivery]:
        queues = subscription.queues
        serial = f"{self._session}.{next(self._claims)}"
        numbers = {queue: number for number, queue in enumerate(queues, 1)}
        back, made = self._handover.before_claim(queues)
        arguments: list[Argument] = [
            math.ceil(lease * 1000), max(0, suspects), serial, limit, back.text if back else b"",
            made.text if made else b"", len(queues), *queues,
        ]  # fmt: skip
        for queue, most in subscription.plan(limit):
            arguments += (numbers[queue], most)
        try:
            now, again, left, granted, handed = await self._store.run(
                "claim", self._keys.head(*queues), arguments, urgent=True
            )
        except (StoreUnavailable, asyncio.CancelledError):
            self._unsure[serial] = queues
            self._handover.end_wait()
            raise
        if unheard := self._handover.after_claim(back, made, granted=bool(granted), handed=bool(handed)):
            serial, offered = unheard
            self._unsure[serial] = offered
        at = now / 1000
        deliveries = [
            delivery(queues[granted[n] - 1], granted[n + 1], granted[n + 2], granted[n + 3], at)
            for n in range(0, len(granted), 4)
        ]
        self._remember(queues, left)
        if len(deliveries) < limit:
            soon = None if again is None else self._loop.time() + (again - now) / 1000
            self._dry.update(dict.fromkeys(queues, soon))
        return deliveries

    def _remember(self, queues: Sequence[str], left: Sequence[Any]) -> None:
        """What a claim of these queues says of them, in place of what the one before it said."""
        for known in (self._dry, self._left):
            if known:
                for queue in queues:
                    known.pop(queue, None)
        for number, suspects in zip(left[::2], left[1::2], strict=True):
            self._left[queues[number - 1]] = _suspects(suspects)

    async def _recover(self, lease: float) -> None:
        while self._unsure:
            # Out of there first: a call beside this one would find the same once more.
            serial, queues = self._unsure.popitem()
            for place, queue in enumerate(queues):
                try:
                    found = await self._granted_to(serial, queue, lease)
                except (StoreUnavailable, asyncio.CancelledError):
                    self._unsure[serial] = queues[place:]
                    raise
                self._recovered += found

    async def _granted_to(self, serial: str, queue: str, lease: float) -> list[Delivery]:
        """What a claim was granted of one queue."""
        found: list[Delivery] = []
        cursor: Argument = 0
        while True:
            now, cursor, granted = await self._store.run(
                "recover", self._keys.head(queue), [math.ceil(lease * 1000), queue, serial, cursor]
            )
            found += [
                delivery(queue, granted[n], granted[n + 1], granted[n + 2], now / 1000)
                for n in range(0, len(granted), 3)
            ]
            if cursor == b"0":
                return found

    async def wait(self, subscription: Subscription, timeout: float) -> None:
        """Return when there may be something, after ``timeout`` seconds, or after a second."""
        queues = subscription.queues
        if not queues or timeout <= 0:
            await asyncio.sleep(max(0.0, timeout))
            return
        deadline = self._loop.time() + min(timeout, LONGEST_WAIT)
        dry, self._dry = self._dry, {}
        if all(queue in dry for queue in queues):
            # Whatever came since those claims has rung.
            soon = min((at for queue in queues if (at := dry[queue]) is not None), default=None)
        else:
            soon = await self._look(queues)
        if soon is not None:
            deadline = min(deadline, soon)
        left = deadline - self._loop.time()
        if left <= 0 or self._handover.waiting:
            return
        self._handover.begin_wait(queues)
        try:
            await self._doorbell.wait(wake_keys([self._keys.wake(queue) for queue in queues]), left)
        finally:
            self._handover.end_wait()

    async def _look(self, queues: Sequence[str]) -> float | None:
        """When there is something to receive in the loop's time; None for unknown."""
        answers = await together([self._store.run("look", self._keys.head(queue), ()) for queue in queues])
        soon: float | None = None
        for queue, (now, ready, again, suspects) in zip(queues, answers, strict=True):
            if ready or not _suspects(suspects) <= self._left.get(queue, frozenset()):
                return 0.0
            if again is not None:
                at = self._loop.time() + (again - now) / 1000
                soon = at if soon is None else min(soon, at)
        return soon

    async def close(self) -> None:
        """Let go of the server."""
        self._handover.close()
        await self._doorbell.close()


def _suspects(flat: Sequence[bytes]) -> Suspects:
    return frozenset(zip(flat[::2], flat[1::2], strict=True))


_numbers = itertools.count()
