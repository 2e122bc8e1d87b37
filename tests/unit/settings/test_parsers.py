from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stem_core.settings import Parser, parsers, shares


def refused(parser: Parser[object], raw: object) -> None:
    with pytest.raises(parsers.NotAccepted):
        parser(raw)


@pytest.mark.parametrize(
    ("raw", "seconds"),
    [
        ("250ms", 0.25),
        ("5s", 5.0),
        ("2m", 120.0),
        ("1h", 3600.0),
        ("1d", 86400.0),
        ("1.5 H", 5400.0),
        (" .5s ", 0.5),
        ("30", 30.0),
        (30, 30.0),
        (0.5, 0.5),
        (0, 0.0),
        (timedelta(minutes=3), 180.0),
    ],
)
def test_durations(raw, seconds):
    assert parsers.duration()(raw) == pytest.approx(seconds)
    assert isinstance(parsers.duration()(raw), float)


@pytest.mark.parametrize(
    "raw",
    ["", "s", "5 parsecs", "-5", -5, timedelta(-1), "1h30m", True, None, [5], float("nan"), float("inf"), 10**400],
)
def test_no_durations(raw):
    refused(parsers.duration(), raw)


def test_bounds_are_included():
    parser = parsers.duration(1.0, 60.0)
    assert (parser("1s"), parser("1m")) == (1.0, 60.0)
    refused(parser, "999ms")
    refused(parser, "61s")
    assert parser.accepts == "a duration such as 250ms, 5s, 2m or 1h, or a number of seconds, from 1s to 1m"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.0, "0s"), (0.25, "250ms"), (1.5, "1.5s"), (25.0, "25s"), (90.0, "90s"), (600.0, "10m"), (7200.0, "2h")],
)
def test_durations_are_shown_in_the_largest_whole_unit(seconds, shown):
    assert parsers.duration().show(seconds) == shown


@given(st.integers(0, 10**9))
def test_a_shown_duration_reads_back(milliseconds):
    parser = parsers.duration()
    assert parser(parser.show(milliseconds / 1000)) == pytest.approx(milliseconds / 1000)


@pytest.mark.parametrize(
    ("raw", "count"),
    [("64KiB", 65536), ("1mib", 2**20), ("10 MB", 10**7), ("0.5KiB", 512), ("17", 17), (17, 17), ("3B", 3), (0, 0)],
)
def test_sizes(raw, count):
    assert parsers.size()(raw) == count


@pytest.mark.parametrize("raw", ["", "1M", "-1", -1, 1.5, True, None, "1e3"])
def test_no_sizes(raw):
    refused(parsers.size(), raw)


@given(st.integers(0, 2**50))
def test_a_shown_size_reads_back(count):
    parser = parsers.size()
    assert parser(parser.show(count)) == count


@pytest.mark.parametrize(
    ("raw", "truth"),
    [(True, True), (False, False), ("1", True), ("Yes", True), (" on", True), ("FALSE", False), ("off", False)],
)
def test_booleans(raw, truth):
    assert parsers.boolean()(raw) is truth


@pytest.mark.parametrize("raw", ["", "maybe", 1, 0, None, [True]])
def test_no_booleans(raw):
    refused(parsers.boolean(), raw)


@pytest.mark.parametrize(("raw", "number"), [("5", 5), (" 7 ", 7), (0, 0), ("+3", 3)])
def test_whole_numbers(raw, number):
    assert parsers.integer(0, 10)(raw) == number


@pytest.mark.parametrize("raw", ["", "five", "5.0", 5.0, True, "1_0", "-1", 11, None, "9" * 5000, "٣"])
def test_no_whole_numbers(raw):
    refused(parsers.integer(0, 10), raw)


def test_the_accepted_range_is_said():
    assert parsers.integer().accepts == "a whole number"
    assert parsers.integer(1).accepts == "a whole number, at least 1"
    assert parsers.integer(maximum=9).accepts == "a whole number, at most 9"
    assert parsers.integer(0, 9).accepts == "a whole number, from 0 to 9"
    assert parsers.number(0.0).accepts == "a number, at least 0"


@pytest.mark.parametrize(("raw", "number"), [("0.5", 0.5), (2, 2.0), (" 4 ", 4.0)])
def test_numbers(raw, number):
    assert parsers.number(0.0)(raw) == number


@pytest.mark.parametrize("raw", ["nan", "inf", "", "x", True, None, -0.5])
def test_no_numbers(raw):
    refused(parsers.number(0.0), raw)


def test_a_choice_is_read_in_any_case_and_given_as_declared():
    parser = parsers.choice("auto", "JSON")
    assert (parser(" AUTO "), parser("json")) == ("auto", "JSON")
    refused(parser, "xml")
    refused(parser, 1)
    assert parser.accepts == "one of auto, JSON"


@pytest.mark.parametrize(
    ("raw", "specs"),
    [
        ("high:5,default", ("high:5", "default")),
        (" a , b ", ("a", "b")),
        (["a:2"], ("a:2",)),
        (("a", "b"), ("a", "b")),
    ],
)
def test_queues(raw, specs):
    assert parsers.queues()(raw) == specs


@pytest.mark.parametrize("raw", ["", [], "a,a", "a:0", "a:x", "a b", "stem.control.x", ["a", 5], {"a": 1}, 5, "a,"])
def test_no_queues(raw):
    refused(parsers.queues(), raw)


def test_names():
    assert parsers.name("namespace")(" shop ") == "shop"
    refused(parsers.name("namespace"), "a b")
    refused(parsers.name("namespace"), "x" * 129)
    assert parsers.queue()("mail") == "mail"
    refused(parsers.queue(), "stem.control.worker")
    assert parsers.worker_name()("web1@%h") == "web1@%h"
    refused(parsers.worker_name(), "web1@%z")


def test_urls():
    parser = parsers.url("none")
    assert parser("memory://") == "memory://"
    assert parser("None") == "none"
    assert parser.show("redis://u:hunter2@h/0") == "redis://u:***@h/0"
    refused(parser, "localhost:6379")
    refused(parsers.url(), "none")


def test_lists():
    parser = parsers.many(parsers.text(), "names")
    assert parser("a, b") == ("a", "b")
    assert parser("") == ()
    assert parser([]) == ()
    assert parser(["a,b"]) == ("a,b",)
    assert parser.show(("a", "b")) == "a,b"
    refused(parser, "a,,b")
    refused(parser, 5)


@pytest.mark.parametrize(
    "raw", ["mail=2, images=1", ["mail=2", "images=1"], {"mail": 2, "images": 1}, (("mail", 2), ["images", 1])]
)
def test_slots_by_queue(raw):
    parser = shares.slots()
    assert parser(raw) == (("mail", 2), ("images", 1))
    assert parser(parser.show(parser(raw))) == parser(raw)
    assert parser("") == ()


@pytest.mark.parametrize(
    "raw",
    [
        "mail",
        "mail=",
        "=2",
        "mail=0",
        "mail=-1",
        "mail=1.5",
        "a b=1",
        "mail=1,mail=2",
        {"mail": True},
        [("m", 1, 2)],
        5,
    ],
)
def test_no_slots(raw):
    refused(shares.slots(), raw)


@pytest.mark.parametrize("raw", ["2,50", " 2 , 50 ", [2, 50], (2, 50)])
def test_spans(raw):
    assert shares.span()(raw) == (2, 50)
    assert shares.span().show((2, 50)) == "2,50"


@pytest.mark.parametrize("raw", ["", "2", "2,", "0,5", "1,2,3", "a,b", 5, [True, 2]])
def test_no_spans(raw):
    refused(shares.span(), raw)


def test_a_span_the_wrong_way_round_is_told_the_right_one():
    with pytest.raises(parsers.NotAccepted) as caught:
        shares.span()("10,3")
    assert caught.value.hint == "write 3,10"
