import pytest

from stem_core.model import Channel, QueueRule, Route, Routing

ROUTING = Routing(
    queues={"mail": QueueRule(priority=(2, 5))},
    channels={"news": Channel()},
    routes=(
        Route(task="emails.urgent", queue="now"),
        Route(task="emails.*", queue="mail"),
        Route(task="cache.*", channel="news"),
    ),
)


@pytest.mark.parametrize(
    ("task", "destination"),
    [
        ("emails.urgent", ("now", None)),
        ("emails.send", ("mail", None)),
        ("cache.refresh", ("news", "news")),
        ("caches.refresh", ("own", None)),
        ("Emails.send", ("own", None)),
    ],
    ids=["the first that matches", "a pattern", "a channel", "no route", "case counts"],
)
def test_destination(task, destination):
    assert ROUTING.destination(task, "own") == destination


@pytest.mark.parametrize(
    ("queue", "priority", "expected"), [("mail", 0, 2), ("mail", 3, 3), ("mail", 9, 5), ("other", 9, 9)]
)
def test_a_priority_is_brought_into_the_range_of_the_queue(queue, priority, expected):
    assert ROUTING.priority(queue, priority) == expected


def test_as_text():
    assert str(ROUTING) == "3 routes, 1 queue, 1 channel"
    assert str(Routing()) == "none"
