"""What a worker listens to."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from stem_core.errors import InvalidOption
from stem_core.model._value import value
from stem_core.model.names import check_queue


@value
class Subscription:
    """The queues of a worker, and how one claim is shared between them.

    ``weights`` has one positive whole number a queue. ``strict`` takes the queues in the order written:
    a later one is read only when the earlier ones have nothing ready.
    ``caps`` has the most that one claim may take of each queue; empty: as much as the whole claim.
    """

    queues: tuple[str, ...]
    weights: tuple[int, ...]
    strict: bool = False
    caps: tuple[int, ...] = ()

    @classmethod
    def of(cls, *queues: str, strict: bool = False) -> Subscription:
        """Equal shares of the named queues."""
        return cls(queues=tuple(queues), weights=(1,) * len(queues), strict=strict)

    @classmethod
    def parse(cls, specs: Sequence[str], *, strict: bool = False) -> Subscription:
        """From ``["high:5", "default"]``; a queue without a weight weighs 1.

        Raises:
            InvalidOption: an empty list, a queue named twice, a weight that is no whole number above 0.
            InvalidName: a name that no queue may have.
        """
        queues: list[str] = []
        weights: list[int] = []
        for spec in specs:
            name, colon, weight = spec.strip().partition(":")
            if colon and not (weight.isdecimal() and int(weight) > 0):
                raise InvalidOption("queues", spec, "NAME or NAME:WEIGHT with a whole number above 0, such as high:5")
            if check_queue(name) in queues:
                raise InvalidOption("queues", spec, f"each queue once; {name!r} is named twice")
            queues.append(name)
            weights.append(int(weight) if colon else 1)
        if not queues:
            raise InvalidOption("queues", "", "at least one queue name")
        return cls(queues=tuple(queues), weights=tuple(weights), strict=strict)

    def plan(self, limit: int) -> list[tuple[str, int]]:
        """How a claim of ``limit`` walks the queues: ``(queue, at most)`` in order, to be stopped at ``limit``.

        Weighted queues first get their share each, at least 1; then what is left goes to whoever has more.
        A broker takes from each step ``min(at most, limit - taken so far)``.
        """
        if self.caps:
            return self._capped_plan(limit)
        everything = [(queue, limit) for queue in self.queues]
        if self.strict or len(self.queues) == 1:
            return everything
        return self._shares(limit) + everything

    def _shares(self, limit: int) -> list[tuple[str, int]]:
        total = sum(self.weights)
        return [
            (queue, max(1, limit * weight // total)) for queue, weight in zip(self.queues, self.weights, strict=True)
        ]

    def _capped_plan(self, limit: int) -> list[tuple[str, int]]:
        caps = {queue: min(limit, cap) for queue, cap in zip(self.queues, self.caps, strict=True)}
        if self.strict or len(self.queues) == 1:
            return list(caps.items())
        shares = [(queue, min(share, caps[queue])) for queue, share in self._shares(limit)]
        # Both rounds together stay within the cap: what the first may take is not to be had in the second.
        rest = [(queue, caps[queue] - share) for queue, share in shares if caps[queue] > share]
        return shares + rest

    def turned(self, turn: int) -> Subscription:
        """The same with the starting queue moved on by ``turn``, so that small claims take turns too."""
        if self.strict or len(self.queues) <= 1:
            return self
        cut = turn % len(self.queues)
        return Subscription(
            queues=self.queues[cut:] + self.queues[:cut],
            weights=self.weights[cut:] + self.weights[:cut],
            caps=self.caps[cut:] + self.caps[:cut],
        )

    def without(self, names: Collection[str]) -> Subscription:
        """The same without these queues; may be left with none."""
        kept = [(queue, weight) for queue, weight in zip(self.queues, self.weights, strict=True) if queue not in names]
        return Subscription(
            queues=tuple(queue for queue, _ in kept), weights=tuple(weight for _, weight in kept), strict=self.strict
        )

    def capped(self, caps: Mapping[str, int]) -> Subscription:
        """The same for a claim that takes at most ``caps`` of each queue; those without a cap above 0 are left out."""
        kept = self.without([queue for queue in self.queues if caps.get(queue, 0) <= 0])
        return Subscription(
            queues=kept.queues,
            weights=kept.weights,
            strict=kept.strict,
            caps=tuple(caps[queue] for queue in kept.queues),
        )

    def __str__(self) -> str:
        names = [
            queue if weight == 1 else f"{queue}:{weight}"
            for queue, weight in zip(self.queues, self.weights, strict=True)
        ]
        return ",".join(names) + (" (strict)" if self.strict else "")
