"""What a session believes of the stream, whatever order it hears it in."""

from __future__ import annotations

import pytest

pytest.importorskip("stem_nats", reason="the example plugin stem-nats is not installed")

from stem_nats.records import DELAYED, FINISHED, LEASED, READY, Meta
from stem_nats.view import View


def meta(state: str = READY, at: float = 100.0, **changes) -> Meta:
    return Meta(state=state, queue="q", priority=5, at=at, **changes)


def taken(view: View, now: float = 200.0, room: int = 10, suspects: int = 1) -> list[str]:
    return [entry.id for entry in view.take("q", room, suspects, now)]


def test_an_older_record_changes_nothing() -> None:
    view = View()
    view.apply("a", 2, meta(LEASED, 500.0))
    view.apply("a", 1, meta())
    assert taken(view) == []


@pytest.mark.parametrize("state", [READY, DELAYED, LEASED])
def test_one_record_heard_of_twice(state: str) -> None:
    view = View()
    view.apply("a", 1, meta(state))
    view.apply("a", 2, meta(FINISHED, 900.0))
    view.apply("a", 1, meta(state))
    assert taken(view) == ["a"]
    view.apply("a", 2, meta(FINISHED, 900.0))
    assert taken(view) == []
    assert view.names(200.0) == set()


def test_what_is_put_back_lies_where_it_lay() -> None:
    view = View()
    for number, id in enumerate("abc"):
        view.apply(id, number, meta())
    first, *_ = view.take("q", 2, 0, 200.0)
    view.put_back(first)
    assert taken(view) == ["a", "c"]


def test_a_suspect_that_is_old_news_is_no_news() -> None:
    view = View()
    view.apply("a", 1, meta(LEASED, 150.0))
    assert not view.has_news(["q"], {}, 149.0)
    assert view.next_time(["q"]) == 150.0
    assert view.has_news(["q"], {}, 150.0)
    assert not view.has_news(["q"], {"q": view.ticks}, 150.0)
    view.apply("b", 2, meta())
    assert view.has_news(["q"], {"q": view.ticks}, 150.0)


def test_a_body_is_kept_as_long_as_the_claim() -> None:
    view = View()
    view.apply("a", 1, meta(LEASED, 150.0, token="1.x", run=1), b"body")
    view.apply("a", 2, meta(LEASED, 250.0, token="1.x", run=1))
    assert view.entries["a"].body == b"body"
    view.apply("a", 3, meta(LEASED, 350.0, token="2.y", run=2))
    assert view.entries["a"].body is None
