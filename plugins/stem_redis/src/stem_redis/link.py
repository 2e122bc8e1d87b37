"""A connection that comes back: connects when it is needed, says who we are, and makes sure of the scripts."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any

import hiredis

from stem_core.clock import SYSTEM_CLOCK, Clock
from stem_core.errors import StoreUnavailable
from stem_core.model._value import value
from stem_redis import scripts
from stem_redis.address import Address
from stem_redis.connection import Argument, Connection
from stem_redis.failures import code_of, refused, translate
from stem_redis.packing import command, packed
from stem_redis.scripts import Script

#: After a connection that failed the next is tried after a part of this many seconds; until then calls fail at once.
_PAUSE = 0.5
#: Errors after which another server may be the right one.
_GO_ELSEWHERE = {"READONLY", "MASTERDOWN", "UNBLOCKED"}


@value
class Server:
    """What a server said of itself when it was greeted."""

    #: Its version, as far as Redis counts: Valkey says what it is compatible with.
    version: tuple[int, ...]


class Link:
    """One connection to one server, made anew after a loss. Nothing is ever sent twice by itself."""

    def __init__(
        self,
        address: Address,
        purpose: str,
        *,
        patience: float | None = None,
        on_push: Callable[[list[Any]], None] | None = None,
        clock: Clock | None = None,
    ) -> None:
        """``clock`` is that of the scripts, which only a link that has one can run; :data:`SYSTEM_CLOCK` stands for the
        server's own."""
        self.address = address
        self._purpose = purpose
        self._patience = patience or address.settings.call_timeout
        self._on_push = on_push
        self._clock = clock
        self._given = None if clock is None or clock is SYSTEM_CLOCK else clock
        self._connection: Connection | None = None
        self._connecting: asyncio.Task[Connection] | None = None
        self._failed: tuple[float, Exception] | None = None
        self._closed = False
        self.server = Server(version=())
        self._scripts: dict[str, Script] = {}

    @property
    def connection(self) -> Connection | None:
        """The connection, while it is of use."""
        connection = self._connection
        return None if connection is None or connection.broken is not None else connection

    async def open(self) -> Connection:
        """The connection, made if there is none. Raises as :func:`~stem_redis.failures.translate` says."""
        if (connection := self.connection) is not None:
            return connection
        if self._closed:
            raise StoreUnavailable(f"{self.address} was closed here")
        loop = asyncio.get_running_loop()
        if self._failed is not None:
            until, error = self._failed
            if loop.time() < until:
                raise translate(error, self.address, connecting=True)
        if self._connecting is None:
            self._connecting = loop.create_task(self._connect())
            self._connecting.add_done_callback(self._connected)
        try:
            # Shielded: others wait for the same connection.
            return await asyncio.shield(self._connecting)
        except Exception as error:
            raise translate(error, self.address, connecting=True) from error

    def _connected(self, task: asyncio.Task[Connection]) -> None:
        self._connecting = None
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            self._failed = None
            self._connection = task.result()
            if self._closed:
                self._connection.close()
        elif isinstance(error, Exception):
            self._failed = (task.get_loop().time() + _PAUSE * random.random(), error)

    async def _connect(self) -> Connection:
        loop, address = asyncio.get_running_loop(), self.address
        context = address.context()
        connection = Connection(self._patience, self._on_push)
        try:
            async with asyncio.timeout(address.settings.connect_timeout):
                if address.path:
                    await loop.create_unix_connection(lambda: connection, address.path)
                else:
                    await loop.create_connection(
                        lambda: connection,
                        address.host,
                        address.port,
                        ssl=context,
                        server_hostname=address.host if context else None,
                    )
                await self._greet(connection)
        except TimeoutError as error:
            connection.close()
            raise TimeoutError(f"no connection within {address.settings.connect_timeout:g} s") from error
        except BaseException:
            connection.close()
            raise
        return connection

    async def _greet(self, connection: Connection) -> None:
        address = self.address
        name = f"stem-{self._purpose}"
        login: list[Argument] = ["AUTH", address.user or "default", address.password] if address.password else []
        try:
            answer = await connection.send("HELLO", address.settings.protocol, *login, "SETNAME", name)
        except hiredis.ReplyError as error:
            if "unknown command" not in str(error).lower():
                raise
            # A proxy that knows only the old greeting.
            if address.password:
                await connection.send("AUTH", *([address.user] if address.user else []), address.password)
            answer = []
        facts = answer if isinstance(answer, dict) else dict(zip(answer[::2], answer[1::2], strict=True))
        version = facts.get(b"version", b"6.2.0").decode()
        self.server = Server(version=tuple(int(part) for part in version.split(".")[:3] if part.isdecimal()))
        if self.server.version < (6, 2):
            raise refused(address, f"it is Redis {version}", "use Redis 6.2 or newer, or Valkey")
        if facts.get(b"mode") == b"cluster":
            raise refused(address, "it is a Redis Cluster", "name a server that is none; Cluster is not supported yet")
        if address.database:
            try:
                await connection.send("SELECT", address.database)
            except hiredis.ReplyError as error:
                raise refused(
                    address, f"there is no database {address.database} ({error})", "name another in the URL"
                ) from error
        if self._clock is not None:
            await self._teach(connection)

    async def _teach(self, connection: Connection) -> None:
        self._scripts = scripts.load(flags=self.server.version >= (7, 0), given_clock=self._given is not None)
        known = await connection.send("SCRIPT", "EXISTS", *(script.sha for script in self._scripts.values()))
        missing = [script for script, there in zip(self._scripts.values(), known, strict=True) if not there]
        await asyncio.gather(*(connection.send("SCRIPT", "LOAD", script.source) for script in missing))

    async def call(self, *command: Argument) -> Any:
        """The reply to one command.

        Raises:
            StoreUnavailable: not reachable, too slow, or not able to for now. It may have been done all the same.
            StoreRefused: the server refuses, and will again.
        """
        connection = self.connection or await self.open()
        try:
            return await connection.send(*command)
        except (hiredis.ReplyError, hiredis.ProtocolError, OSError) as error:
            raise self._failure(connection, error) from error

    async def run(
        self, name: str, keys: Sequence[Argument], arguments: Sequence[Argument], *, urgent: bool = False
    ) -> Any:
        """What a script replies; raises as :meth:`call`. A script that the server forgot is sent again in full.

        ``urgent`` does not wait for the end of the turn of the loop for company.
        """
        connection = self.connection or await self.open()
        evaluation = self._evaluation(name, keys, arguments)
        sent = connection.send("EVALSHA", self._scripts[name].sha, *evaluation, at_once=urgent)
        return await self._finish(connection, sent, name, evaluation)

    def post(self, name: str, count: int, parts: Sequence[bytes], done: Callable[[Any], None]) -> bool:
        """Send a script now, and call ``done`` with its reply, or the exception that came instead, in the turn in
        which it comes. False, and nothing is sent, without a connection.

        ``parts`` is what stands behind the hash in the command: ``count`` arguments, packed.
        """
        connection = self.connection
        if connection is None:
            return False
        script = self._scripts[name]
        if self._given is not None:
            count, parts = count + 1, [*parts, packed(self._given.now() * 1000)]

        def on_reply(reply: Any) -> None:
            if not isinstance(reply, Exception):
                done(reply)
            elif isinstance(reply, hiredis.ReplyError) and code_of(reply) == "NOSCRIPT":
                # Nothing of it was done, so this is no repetition.
                whole = command(count + 2, [packed("EVAL", script.source), *parts])
                connection.write(whole, lambda reply: done(self._outcome(connection, reply)))
            else:
                done(self._failure(connection, reply))

        connection.write(command(count + 2, [script.call, *parts]), on_reply, at_once=True)
        return True

    def begin(self, name: str, keys: Sequence[Argument], arguments: Sequence[Argument]) -> asyncio.Task[Any]:
        """As :meth:`run`, but while there is a connection the script is sent before this returns, and so before
        anything that is sent later on any connection of this loop."""
        connection = self.connection
        if connection is None:
            return asyncio.ensure_future(self.run(name, keys, arguments))
        evaluation = self._evaluation(name, keys, arguments)
        sent = connection.send("EVALSHA", self._scripts[name].sha, *evaluation, at_once=True)
        return asyncio.ensure_future(self._finish(connection, sent, name, evaluation))

    def _evaluation(self, name: str, keys: Sequence[Argument], arguments: Sequence[Argument]) -> tuple[Argument, ...]:
        if self._given is not None:
            arguments = (*arguments, self._given.now() * 1000)
        return (len(keys), *keys, *arguments)

    async def _finish(
        self, connection: Connection, sent: asyncio.Future[Any], name: str, evaluation: tuple[Argument, ...]
    ) -> Any:
        try:
            return await sent
        except (hiredis.ReplyError, hiredis.ProtocolError, OSError) as error:
            if not isinstance(error, hiredis.ReplyError) or code_of(error) != "NOSCRIPT":
                raise self._failure(connection, error) from error
        # Nothing of it was done, so this is no repetition.
        return await self.call("EVAL", self._scripts[name].source, *evaluation)

    def _outcome(self, connection: Connection, reply: Any) -> Any:
        return self._failure(connection, reply) if isinstance(reply, Exception) else reply

    def _failure(self, connection: Connection, error: Exception) -> Exception:
        if isinstance(error, hiredis.ReplyError) and code_of(error) in _GO_ELSEWHERE:
            connection.close()
        return translate(error, self.address)

    async def close(self) -> None:
        """Close for good."""
        self._closed = True
        if self._connecting is not None:
            self._connecting.cancel()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
            await connection.closed
