"""Servers that a URL should not have named: what each kind is, running while it is needed."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import trustme

from support.redis_server import RedisServer, programs


@contextmanager
def wrong_server(kind: str) -> Iterator[int]:
    """The port of a server of this kind.

    ``plain``, ``password``, ``evicting`` and ``replica`` are Redis servers; ``http`` answers as a web server does,
    ``tls`` with a certificate that nobody vouches for.
    """
    with ExitStack() as stack:
        if kind in {"http", "tls"}:
            yield stack.enter_context(_stranger(tls=kind == "tls"))
            return
        options = {"password": ("requirepass", "s3cret"), "evicting": ("maxmemory-policy", "allkeys-lru")}
        given = (options[kind],) if kind in options else ()
        if kind == "replica":
            # Read-only from its start, whether its master is there or not.
            given = (("replicaof", "127.0.0.1 1"),)
        server = RedisServer(next(iter(programs().values())), options=given).start()
        stack.callback(server.stop)
        yield server.port


@contextmanager
def _stranger(*, tls: bool) -> Iterator[int]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if tls:
        trustme.CA().issue_cert("localhost").configure_cert(context)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    try:
                        if tls:
                            context.wrap_socket(connection, server_side=True).close()
                        elif connection.recv(1):
                            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                    except OSError:
                        # The certificate was refused, which is the point.
                        pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        # Wakes accept(), which closing alone does not.
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)
