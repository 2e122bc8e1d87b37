"""Store addresses: taken apart once, and never shown with their secrets."""

from __future__ import annotations

from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

from stem_core.errors import InvalidOption
from stem_core.model._value import value

_SECRET_WORDS = ("password", "passwd", "secret", "token", "key", "auth", "credential")


@value
class StoreUrl:
    """The address of a broker, result backend or state store: ``scheme://...``."""

    #: As it was written, secrets included. Never print it; ``str()`` gives the masked form.
    raw: str
    scheme: str

    @classmethod
    def parse(cls, raw: str) -> StoreUrl:
        """Raises :class:`InvalidOption` when there is no scheme."""
        scheme, separator, _ = raw.partition("://")
        if not separator or not scheme:
            raise InvalidOption("url", mask(raw), "an address with a scheme, such as sqlite:///jobs.db or memory://")
        return cls(raw=raw, scheme=scheme.lower())

    @property
    def location(self) -> str:
        """What stands between ``scheme://`` and ``?``, decoded: a path or a name."""
        return unquote(self.raw.partition("://")[2].partition("?")[0])

    @property
    def options(self) -> dict[str, str]:
        """The part after ``?`` as pairs."""
        return dict(parse_qsl(self.raw.partition("?")[2], keep_blank_values=True))

    def __str__(self) -> str:
        return mask(self.raw)

    def __repr__(self) -> str:
        return f"StoreUrl({mask(self.raw)!r})"


def mask(url: str) -> str:
    """``url`` with its password and secret query values as ``***``."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "***"
    netloc = parts.netloc
    if ":" in netloc and "@" in f"{parts.path}{parts.query}{parts.fragment}":
        # Most likely a password that should have been escaped: a ``/``, ``?`` or ``#`` in it ended the host early.
        scheme, _, location = url.partition("://")
        return f"{scheme}://{location.partition(':')[0]}:***@{location.rpartition('@')[2]}"
    if "@" in netloc:
        credentials, _, host = netloc.rpartition("@")
        user, colon, _ = credentials.partition(":")
        netloc = f"{user}:***@{host}" if colon else f"***@{host}"
    query = "&".join(_mask_pair(pair) for pair in parts.query.split("&")) if parts.query else ""
    if netloc == parts.netloc and query == parts.query:
        return url
    return urlunsplit(parts._replace(netloc=netloc, query=query))


def _mask_pair(pair: str) -> str:
    name, equals, _ = pair.partition("=")
    return f"{name}=***" if equals and any(word in name.lower() for word in _SECRET_WORDS) else pair
