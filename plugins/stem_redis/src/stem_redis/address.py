"""From a URL and the settings to where the server is and who we are there."""

from __future__ import annotations

import ssl
from urllib.parse import parse_qsl, unquote, urlsplit

from stem_core.errors import StoreRefused
from stem_core.model import StoreUrl
from stem_core.model._value import value
from stem_redis.settings import RedisSettings

_FORMS = "redis://[user:password@]host[:port][/database], rediss://... with TLS, or redis+unix:///path/of/socket[?db=N]"


@value
class Address:
    """Where a server is, and how to get in. ``str()`` gives the masked URL."""

    shown: str
    host: str
    port: int
    #: Path of the socket; empty for TCP.
    path: str
    tls: bool
    user: str
    password: str
    database: int
    settings: RedisSettings

    def __str__(self) -> str:
        return self.shown

    def __repr__(self) -> str:
        return f"Address({self.shown!r})"

    @classmethod
    def parse(cls, url: StoreUrl, settings: RedisSettings) -> Address:
        """Raises :class:`StoreRefused` for a URL that names no server."""
        try:
            parts = urlsplit(url.raw)
            port = parts.port
        except ValueError as error:
            raise _refused(url, "it cannot be taken apart (a port is a number up to 65535)") from error
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        database = options.pop("db", "")
        if options:
            raise _refused(url, f"it has the unknown option {min(options)!r}")
        unix = url.scheme == "redis+unix"
        if unix and not parts.path.strip("/"):
            raise _refused(url, "it names no socket")
        if not unix and parts.path.strip("/"):
            if database:
                raise _refused(url, "it names a database twice")
            database = parts.path.strip("/")
        if database and not database.isdecimal():
            raise _refused(url, f"{database!r} is no number of a database")
        return cls(
            shown=str(url),
            host=parts.hostname or "localhost",
            port=port or 6379,
            path=unquote(parts.path) if unix else "",
            tls=url.scheme == "rediss",
            user=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
            database=int(database or 0),
            settings=settings,
        )

    def context(self) -> ssl.SSLContext | None:
        """How TLS is spoken; None without it.

        Raises:
            StoreRefused: a file of the settings cannot be read or used.
        """
        if not self.tls:
            return None
        settings = self.settings
        try:
            context = ssl.create_default_context(cafile=settings.tls_ca_cert)
            if settings.tls_client_cert:
                context.load_cert_chain(settings.tls_client_cert, settings.tls_client_key)
        except OSError as error:
            raise StoreRefused(
                f"cannot use the certificates for {self.shown}: {error}",
                hint="see the files of STEM_TLS_CA_CERT, STEM_TLS_CLIENT_CERT and STEM_TLS_CLIENT_KEY",
            ) from error
        if settings.tls_allow_insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


def _refused(url: StoreUrl, why: str) -> StoreRefused:
    return StoreRefused(f"the URL {url} cannot be used: {why}", hint=f"write {_FORMS}")
