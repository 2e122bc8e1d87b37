"""Sites whose stores are a Redis of their own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support import worker_proc
from support.redis_server import RedisServer
from support.worker_proc import Site


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("STEM_") and not name.startswith("STEM_TEST_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def site(server: RedisServer, tmp_path: Path) -> Iterator[Site]:
    """Workers on a server that nothing is done to."""
    with worker_proc.site(tmp_path, server.url) as site:
        yield site


@pytest.fixture
def redis(start_server: Callable[..., RedisServer]) -> RedisServer:
    """A server for this test alone, which writes everything to its disk before it answers."""
    return start_server(appendonly="yes", appendfsync="always")


@pytest.fixture
def own_site(redis: RedisServer, tmp_path: Path) -> Iterator[Site]:
    """Workers on that server, by its port, as from another machine."""
    with worker_proc.site(tmp_path, redis.tcp_url) as site:
        yield site
