"""Middleware around publishing."""

from __future__ import annotations

from collections.abc import Sequence

from stem_core.contracts import Middleware
from stem_core.errors import PublishError, StemError
from stem_core.model import Envelope


def through(middleware: Sequence[Middleware], envelope: Envelope) -> Envelope:
    """The envelope as the layers leave it, the outermost first.

    Raises:
        PublishError: one of them refused it, or returned no envelope.
        StemError: what one of them raised itself.
    """
    for layer in middleware:
        try:
            changed = layer.enqueue(envelope)
        except StemError:
            raise
        except Exception as error:
            raise PublishError(
                f"the middleware {_name(layer)} refused {envelope.header.task}: {type(error).__name__}: {error}"
            ) from error
        if not isinstance(changed, Envelope):
            raise PublishError(
                f"the middleware {_name(layer)} made a {type(changed).__name__} of the envelope of "
                f"{envelope.header.task}",
                hint="let its enqueue() return the envelope, or a changed copy of it; raise to refuse",
            )
        envelope = changed
    return envelope


def _name(layer: Middleware) -> str:
    return f"{type(layer).__module__}.{type(layer).__qualname__}"
