from __future__ import annotations

import re
from pathlib import Path

import pytest

from support.documents import SERVER, Reader, blocks_of
from support.redis_server import programs

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
RUN = [page for page in PAGES if any(block.does_something for block in blocks_of(page))]


@pytest.mark.parametrize("page", RUN, ids=lambda page: str(page.relative_to(ROOT)))
@pytest.mark.timeout(120)
def test_page_does_what_it_says(page, tmp_path):
    if SERVER.search(page.read_text(encoding="utf-8")) and not programs():
        pytest.skip("there is no Redis server")
    Reader(tmp_path).follow(page)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []
