"""Opening: what a user is told when it cannot be done."""

from __future__ import annotations

import asyncio
import socket
import struct
import subprocess
import sys

import pytest

pytest.importorskip("stem_nats", reason="the example plugin stem-nats is not installed")
nats = pytest.importorskip("nats", reason="the client library nats-py is not installed")

from stem_core.clock import SYSTEM_CLOCK
from stem_core.contracts import StoreContext, TellsTime
from stem_core.errors import StoreError, StoreRefused, StoreUnavailable
from stem_core.model import StoreUrl
from stem_nats import opening
from stem_nats.settings import NatsSettings

SOON = NatsSettings(connect_timeout=0.3, request_timeout=1.0)


#: Time to try more than once: a server that refuses may reset the connection before its word is read.
PATIENT = NatsSettings(connect_timeout=1.5, request_timeout=1.0)


async def refusal(url: str, namespace: str = "test", settings: NatsSettings = SOON) -> StoreError:
    context = StoreContext(url=StoreUrl.parse(url), namespace=namespace, settings=settings)
    with pytest.raises(StoreError) as caught:
        async with opening.open_broker(context):
            pass
    return caught.value


async def test_nobody_there() -> None:
    error = await refusal("nats://me:secret@127.0.0.1:1")
    assert isinstance(error, StoreUnavailable)
    assert str(error).startswith("NATS cannot be reached for nats://me:***@127.0.0.1:1: ")


async def test_a_wrong_password(start_server) -> None:
    server = start_server('authorization { user: "me", password: "right" }')
    error = await refusal(server.url.replace("//", "//me:wrong@"), settings=PATIENT)
    assert isinstance(error, StoreRefused)
    assert "wrong user or password" in str(error)
    assert "wrong@" not in str(error)


async def test_what_a_server_has_said_stands_though_it_resets_the_next_connections() -> None:
    tries = 0

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal tries
        tries += 1
        writer.write(b'INFO {"server_id":"x","version":"2.11.0","max_payload":1048576,"auth_required":true}\r\n')
        if tries > 1:
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        else:
            await reader.readline()
            writer.write(b"-ERR 'Authorization Violation'\r\n")
            await writer.drain()
            await reader.read(1000)
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        error = await refusal(f"nats://me:wrong@127.0.0.1:{port}", settings=PATIENT)
    assert tries > 1
    assert isinstance(error, StoreRefused)
    assert "wrong user or password" in str(error)


async def test_no_jetstream(start_server) -> None:
    error = await refusal(start_server("").url)
    assert isinstance(error, StoreUnavailable)
    assert "start nats-server with --jetstream" in str(error)


async def test_a_stream_of_somebody_else(server, namespace) -> None:
    client = await nats.connect(server.url)
    name = f"STEM_{namespace.replace('.', '~')}_JOBS"
    await client.jetstream().add_stream(name=name, subjects=[f"{namespace}.elsewhere"])
    await client.close()
    error = await refusal(server.url, namespace)
    assert isinstance(error, StoreRefused)
    assert f"the stream {name} has max_msgs_per_subject=-1; Stem needs 1" in str(error)


@pytest.mark.parametrize("url", ["nats://", "nats://host/path", "nats://host?a=b"])
async def test_what_is_no_address(url) -> None:
    error = await refusal(url)
    assert isinstance(error, StoreRefused)
    assert "is no address of NATS" in str(error)


async def test_a_file_that_is_not_there() -> None:
    settings = NatsSettings(credentials="/nowhere.creds")
    context = StoreContext(url=StoreUrl.parse("nats://127.0.0.1:1"), namespace="test", settings=settings)
    with pytest.raises(StoreRefused, match=r"nats.credentials: there is no file /nowhere.creds"):
        async with opening.open_broker(context):
            pass


async def test_the_stores_tell_the_servers_time(server, namespace) -> None:
    context = StoreContext(url=StoreUrl.parse(server.url), namespace=namespace)
    async with opening.open_broker(context) as broker, opening.open_state(context) as state:
        for store in (broker, state):
            assert isinstance(store, TellsTime)
            # The server runs on this machine.
            assert abs(await store.now() - SYSTEM_CLOCK.now()) < 1.0


def test_the_servers_of_a_url() -> None:
    assert opening.servers(StoreUrl.parse("nats://a:b@one:1,two:2")) == ["nats://a:b@one:1", "nats://a:b@two:2"]
    assert opening.servers(StoreUrl.parse("nats+tls://one")) == ["tls://one"]


def test_loading_the_plugin_imports_no_driver() -> None:
    code = "import sys, stem_nats.plugin; print('nats' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "False"
