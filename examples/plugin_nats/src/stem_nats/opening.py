"""From a URL to an opened store. This module imports the driver; the plugin's own does not."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from nats.aio.client import Client

from stem_core.contracts import Broker, StateStore, StoreContext
from stem_core.errors import StoreError, StoreRefused, StoreUnavailable
from stem_core.model import StoreUrl
from stem_nats.broker import NatsBroker
from stem_nats.failures import translate
from stem_nats.link import Link
from stem_nats.servertime import ServerTime
from stem_nats.settings import NatsSettings
from stem_nats.state import NatsState
from stem_nats.store import Stream

logger = logging.getLogger("stem_nats")

#: The first version with a time to live for each message, and with reads of many subjects at once.
OLDEST = (2, 11)
#: How often the server's clock is read, in seconds.
_SYNCHRONISE = 30.0
#: Seconds between two tries to reach the server again, and without a sign of life before that begins.
_AGAIN, _SILENCE = 0.25, 5


@asynccontextmanager
async def open_broker(context: StoreContext) -> AsyncIterator[Broker]:
    """The broker of a namespace.

    Raises:
        StoreRefused: the server cannot be used: too old, wrong credentials, a stream of the same name.
        StoreUnavailable: it cannot be reached, or has no JetStream.
    """
    async with _stream(context, "JOBS", 1) as stream:
        broker = NatsBroker(stream, context.dedupe_window)
        try:
            yield broker
        finally:
            await broker.close()


@asynccontextmanager
async def open_state(context: StoreContext) -> AsyncIterator[StateStore]:
    """The state store of a namespace; raises as :func:`open_broker`."""
    async with _stream(context, "STATE", 2) as stream:
        yield NatsState(stream)


@asynccontextmanager
async def _stream(context: StoreContext, kind: str, depth: int) -> AsyncIterator[Stream]:
    settings = context.settings if context.settings is not None else NatsSettings()
    time = ServerTime(context.clock)
    async with _link(context.url, settings) as link:
        stream = Stream(link, time, context.namespace, kind, depth)
        await stream.ensure()
        keeper = asyncio.create_task(_keep_time(stream))
        try:
            yield stream
        finally:
            keeper.cancel()
            with suppress(asyncio.CancelledError):
                await keeper


async def _keep_time(stream: Stream) -> None:
    while not stream.time.turned_by_hand:
        await asyncio.sleep(_SYNCHRONISE)
        try:
            await stream.now()
        except StoreError as error:
            logger.debug("cannot read the server's clock: %s", error)


@asynccontextmanager
async def _link(url: StoreUrl, settings: NatsSettings) -> AsyncIterator[Link]:
    options = _options(url, settings)
    client = Client()
    link: Link | None = None
    problem: list[Exception] = []

    async def on_error(error: Exception) -> None:
        # What the server has said stands: trying again, it may be heard no more before the connection is reset.
        if not problem or not isinstance(error, OSError):
            problem[:] = [error]
        logger.debug("NATS: %s", error)

    async def on_loss() -> None:
        if link is not None:
            link.drop_all("the connection to NATS was lost")

    try:
        try:
            async with asyncio.timeout(settings.connect_timeout):
                await client.connect(**options, error_cb=on_error, disconnected_cb=on_loss, closed_cb=on_loss)
        except TimeoutError:
            cause = problem[0] if problem else StoreUnavailable(f"no answer within {settings.connect_timeout:g} s")
            raise translate(cause, str(url)) from None
        except Exception as error:
            # The client library raises what the system and the server say, of many classes.
            raise translate(error, str(url)) from error
        version = client.connected_server_version
        if (version.major, version.minor) < OLDEST:
            raise StoreRefused(
                f"nats-server at {url} is {version.major}.{version.minor}.{version.patch}; "
                f"Stem needs {OLDEST[0]}.{OLDEST[1]} or newer",
                hint="upgrade the server",
            )
        link = Link(client, settings.request_timeout)
        await link.start()
        yield link
    finally:
        await client.close()


def _options(url: StoreUrl, settings: NatsSettings) -> dict[str, Any]:
    for key, path in (("credentials", settings.credentials), ("ca_file", settings.ca_file)):
        if path is not None and not Path(path).is_file():
            raise StoreRefused(f"nats.{key}: there is no file {path}", hint="give the path of one")
    return {
        "servers": servers(url),
        "name": "stem",
        "connect_timeout": settings.connect_timeout,
        "reconnect_time_wait": _AGAIN,
        "max_reconnect_attempts": -1,
        "ping_interval": _SILENCE,
        "max_outstanding_pings": 1,
        # Nothing is kept for later while there is no connection: the caller is told, and decides.
        "pending_size": 0,
        "user_credentials": settings.credentials,
        "tls": ssl.create_default_context(cafile=settings.ca_file) if url.scheme == "nats+tls" else None,
    }


def servers(url: StoreUrl) -> list[str]:
    """``nats://user:password@one:4222,two:4222`` as one address for each server.

    Raises:
        StoreRefused: the URL names no server, or has a path or options.
    """
    parts = urlsplit(url.raw)
    if not parts.netloc or parts.path not in {"", "/"} or parts.query:
        raise StoreRefused(
            f"the URL {url} is no address of NATS",
            hint="write nats://HOST:4222 or nats://USER:PASSWORD@ONE:4222,TWO:4222; the rest are settings in [nats]",
        )
    credentials, at, hosts = parts.netloc.rpartition("@")
    scheme = "tls" if url.scheme == "nats+tls" else "nats"
    return [f"{scheme}://{credentials}{at}{host}" for host in hosts.split(",")]
