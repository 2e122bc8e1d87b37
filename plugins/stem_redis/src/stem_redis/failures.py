"""What the server and the network complain of, in the words of the contracts."""

from __future__ import annotations

import re
import ssl

import hiredis

from stem_core.errors import StoreError, StoreRefused, StoreUnavailable
from stem_redis.address import Address

_UNAVAILABLE = {
    "LOADING": "it is loading its data",
    "READONLY": "it is a read-only replica now",
    "MASTERDOWN": "it is a replica without a master",
    "CLUSTERDOWN": "the cluster is down",
    "TRYAGAIN": "the cluster is moving keys",
    "OOM": "its memory is full (maxmemory)",
    "BUSY": "a script keeps it busy",
    "NOREPLICAS": "too few replicas follow it (min-replicas-to-write)",
    "MISCONF": "it cannot write to its disk",
    "UNBLOCKED": "its role changed",
    "NOGROUP": "a consumer group was lost",
    "NOSCRIPT": "it lost its scripts",
    "MAXCLIENTS": "it has too many clients",
}
_REFUSED = {
    "WRONGPASS": ("the user name or password is wrong", "see the URL: redis://user:password@host"),
    "NOAUTH": ("it wants a password", "give it in the URL: redis://user:password@host"),
    "NOPERM": (
        "the user may not do that",
        "give it the keys, channels and commands that plugins/stem_redis/README.md lists",
    ),
    "DENIED": (
        "it lets nobody in from outside (protected mode)",
        "give the server a password, or bind it to this host",
    ),
    "WRONGTYPE": ("a key of the namespace holds something else", "give Stem a namespace or database of its own"),
    "CROSSSLOT": ("it is a Redis Cluster", "name a server that is none; Cluster is not supported yet"),
    "MOVED": ("it is a Redis Cluster", "name a server that is none; Cluster is not supported yet"),
}
_CODE = re.compile(r"-?\b([A-Z]{3,})\b")


def code_of(error: Exception) -> str:
    """The word that says what kind of error the server means, also where a script met it."""
    text = str(error)
    if text.startswith("ERR max number of clients"):
        return "MAXCLIENTS"
    first, _, rest = text.partition(" ")
    if first != "ERR":
        return first
    # Before 7.0 the error of a command inside a script stands somewhere in the text of another.
    return next((code for code in _CODE.findall(rest) if code in _UNAVAILABLE or code in _REFUSED), "ERR")


def refused(address: Address, why: str, hint: str) -> StoreRefused:
    """The server cannot be used as it is."""
    return StoreRefused(f"cannot use {address}: {why}", hint=hint)


def unavailable(address: Address, why: str, hint: str = "") -> StoreUnavailable:
    """The server cannot be used now."""
    return StoreUnavailable(f"cannot use {address} now: {why}", hint=hint)


def translate(error: Exception, address: Address, *, connecting: bool = False) -> Exception:
    """The error of the contracts for one of the server or the connection; any other is returned as it is.

    ``connecting``: there was no connection yet, so that the address itself may be wrong.
    """
    if isinstance(error, StoreError):
        return error
    if isinstance(error, hiredis.ReplyError):
        return _of_reply(error, address)
    if isinstance(error, hiredis.ProtocolError):
        return refused(address, "what answers there is no Redis server", "see host and port of the URL")
    if isinstance(error, ssl.SSLError):
        return _of_tls(error, address)
    if isinstance(error, OSError):
        why = str(error) or type(error).__name__
        return unavailable(address, error.strerror or why, _where(address) if connecting else "")
    return error


def _where(address: Address) -> str:
    if address.path:
        return "see that the server runs, and that the URL has the path of its socket"
    tls = ", or write redis:// for one without TLS" if address.tls else ""
    return f"see that the server runs at the host and port of the URL{tls}"


def _of_reply(error: hiredis.ReplyError, address: Address) -> StoreError:
    code = code_of(error)
    if code in _UNAVAILABLE:
        return unavailable(address, _UNAVAILABLE[code])
    if code in _REFUSED:
        return refused(address, *_REFUSED[code])
    if "unknown command" in str(error).lower():
        return refused(address, f"it lacks a command ({error})", "use Redis 6.2 or newer, or Valkey")
    return StoreError(f"{address} failed: {error}")


def _of_tls(error: ssl.SSLError, address: Address) -> StoreError:
    if isinstance(error, ssl.SSLCertVerificationError):
        return refused(
            address,
            f"its certificate is not trusted ({error.verify_message})",
            "name the certificate of its authority in STEM_TLS_CA_CERT",
        )
    return refused(
        address,
        f"TLS was refused ({error.reason or error})",
        "see STEM_TLS_CLIENT_CERT, or write redis:// for a server without TLS",
    )
