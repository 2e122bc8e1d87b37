"""The README does what it says, on a server of the tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from support.documents import Reader
from support.redis_server import RedisServer

README = Path(__file__).parents[1] / "README.md"


def test_the_quick_start(start_server: Callable[..., RedisServer], tmp_path: Path) -> None:
    server = start_server(appendonly="yes")
    page, home = tmp_path / "README.md", tmp_path / "home"
    home.mkdir()
    page.write_text(README.read_text().replace("redis://localhost:6379", server.tcp_url))
    Reader(home).follow(page)
