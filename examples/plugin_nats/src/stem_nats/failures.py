"""What NATS complains of, in the words of the contracts."""

from __future__ import annotations

from typing import Any

import msgspec
import nats.errors

from stem_core.errors import StoreError, StoreRefused, StoreUnavailable

#: Of an answer to a conditional write: somebody else wrote first.
CONFLICT = 10071
STREAM_NOT_FOUND = 10059
NAME_IN_USE = 10058
_JETSTREAM_OFF = {10039, 10076}


class ApiError(msgspec.Struct, frozen=True):
    """The error in an answer of JetStream."""

    code: int
    err_code: int = 0
    description: str = ""


class NotThere(StoreUnavailable):
    """Nobody answers a call of JetStream: it is off, or the stream is gone."""


def refusal(error: ApiError, what: str) -> StoreError:
    """The error of the contracts for one in an answer."""
    said = f"NATS refuses {what}: {error.description} ({error.err_code})"
    if error.err_code in _JETSTREAM_OFF:
        return no_jetstream(what)
    if error.code in {408, 429} or error.code >= 500:
        return StoreUnavailable(said, hint="see the limits of the stream and of the account: nats stream info")
    return StoreRefused(said, hint="see the permissions of the user and the settings of the stream")


def no_jetstream(what: str) -> NotThere:
    """Nobody answers a call of JetStream."""
    return NotThere(
        f"NATS cannot do {what}: JetStream does not answer",
        hint="start nats-server with --jetstream, and see that the account may use it",
    )


def translate(error: BaseException, what: str) -> StoreError:
    """The error of the contracts for one that the client library raised."""
    if isinstance(error, StoreError):
        return error
    if isinstance(error, nats.errors.AuthorizationError) or "authorization violation" in str(error).lower():
        return StoreRefused(f"NATS refuses {what}: wrong user or password", hint="see the URL and nats.credentials")
    if isinstance(error, nats.errors.MaxPayloadError):
        return StoreRefused(f"NATS refuses {what}: larger than the server's max_payload", hint="pass a reference")
    said = str(error) or type(error).__name__
    return StoreUnavailable(f"NATS cannot be reached for {what}: {said}")


def silence(seconds: float, what: str) -> StoreUnavailable:
    """No answer in time."""
    return StoreUnavailable(f"NATS did not answer {what} within {seconds:g} s")


def unexpected(answer: Any, what: str) -> StoreError:
    """An answer that is none."""
    return StoreError(f"NATS answered {what} with something else: {answer!r:.200}")
