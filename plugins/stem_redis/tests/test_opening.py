"""Which servers are opened, which are refused, and what is said of it."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from stem_core.errors import StoreError, StoreRefused, StoreUnavailable
from stem_core.model import ACK, Settlement, StoreUrl, Subscription
from stem_core.testing.contracts.base import OpenedStore, claim, ids, kinds, message, status
from stem_redis import checks
from stem_redis.address import Address
from stem_redis.broker import RedisBroker
from stem_redis.settings import RedisSettings
from support.redis_server import RedisServer

OpenRedis = Callable[..., AbstractAsyncContextManager[OpenedStore]]
StartServer = Callable[..., RedisServer]

README = Path(__file__).parents[1] / "README.md"


@pytest.fixture(autouse=True)
def unwarned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "_warned", set())


async def refusal(open_redis: OpenRedis, url: str, settings: RedisSettings | None = None) -> StoreError:
    """The error with which the opening of ``url`` ends."""
    with pytest.raises(StoreError) as caught:
        async with asyncio.timeout(10), open_redis(url=url, settings=settings):
            pass
    return caught.value


class TestUrls:
    @pytest.mark.parametrize(
        ("url", "host", "port", "path", "database", "user", "password"),
        [
            ("redis://h", "h", 6379, "", 0, "", ""),
            ("redis://", "localhost", 6379, "", 0, "", ""),
            ("redis://h:7000/3", "h", 7000, "", 3, "", ""),
            ("redis://h/?db=4", "h", 6379, "", 4, "", ""),
            ("redis://:p%40ss@h", "h", 6379, "", 0, "", "p@ss"),
            ("rediss://u:p@[::1]:1/0", "::1", 1, "", 0, "u", "p"),
            ("redis+unix:///run/r%20s.sock?db=2", "localhost", 6379, "/run/r s.sock", 2, "", ""),
            ("redis+unix://u:p@/run/s", "localhost", 6379, "/run/s", 0, "u", "p"),
        ],
    )
    def test_where_it_is(
        self, url: str, host: str, port: int, path: str, database: int, user: str, password: str
    ) -> None:
        address = Address.parse(StoreUrl.parse(url), RedisSettings())
        assert (address.host, address.port, address.path, address.database) == (host, port, path, database)
        assert (address.user, address.password) == (user, password)
        assert address.tls == url.startswith("rediss:")
        assert "p@ss" not in f"{address}{address!r}"

    @pytest.mark.parametrize(
        ("url", "why"),
        [
            ("redis://h:port", "a port is a number"),
            ("redis://h:70000", "a port is a number"),
            ("redis://h/jobs", "'jobs' is no number of a database"),
            ("redis://h/1?db=2", "it names a database twice"),
            ("redis://h?socket_timeout=5", "the unknown option 'socket_timeout'"),
            ("redis+unix://", "it names no socket"),
        ],
    )
    def test_urls_that_name_nothing(self, url: str, why: str) -> None:
        with pytest.raises(StoreRefused, match=why) as caught:
            Address.parse(StoreUrl.parse(url), RedisSettings())
        assert "redis+unix:///path" in caught.value.hint


class TestServers:
    async def test_one_that_is_not_there(self, open_redis: OpenRedis) -> None:
        error = await refusal(open_redis, "redis://:hunter2@127.0.0.1:1")
        assert isinstance(error, StoreUnavailable)
        assert str(error).startswith("cannot use redis://:***@127.0.0.1:1 now: ")
        assert "hunter2" not in str(error)

    async def test_a_socket_that_is_not_there(self, open_redis: OpenRedis, tmp_path: Path) -> None:
        error = await refusal(open_redis, f"redis+unix://{tmp_path}/none")
        assert isinstance(error, StoreUnavailable)
        assert "No such file" in str(error)

    async def test_by_port_and_by_socket(self, open_redis: OpenRedis, server: RedisServer) -> None:
        async with open_redis(url=server.tcp_url) as one, open_redis(url=server.url) as other:
            await one.broker.publish([message("a")])
            assert ids(await claim(other.broker)) == ["a"]

    async def test_databases_are_apart(self, open_redis: OpenRedis, server: RedisServer) -> None:
        async with open_redis(url=f"{server.tcp_url}/1") as one, open_redis(url=f"{server.url}?db=2") as other:
            await one.broker.publish([message("a")])
            assert await claim(other.broker) == []
        server.command("FLUSHALL")

    async def test_a_database_that_is_not_there(self, open_redis: OpenRedis, server: RedisServer) -> None:
        error = await refusal(open_redis, f"{server.tcp_url}/999")
        assert isinstance(error, StoreRefused)
        assert "there is no database 999" in str(error)

    @pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"220 mail ESMTP\r\n"])
    async def test_what_is_no_redis(self, open_redis: OpenRedis, answer: bytes) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            writer.write(answer)
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as stranger:
            error = await refusal(open_redis, f"redis://127.0.0.1:{stranger.sockets[0].getsockname()[1]}")
        assert isinstance(error, StoreRefused)
        assert "what answers there is no Redis server" in str(error)

    async def test_what_never_answers(self, open_redis: OpenRedis) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as stranger:
            url = f"redis://127.0.0.1:{stranger.sockets[0].getsockname()[1]}"
            error = await refusal(open_redis, url, RedisSettings(connect_timeout=0.1))
        assert isinstance(error, StoreUnavailable)
        assert "no connection within 0.1 s" in str(error)

    async def test_a_read_only_replica(
        self, open_redis: OpenRedis, server: RedisServer, start_server: StartServer
    ) -> None:
        replica = start_server(replicaof=f"127.0.0.1 {server.port}")
        error = await refusal(open_redis, replica.url)
        assert isinstance(error, StoreRefused)
        assert "it is a read-only replica" in str(error)

    async def test_a_master_that_becomes_a_replica_is_unavailable(
        self, open_redis: OpenRedis, server: RedisServer, start_server: StartServer
    ) -> None:
        passing = start_server()
        async with open_redis(url=passing.url) as opened:
            passing.command("REPLICAOF", "127.0.0.1", server.port)
            with pytest.raises(StoreUnavailable, match=r"read-only replica|replica without a master"):
                await opened.broker.publish([message("a")])
            passing.command("REPLICAOF", "NO", "ONE")
            await opened.broker.publish([message("a")])


class TestPasswords:
    async def test_a_password(self, open_redis: OpenRedis, start_server: StartServer) -> None:
        server = start_server(requirepass="hunter2")
        async with open_redis(url=f"redis+unix://:hunter2@{server.path}") as opened:
            await opened.broker.publish([message("a")])
        for protocol in ("2", "3"):
            error = await refusal(open_redis, server.url, RedisSettings(protocol=protocol))  # type: ignore[arg-type]
            assert isinstance(error, StoreRefused)
            assert "it wants a password" in str(error)
        error = await refusal(open_redis, f"redis+unix://:hunter3@{server.path}")
        assert isinstance(error, StoreRefused)
        assert "the user name or password is wrong" in str(error)
        assert "hunter3" not in str(error)

    async def test_a_user_with_the_rights_of_the_readme(
        self, open_redis: OpenRedis, start_server: StartServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        server = start_server()
        found = re.search(r"^ACL SETUSER stem (.+)$", README.read_text(), re.MULTILINE)
        assert found is not None
        rights = found[1].replace("shop", "test").replace("SECRET", "hunter2").split()
        assert server.command("ACL", "SETUSER", "stem", *rights) == b"+OK\r\n"
        caplog.set_level(logging.WARNING)
        url = f"redis+unix://stem:hunter2@{server.path}"
        async with open_redis(url=url) as opened:
            await opened.broker.publish([message("a")])
            assert ids(await claim(opened.broker)) == ["a"]
            await opened.broker.wait_for_work(Subscription.of("default"), 0.05)
            assert await opened.backend.wait("a", 0.05) is None
            # Its end is published to who waits, a broadcast to who listens.
            assert isinstance(opened.broker, RedisBroker)
            await opened.broker.publish([message("b"), message("c", queue="other"), message("d", delay=60.0)])
            waiting = asyncio.ensure_future(opened.backend.wait("b", 60.0))
            heard = opened.broker.listen(["news"])
            await asyncio.sleep(0.1)
            (delivery,) = await claim(opened.broker)
            settlement = Settlement(receipt=delivery.receipt, action=ACK)
            assert kinds(await opened.broker.settle_with_results([settlement], [status("b")])) == ["done"]
            await opened.broker.send("news", b"hello", 60.0)
            async with asyncio.timeout(3.0):
                assert await waiting == status("b")
                assert await anext(heard) == ("news", b"hello")
            await opened.state.put("heartbeats", "me", b"x", ttl=1.0)
        async with open_redis(url=url):
            pass
        warnings = [record.getMessage() for record in caplog.records]
        assert warnings == [
            f"persistence of redis+unix://stem:***@{server.path} unknown: the user may not read its configuration"
        ]

    async def test_a_user_who_may_not(self, open_redis: OpenRedis, start_server: StartServer) -> None:
        server = start_server()
        server.command("ACL", "SETUSER", "stem", "on", ">hunter2", "~other:*", "+@all")
        async with open_redis(url=f"redis+unix://stem:hunter2@{server.path}") as opened:
            with pytest.raises(StoreRefused, match="the user may not do that"):
                await opened.broker.publish([message("a")])


class TestPolicies:
    async def test_one_that_evicts_is_refused(self, open_redis: OpenRedis, start_server: StartServer) -> None:
        server = start_server(maxmemory_policy="allkeys-lru")
        error = await refusal(open_redis, server.url)
        assert isinstance(error, StoreRefused)
        assert "maxmemory-policy allkeys-lru" in str(error)
        assert "STEM_REDIS_ALLOW_EVICTION=1" in str(error)
        async with open_redis(url=server.url, settings=RedisSettings(allow_eviction=True)) as opened:
            await opened.broker.publish([message("a")])

    async def test_one_that_evicts_is_refused_where_config_is_forbidden(
        self, open_redis: OpenRedis, start_server: StartServer
    ) -> None:
        server = start_server(maxmemory_policy="volatile-ttl", rename_command='CONFIG ""')
        error = await refusal(open_redis, server.url)
        assert "maxmemory-policy volatile-ttl" in str(error)

    async def test_nothing_is_known_where_all_is_forbidden(
        self, open_redis: OpenRedis, start_server: StartServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        server = start_server()
        server.command("ACL", "SETUSER", "default", "-config", "-info")
        caplog.set_level(logging.WARNING)
        for _ in range(2):
            async with open_redis(url=server.url):
                pass
        warnings = [record.getMessage() for record in caplog.records]
        assert len(warnings) == 1
        assert warnings[0].startswith("eviction policy and persistence of ")

    @pytest.mark.parametrize(
        ("options", "warning"),
        [
            ({"save": ""}, "does not persist anything"),
            ({"save": "900 1"}, "keeps only snapshots"),
            ({"appendonly": "yes"}, None),
        ],
    )
    async def test_persistence_that_loses_something_is_warned_about_once(
        self,
        open_redis: OpenRedis,
        start_server: StartServer,
        caplog: pytest.LogCaptureFixture,
        options: dict[str, str],
        warning: str | None,
    ) -> None:
        server = start_server(**options)
        caplog.set_level(logging.WARNING)
        for _ in range(2):
            async with open_redis(url=server.url):
                pass
        warnings = [record.getMessage() for record in caplog.records]
        assert len(warnings) == (0 if warning is None else 1)
        assert warning is None or warning in warnings[0]


class TestOldServers:
    @pytest.mark.parametrize(("version", "refused"), [("6.0.9", True), ("5.0", True), ("6.2.0", False)])
    async def test_the_version_of_the_greeting_counts(
        self, open_redis: OpenRedis, server: RedisServer, version: str, refused: bool
    ) -> None:
        """A server that says it is of another version than it is."""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(65536)
            facts = ("server", "redis", "version", version)
            writer.write(b"*4\r\n" + b"".join(b"$%d\r\n%b\r\n" % (len(fact), fact.encode()) for fact in facts))
            await writer.drain()
            await reader.read(65536)
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as old:
            error = await refusal(open_redis, f"redis://127.0.0.1:{old.sockets[0].getsockname()[1]}")
        assert isinstance(error, StoreRefused) is refused
        assert (f"it is Redis {version}" in str(error)) is refused
