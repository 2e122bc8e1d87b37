"""How shares of a worker's slots are read: by queue, and from a least to a most."""

from __future__ import annotations

from stem_core.settings.parsers import NotAccepted, Parser, integer, items, queue, text


def slots() -> Parser[tuple[tuple[str, int], ...]]:
    """Slots by queue: ``mail=2,images=1``, an array of such or of pairs, or a table; as pairs, each queue once."""
    queue_of, count_of = queue(), integer(1)

    def read(raw: object) -> tuple[tuple[str, int], ...]:
        pairs = tuple(raw.items()) if isinstance(raw, dict) else items(raw, _pair)
        counted = {queue_of(given): count_of(count) for given, count in pairs}
        if len(counted) < len(pairs):
            raise NotAccepted
        return tuple(counted.items())

    def show(value: tuple[tuple[str, int], ...]) -> str:
        return ",".join(f"{given}={count}" for given, count in value)

    accepts = "slots as QUEUE=NUMBER, each queue once and at least 1, such as mail=2,images=1"
    return Parser(accepts, read, show)


def span() -> Parser[tuple[int, int]]:
    """Two whole numbers above 0, the lesser first: ``2,50`` or an array of two."""
    number = integer(1)

    def read(raw: object) -> tuple[int, int]:
        found = items(raw, number)
        if len(found) != 2:
            raise NotAccepted
        low, high = found
        if low > high:
            raise NotAccepted(f"write {high},{low}")
        return low, high

    return Parser("MIN,MAX: two whole numbers above 0, the lesser first, such as 2,50", read, "{0[0]},{0[1]}".format)


def _pair(item: object) -> tuple[object, object]:
    if isinstance(item, list | tuple) and len(item) == 2:
        return item[0], item[1]
    name, _, number = text()(item).partition("=")
    return name, number
