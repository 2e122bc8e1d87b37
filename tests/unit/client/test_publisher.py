from datetime import UTC, datetime, timedelta

import pytest

from stem_core.client.app import Stem
from stem_core.client.publisher import build_envelope
from stem_core.errors import InvalidOption
from stem_core.model import Channel, Header, QueueRule, RetryPolicy, Route, Routing
from stem_core.tasks import TaskContext

NOW = 1_700_000_000.0
app = Stem("shop")


@app.task(name="plain")
async def plain(n: int = 0) -> None: ...


@app.task(
    name="full",
    queue="mail",
    priority=7,
    max_retries=9,
    retry=RetryPolicy.fixed(5),
    soft_time_limit=60,
    time_limit=90,
    store_result=False,
    result_ttl=120,
    expires=300,
)
async def full() -> None: ...


def header(call, **given):
    return build_envelope(call, now=NOW, default_queue="standard", **given).header


def test_a_call_that_says_nothing():
    made = header(plain.call(1), id="job-1")
    assert made == Header(id="job-1", task="plain", queue="standard", enqueued_at=NOW, root_id="job-1")


def test_the_payload_is_that_of_the_call():
    assert build_envelope(plain.call(3), now=NOW, default_queue="q").payload == b"[[3],{}]"


def test_ids_are_new_and_rise_with_time():
    first = header(plain.call())
    assert header(plain.call()).id != first.id
    assert build_envelope(plain.call(), now=NOW + 1, default_queue="q").header.id > first.id


def test_options_of_the_task():
    made = header(full.call(), id="x")
    assert made == Header(
        id="x",
        task="full",
        queue="mail",
        priority=7,
        enqueued_at=NOW,
        expires_at=NOW + 300,
        store_result=False,
        result_ttl=120,
        root_id="x",
        # How often and how long it may run is decided by the worker's code, not by that of the producer.
        max_retries=None,
        retry=None,
        soft_time_limit=None,
        time_limit=None,
    )


def test_options_of_the_call_go_first():
    bound = full.options(
        queue="other",
        priority=0,
        max_retries=0,
        retry=RetryPolicy.fixed(1),
        soft_time_limit=timedelta(minutes=1),
        time_limit=timedelta(minutes=2),
        store_result=True,
        result_ttl=5,
        expires=10,
        headers={"tenant": "a"},
        id="order-42",
    )
    assert header(bound.call(), id="ignored") == Header(
        id="order-42",
        task="full",
        queue="other",
        priority=0,
        enqueued_at=NOW,
        expires_at=NOW + 10,
        max_retries=0,
        retry=RetryPolicy.fixed(1),
        soft_time_limit=60.0,
        time_limit=120.0,
        store_result=True,
        result_ttl=5,
        headers={"tenant": "a"},
        root_id="order-42",
    )


def test_a_delay_counts_from_now():
    assert header(plain.options(delay=30).call()).due_at == NOW + 30


def test_a_time_stands_as_it_is():
    at = datetime.fromtimestamp(NOW, UTC) + timedelta(hours=1)
    assert header(plain.options(at=at).call()).due_at == NOW + 3600


def test_an_expiry_as_a_time():
    at = datetime.fromtimestamp(NOW + 50, UTC)
    assert header(plain.options(expires=at).call()).expires_at == NOW + 50


def test_an_expiry_of_the_past_is_for_the_worker_to_judge():
    at = datetime.fromtimestamp(NOW - 50, UTC)
    assert header(plain.options(expires=at).call()).expires_at == NOW - 50


@pytest.mark.parametrize("expires", [30, 20])
def test_who_expires_before_he_is_due_is_told(expires):
    with pytest.raises(InvalidOption) as caught:
        header(plain.options(delay=30, expires=expires).call())
    assert str(caught.value) == (
        f"expires={float(expires)} cannot be used\n"
        f"  hint: give a time after the one when it is due: plain would expire {30 - expires} s before it may start"
    )


def test_the_expiry_of_the_task_is_no_excuse():
    with pytest.raises(InvalidOption, match=r"expires=300\.0"):
        header(full.options(delay=400).call())


def test_inside_a_task_it_is_a_child_and_inherits_nothing_else():
    parent = TaskContext(
        Header(
            id="parent",
            task="p",
            queue="urgent",
            priority=9,
            enqueued_at=NOW,
            expires_at=NOW + 1,
            headers={"tenant": "a"},
            parent_id="grandparent",
            root_id="root",
            traceparent="00-trace",
        )
    )
    assert header(plain.call(), parent=parent, id="child") == Header(
        id="child",
        task="plain",
        queue="standard",
        enqueued_at=NOW,
        parent_id="parent",
        root_id="root",
        traceparent="00-trace",
    )


def test_a_parent_without_a_root_is_the_root():
    parent = TaskContext(Header(id="parent", task="p", queue="q", enqueued_at=NOW))
    assert header(plain.call(), parent=parent).root_id == "parent"


class TestRouting:
    routing = Routing(
        queues={"mail": QueueRule(priority=(2, 6)), "slow": QueueRule(priority=(0, 0))},
        channels={"news": Channel()},
        routes=(Route(task="fu*", queue="slow"), Route(task="plain", channel="news")),
    )

    def header(self, call):
        return header(call, routing=self.routing)

    def test_a_route_goes_before_the_queue_of_the_task(self):
        made = self.header(full.call())
        assert (made.queue, made.channel) == ("slow", None)

    def test_a_queue_of_the_call_goes_before_a_route(self):
        for task in (full, plain):
            made = self.header(task.options(queue="mine").call())
            assert (made.queue, made.channel, made.store_result) == ("mine", None, task is plain)

    def test_a_task_without_a_route_goes_where_it_says(self):
        made = header(full.call(), routing=Routing(routes=(Route(task="other", queue="x"),)))
        assert made.queue == "mail"

    def test_a_broadcast_has_the_name_of_its_channel_and_no_result(self):
        made = self.header(plain.options(store_result=True).call())
        assert (made.queue, made.channel, made.store_result) == ("news", "news", False)

    def test_no_job_goes_to_a_queue_with_the_name_of_a_channel(self):
        with pytest.raises(InvalidOption, match="queue='news' cannot be used"):
            self.header(full.options(queue="news").call())

    @pytest.mark.parametrize(("priority", "expected"), [(0, 2), (4, 4), (9, 6)])
    def test_a_priority_is_brought_into_the_range_of_the_queue(self, priority, expected):
        assert self.header(plain.options(queue="mail", priority=priority).call()).priority == expected

    def test_so_is_that_of_the_task(self):
        assert self.header(full.call()).priority == 0

    @pytest.mark.parametrize(
        ("options", "told"),
        [({"delay": 3}, "delay=3.0"), ({"at": datetime(2030, 1, 1, tzinfo=UTC)}, "at=1893456000.0")],
        ids=["delay", "at"],
    )
    def test_a_broadcast_cannot_wait(self, options, told):
        with pytest.raises(InvalidOption) as caught:
            self.header(plain.options(**options).call())
        assert str(caught.value) == (
            f"{told} cannot be used\n  hint: give no delay, for plain is routed to the broadcast channel 'news' and "
            "goes out at once; or name a queue as well, to have it run by one worker"
        )

    def test_unless_a_queue_is_named(self):
        assert self.header(plain.options(delay=3, queue="q").call()).due_at == NOW + 3

    def test_a_delay_of_nothing_is_none(self):
        assert self.header(plain.options(delay=0).call()).channel == "news"
