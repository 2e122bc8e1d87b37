"""Sending broadcasts: one message on a channel, of which every worker that listens runs a copy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from stem_core.contracts import Broadcasts, Broker
from stem_core.errors import ConfigurationError, PublishError
from stem_core.model import Channel, Envelope, Message
from stem_core.wire import encode_copy

if TYPE_CHECKING:
    from stem_core.client.session import Session


def on_wire(namespace: str, channel: str) -> str:
    """The name that the broker knows a channel by. It is no name of a control queue, which holds ``.control.``."""
    return f"{namespace}.broadcast.{channel}"


def require_broadcasts(broker: Broker, channels: Sequence[str], who: str) -> Broadcasts:
    """The broker, able to broadcast. ``who`` is what needs the channels: ``task cache.refresh goes to``.

    Raises:
        ConfigurationError: it has no broadcasts.
    """
    if not isinstance(broker, Broadcasts):
        raise ConfigurationError(
            f"{who} the broadcast channel {', '.join(channels)}, but {type(broker).__name__} has no broadcasts",
            hint="use a broker that has them, such as sqlite:// or redis://, or route the task to a queue",
        )
    return broker


class Sender:
    """Sends the broadcasts of a session. Made where channels are declared."""

    def __init__(self, session: Session) -> None:
        settings = session.runtime.settings.app
        self._session = session
        self._namespace = settings.namespace
        self._channels: Mapping[str, Channel] = settings.routing_config.channels

    def check(self, envelopes: Sequence[Envelope]) -> None:
        """To be called before any of them is sent.

        Raises:
            ConfigurationError: the broker has no broadcasts.
            PublishError: a channel that is not declared, or another queue than its name; middleware can do that.
        """
        for envelope in envelopes:
            channel, task = envelope.header.channel, envelope.header.task
            if channel is None:
                continue
            require_broadcasts(self._session.broker, [channel], f"{task} goes to")
            if channel not in self._channels:
                raise PublishError(f"{task} is to go to the channel {channel!r}, which is not declared")
            if envelope.header.queue != channel:
                raise PublishError(
                    f"{task} is to go to the channel {channel!r}, but its queue is {envelope.header.queue!r}",
                    hint="set channel=None as well, to have it run once, or leave its queue as it is",
                )

    async def send(self, envelopes: Sequence[Envelope], messages: Sequence[Message]) -> list[Message]:
        """Send the broadcasts among the messages; returns the others, which are for queues.

        Raises:
            StoreError: the broker did not take one. Those before it are sent; sent again they change nothing, for a
                worker runs one copy of an id.
        """
        others: list[Message] = []
        session = self._session
        for envelope, message in zip(envelopes, messages, strict=True):
            channel = envelope.header.channel
            if channel is None:
                others.append(message)
                continue
            broker = require_broadcasts(session.broker, [channel], f"{envelope.header.task} goes to")
            name, ttl = on_wire(self._namespace, channel), self._channels[channel].ttl
            await session.deadline("broker: send", broker.send(name, encode_copy(message), ttl))
        return others
