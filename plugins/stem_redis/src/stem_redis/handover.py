"""Handing over: what is published while a session waits with nothing to do is granted to it by the publishing script.

That saves a lone message the way of a wake and a claim: two messages between processes instead of four. The session
offers itself while it waits; ``publish_one`` takes the offer, grants the message and publishes it on the channel of the
session. Such a grant lasts two seconds. When the message is received, the session confirms it, with the lease that was
asked for; where nobody does, because the session is stopped, blocked or gone, the message has not started, so it is
ready again, and no crash is counted.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Sequence
from typing import Any

from stem_core.model import Delivery, Subscription
from stem_redis.bodies import delivery
from stem_redis.connection import Argument
from stem_redis.doorbell import Doorbell
from stem_redis.keys import Keys
from stem_redis.packing import packed
from stem_redis.store import Store

#: Shorter waits make no offer, in seconds.
_WORTH_OFFERING = 0.05
#: So long after the offer what was handed over on it is certainly held, in seconds: the grant lasts two.
_CERTAIN = 1.5
#: Who waited, and receives nothing within so many seconds, gives back what is handed over.
_SOON = 0.02
#: An offer that a claim has made holds for so many milliseconds, and is as good as new for so many seconds.
_RENEWED, _FRESH = 1000, 0.1


class _Offer:
    """One offer, and what came of it."""

    def __init__(self, channel: bytes, serial: str, queues: Sequence[str], at: float) -> None:
        #: Names it in tokens, as the serial of a claim does.
        self.serial = serial
        #: As the server knows it.
        self.text = b"%b %b" % (channel, serial.encode())
        self.queues = tuple(queues)
        #: When it was made, in the loop's time.
        self.at = at
        #: Whether the server may still hand over on it.
        self.stands = True
        self.heard = False
        #: What was handed over and not received yet.
        self.handed: list[Delivery] = []


class Handover:
    """The offers of one session: one at a time, while it waits."""

    def __init__(self, store: Store, keys: Keys, doorbell: Doorbell) -> None:
        self._store = store
        self._keys = keys
        self._doorbell = doorbell
        self._loop = asyncio.get_running_loop()
        self._name = f"{store.session}.h{next(_numbers):x}"
        self._channel = keys.session(self._name)
        self._serials = itertools.count(1)
        self._offer: _Offer | None = None
        #: The one that the claim under way makes when it grants nothing.
        self._next: _Offer | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> bool:
        """Whether something was handed over and not received yet."""
        return self._offer is not None and bool(self._offer.handed)

    def offer(self, queues: Sequence[str], seconds: float) -> None:
        """Take a message that is published to one of the queues within ``seconds`` from now."""
        offer = self._offer
        if offer is not None and offer.stands and offer.queues == tuple(queues) and self._age(offer) < _FRESH:
            self._keep_still()
            return
        self._let_go()
        if seconds < _WORTH_OFFERING:
            return
        if not self._store.ears.hears(self._channel):
            # Nothing is handed to who does not listen yet: the next wait makes an offer.
            self._store.ears.want(self._channel, self._heard)
            return
        offer = self._new(queues)
        if self._post("offer", self._keys.head(*queues), (offer.text, math.floor(seconds * 1000), len(queues))):
            self._offer = offer

    def _new(self, queues: Sequence[str]) -> _Offer:
        return _Offer(self._channel, f"{self._name}.{next(self._serials)}", queues, self._loop.time())

    def _age(self, offer: _Offer) -> float:
        return self._loop.time() - offer.at

    def waited(self) -> None:
        """The wait is over. Who receives nothing soon gives everything back."""
        if self._offer is not None and self._timer is None:
            self._timer = self._loop.call_later(_SOON, self._let_go)

    def _heard(self, text: bytes) -> None:
        offer = self._offer
        if not text or offer is None:
            return
        line = text.index(b"\n")
        queue, token, meta = text[:line].split(b" ")
        if not token.endswith(b"/%b.1" % offer.serial.encode()):
            return
        offer.heard = True
        ready = int(meta[: meta.index(b"|")]) / 1000
        offer.handed.append(delivery(queue.decode(), token, meta, text[line + 1 :], ready))
        if not self._doorbell.ring():
            self.waited()

    def take(self, subscription: Subscription, limit: int, lease: float) -> list[Delivery]:
        """What was handed over, with a lease from now on."""
        self._keep_still()
        offer = self._offer
        if offer is None or not offer.handed:
            return []
        handed, offer.handed = offer.handed, []
        if self._age(offer) > _CERTAIN:
            # This process stood still meanwhile.
            self._give_back(offer, handed)
            return []
        taken = [one for one in handed if one.receipt.queue in subscription.queues][:limit]
        if len(taken) < len(handed):
            self._give_back(offer, [one for one in handed if one not in taken])
        for one in taken:
            receipt = one.receipt
            # On its way before it starts, so that a crash counts. Should it be lost, the next renewal tells.
            arguments = (math.ceil(lease * 1000), receipt.id, receipt.token)
            self._post("confirm", self._keys.to_confirm(receipt.queue), arguments)
        self.waited()
        return taken

    def before_claim(self, queues: Sequence[str]) -> tuple[Argument, ...]:
        """What a claim says of offers: the one to take back, and the one to make when nothing is granted, since who
        has waited will wait again, and for how many milliseconds. Both may be empty."""
        self._keep_still()
        offer, self._next = self._offer, None
        if offer is None:
            return b"", b"", 0
        if not offer.handed and self._store.ears.hears(self._channel):
            self._next = self._new(queues)
        return offer.text, self._next.text if self._next else b"", _RENEWED

    def after_claim(self, granted: bool, handed: bool) -> tuple[str, tuple[str, ...]] | None:
        """What became of that. Serial and queues when something was ``handed`` over of which nothing is heard: it is
        recovered as what a claim has granted."""
        offer = self._offer
        if offer is None:
            return None
        offer.stands = False
        if offer.handed:
            # It came while the claim was under way, which may have made an offer all the same.
            if self._next is not None:
                self._give_back(self._next, ())
            self.waited()
            return None
        self._offer = None if granted else self._next
        self.waited()
        return (offer.serial, offer.queues) if handed and not offer.heard else None

    def _let_go(self) -> None:
        self._keep_still()
        offer, self._offer = self._offer, None
        if offer is not None and (offer.stands or offer.handed):
            self._give_back(offer, offer.handed)

    def _give_back(self, offer: _Offer, handed: Sequence[Delivery]) -> None:
        offer.stands = False
        arguments: list[Argument] = [offer.text, len(offer.queues)]
        for one in handed:
            arguments += (offer.queues.index(one.receipt.queue) + 1, one.receipt.id, one.receipt.token)
        # Should it be lost, the first leases end soon.
        self._post("withdraw", self._keys.head(*offer.queues), arguments)

    def _keep_still(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _post(self, script: str, keys: Sequence[bytes], arguments: Sequence[Argument]) -> bool:
        evaluation = (len(keys), *keys, *arguments)
        return self._store.commands.post(script, len(evaluation), (packed(*evaluation),), _ignore)

    def close(self) -> None:
        """Take nothing more."""
        self._let_go()
        self._store.ears.leave(self._channel, self._heard)


def _ignore(_reply: Any) -> None:
    pass


_numbers = itertools.count()
