"""``rediss://``, against a small TLS server in front of the socket: the servers of the wheels speak none themselves."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
import trustme
import uvloop

from stem_core.errors import StoreError, StoreRefused
from stem_core.testing.contracts.base import OpenedStore, claim, ids, message
from stem_redis.settings import RedisSettings
from support.redis_server import RedisServer

OpenRedis = Callable[..., AbstractAsyncContextManager[OpenedStore]]


async def refusal(open_redis: OpenRedis, url: str, settings: RedisSettings | None = None) -> StoreError:
    """The error with which the opening of ``url`` ends."""
    with pytest.raises(StoreError) as caught:
        async with asyncio.timeout(10), open_redis(url=url, settings=settings):
            pass
    return caught.value


class TestTls:
    @pytest.fixture
    def authority(self, tmp_path: Path) -> trustme.CA:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        for who in ("client", "stranger"):
            issuer = authority if who == "client" else trustme.CA()
            certificate = issuer.issue_cert(f"{who}@example.org")
            certificate.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / f"{who}.pem"))
        return authority

    @asynccontextmanager
    async def _front(
        self, authority: trustme.CA, server: RedisServer, *, wants_client: bool = False
    ) -> AsyncIterator[str]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(context)
        if wants_client:
            authority.configure_trust(context)
            context.verify_mode = ssl.CERT_REQUIRED
        tasks: set[asyncio.Task[None]] = set()

        async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                while data := await reader.read(65536):
                    writer.write(data)
            except OSError:
                pass
            writer.transport.abort()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            inner_reader, inner_writer = await asyncio.open_unix_connection(server.path)
            tasks.add(asyncio.ensure_future(pipe(reader, inner_writer)))
            tasks.add(asyncio.ensure_future(pipe(inner_reader, writer)))

        front = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        try:
            yield f"rediss://localhost:{front.sockets[0].getsockname()[1]}"
        finally:
            front.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def test_a_trusted_server(
        self, open_redis: OpenRedis, server: RedisServer, authority: trustme.CA, tmp_path: Path
    ) -> None:
        settings = RedisSettings(tls_ca_cert=str(tmp_path / "ca.pem"))
        async with self._front(authority, server) as url, open_redis(url=url, settings=settings) as opened:
            await opened.broker.publish([message("a", payload=b"x" * 300_000)])
            assert ids(await claim(opened.broker)) == ["a"]

    def test_a_trusted_server_on_uvloop(
        self, open_redis: OpenRedis, server: RedisServer, authority: trustme.CA, tmp_path: Path
    ) -> None:
        uvloop.run(self.test_a_trusted_server(open_redis, server, authority, tmp_path))

    async def test_a_server_that_nobody_vouches_for(
        self, open_redis: OpenRedis, server: RedisServer, authority: trustme.CA
    ) -> None:
        async with self._front(authority, server) as url:
            error = await refusal(open_redis, url)
        assert isinstance(error, StoreRefused)
        assert "its certificate is not trusted" in str(error)
        assert "STEM_TLS_CA_CERT" in error.hint

    async def test_a_server_of_another_name(
        self, open_redis: OpenRedis, server: RedisServer, authority: trustme.CA, tmp_path: Path
    ) -> None:
        settings = RedisSettings(tls_ca_cert=str(tmp_path / "ca.pem"))
        async with self._front(authority, server) as url:
            error = await refusal(open_redis, url.replace("localhost", "127.0.0.1"), settings)
        assert "its certificate is not trusted" in str(error)

    async def test_any_server_when_told_so(
        self, open_redis: OpenRedis, server: RedisServer, authority: trustme.CA
    ) -> None:
        async with (
            self._front(authority, server) as url,
            open_redis(url=url, settings=RedisSettings(tls_allow_insecure=True)) as opened,
        ):
            await opened.broker.publish([message("a")])

    async def test_a_client_certificate(
        self, open_redis: OpenRedis, server: RedisServer, authority: trustme.CA, tmp_path: Path
    ) -> None:
        ca = str(tmp_path / "ca.pem")
        async with self._front(authority, server, wants_client=True) as url:
            good = RedisSettings(tls_ca_cert=ca, tls_client_cert=str(tmp_path / "client.pem"))
            async with open_redis(url=url, settings=good) as opened:
                await opened.broker.publish([message("a")])
            for bad in (
                RedisSettings(tls_ca_cert=ca),
                RedisSettings(tls_ca_cert=ca, tls_client_cert=str(tmp_path / "stranger.pem")),
            ):
                await refusal(open_redis, url, bad)

    async def test_a_server_without_tls(self, open_redis: OpenRedis, server: RedisServer) -> None:
        error = await refusal(open_redis, server.tcp_url.replace("redis:", "rediss:"))
        assert str(server.port) in str(error)

    async def test_files_that_are_not_there(self, open_redis: OpenRedis, server: RedisServer, tmp_path: Path) -> None:
        url = server.tcp_url.replace("redis:", "rediss:")
        error = await refusal(open_redis, url, RedisSettings(tls_ca_cert=str(tmp_path / "none.pem")))
        assert isinstance(error, StoreRefused)
        assert "cannot use the certificates" in str(error)
