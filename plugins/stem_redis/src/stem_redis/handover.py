"""Handing over: what is published while a session waits with nothing to do is granted to it by the publishing script.

That saves a lone message the way of a wake and a claim: two messages between processes instead of four. A claim that
grants nothing makes an offer, since a wait follows it; ``publish_one`` takes the offer, grants the message and sends it
by ``PUBLISH`` on the channel of the session. Such a grant lasts two seconds. When the message is received, the session
confirms it, with the lease that was asked for; where nobody does, because the session is stopped, blocked or gone, the
message has not started, so it is ready again, and no crash is counted.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Sequence
from typing import Any

from stem_core.errors import StoreError
from stem_core.model import Delivery, Receipt, Subscription
from stem_redis.bodies import delivery
from stem_redis.connection import Argument, OnReply
from stem_redis.doorbell import Doorbell
from stem_redis.keys import Keys
from stem_redis.packing import packed
from stem_redis.store import Store

#: So long after the offer what was handed over on it is certainly held, in seconds: the grant lasts two.
_CERTAIN = 1.5
#: Who receives nothing within so many seconds, and does not wait either, gives back what is handed over.
_SOON = 0.02
#: Seconds between two tries to confirm what was received just when the connection broke.
_AGAIN = 0.05


class Offer:
    """One offer, and what came of it."""

    def __init__(self, channel: bytes, serial: str, queues: Sequence[str], at: float) -> None:
        #: Names it in tokens, as the serial of a claim does.
        self.serial = serial
        #: As the server knows it.
        self.text = b"%b %b" % (channel, serial.encode())
        #: In one order, so that a subscription that takes turns makes the same offer.
        self.queues = tuple(sorted(queues))
        #: When it was made, in the loop's time.
        self.at = at
        #: Whether the server may still hand over on it.
        self.stands = True
        self.heard = False
        #: What was handed over and not received yet.
        self.handed: list[Delivery] = []


class Handover:
    """The offers of one session: one at a time. Unless it waits or claims, a timer runs that takes it back."""

    def __init__(self, store: Store, keys: Keys, doorbell: Doorbell) -> None:
        self._store = store
        self._keys = keys
        self._doorbell = doorbell
        self._loop = asyncio.get_running_loop()
        self._name = f"{store.session}.h{next(_numbers):x}"
        self._channel = keys.session(self._name)
        self._serials = itertools.count(1)
        self._offer: Offer | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def waiting(self) -> bool:
        """Whether something was handed over and not received yet."""
        return self._offer is not None and bool(self._offer.handed)

    def begin_wait(self, queues: Sequence[str]) -> None:
        """A wait for these queues begins: the offer that the claim before it has made stands until it is over."""
        if not self._store.ears.hears(self._channel):
            # Nothing is handed to who does not listen yet: the next claim makes an offer.
            self._store.ears.want(self._channel, self._heard)
        if self._offer is None:
            return
        if self._offer.queues == tuple(sorted(queues)):
            self._keep_still()
        else:
            self._let_go()

    def end_wait(self) -> None:
        """The wait is over. Who receives nothing soon gives everything back."""
        if self._offer is not None and self._timer is None:
            self._timer = self._loop.call_later(_SOON, self._let_go)

    def _new(self, queues: Sequence[str]) -> Offer:
        return Offer(self._channel, f"{self._name}.{next(self._serials)}", queues, self._loop.time())

    def _heard(self, text: bytes) -> None:
        if not text:
            return
        line = text.index(b"\n")
        name, token, meta = text[:line].split(b" ")
        queue, ready = name.decode(), int(meta[: meta.index(b"|")]) / 1000
        one = delivery(queue, token, meta, text[line + 1 :], ready)
        serial = one.receipt.token.rsplit("/", 1)[1].removesuffix(".1")
        offer = self._offer
        if offer is None or offer.serial != serial:
            # It was taken back meanwhile, or the claim that makes it is under way still.
            self._give_back(Offer(self._channel, serial, (queue,), 0.0), [one])
            return
        offer.heard = True
        offer.handed.append(one)
        if not self._doorbell.ring():
            self.end_wait()

    def take(self, subscription: Subscription, limit: int, lease: float) -> list[Delivery]:
        """What was handed over, with a lease from now on."""
        self._keep_still()
        offer = self._offer
        if offer is None or not offer.handed:
            return []
        handed, offer.handed = offer.handed, []
        if self._loop.time() - offer.at > _CERTAIN:
            # This process stood still meanwhile.
            self._give_back(offer, handed)
            return []
        taken = [one for one in handed if one.receipt.queue in subscription.queues][:limit]
        if len(taken) < len(handed):
            self._give_back(offer, [one for one in handed if one not in taken])
        for one in taken:
            self._confirm(one.receipt, lease)
        self.end_wait()
        return taken

    def _confirm(self, receipt: Receipt, lease: float) -> None:
        keys, until = self._keys.to_confirm(receipt.queue), self._loop.time() + lease
        arguments = (math.ceil(lease * 1000), receipt.id, receipt.token)

        async def again() -> None:
            while self._loop.time() < until:
                try:
                    await self._store.run("confirm", keys, arguments)
                except StoreError:
                    await asyncio.sleep(_AGAIN)
                else:
                    return

        def confirmed(reply: Any) -> None:
            # Else it would be granted to another in two seconds, while it runs here.
            if isinstance(reply, Exception):
                task = self._loop.create_task(again())
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

        # On its way before it starts, so that a crash counts.
        if not self._post("confirm", keys, arguments, confirmed):
            confirmed(ConnectionError())

    def before_claim(self, queues: Sequence[str]) -> tuple[Offer | None, Offer | None]:
        """What a claim says of offers: the one to take back, and the one to make when nothing is granted."""
        offer = self._offer
        if offer is not None and offer.queues != tuple(sorted(queues)):
            if set(queues) < set(offer.queues):
                # One look may be several claims: the first has made an offer for all.
                return None, None
            self._let_go()
            offer = None
        self._keep_still()
        if (offer is not None and offer.handed) or not self._store.ears.hears(self._channel):
            return offer, None
        return offer, self._new(queues)

    def after_claim(
        self, back: Offer | None, made: Offer | None, *, granted: bool, handed: bool
    ) -> tuple[str, tuple[str, ...]] | None:
        """What became of that. Serial and queues when something was ``handed`` over of which nothing is heard: it is
        recovered as what a claim has granted."""
        if back is not None:
            back.stands = False
        if self._offer is back and not self.waiting:
            self._offer = None if granted else made
        elif made is not None:
            # Something came while the claim was under way, or another claim has made an offer.
            self._give_back(made, ())
        self.end_wait()
        return (back.serial, back.queues) if back is not None and handed and not back.heard else None

    def _let_go(self) -> None:
        self._keep_still()
        offer, self._offer = self._offer, None
        if offer is not None and (offer.stands or offer.handed):
            self._give_back(offer, offer.handed)

    def _give_back(self, offer: Offer, handed: Sequence[Delivery]) -> None:
        offer.stands = False
        arguments: list[Argument] = [offer.text, len(offer.queues)]
        for one in handed:
            arguments += (offer.queues.index(one.receipt.queue) + 1, one.receipt.id, one.receipt.token)
        # Should it be lost, the first leases end soon.
        self._post("withdraw", self._keys.head(*offer.queues), arguments, _ignore)

    def _post(self, script: str, keys: Sequence[bytes], arguments: Sequence[Argument], done: OnReply) -> bool:
        evaluation = (len(keys), *keys, *arguments)
        return self._store.commands.post(script, len(evaluation), (packed(*evaluation),), done)

    def _keep_still(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def close(self) -> None:
        """Take nothing more."""
        self._let_go()
        self._store.ears.leave(self._channel, self._heard)
        for task in self._tasks:
            task.cancel()


def _ignore(_reply: Any) -> None:
    pass


_numbers = itertools.count()
