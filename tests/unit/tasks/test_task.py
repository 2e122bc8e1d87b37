from __future__ import annotations

import functools
import json
import logging

import pytest

from stem_core.errors import AppNotOpen, BadArguments, ConfigurationError, InvalidName, InvalidOption, RetryTask
from stem_core.model import RetryPolicy
from stem_core.tasks import CallOptions, Task, TaskContext, current
from support.task_host import FakeHost


async def send_welcome(user_id: int, *, locale: str = "en") -> str:
    """Greets."""
    return f"{user_id}:{locale}"


def render(ctx: TaskContext, path: str) -> str:
    ctx.progress(50, {"stage": path})
    return f"{ctx.task} {ctx.worker} {path}"


def enqueues(ctx: TaskContext) -> None:
    ctx.enqueue(FakeHost().task(render), "/a")


def generator():
    yield 1


async def async_generator():
    yield 1


class Class: ...


class WithCall:
    def __call__(self): ...


def test_names_default_to_module_and_function_and_can_be_set():
    host = FakeHost()
    assert host.task(send_welcome).name == f"{__name__}.send_welcome"
    assert host.task(render, name="shop.render", aliases=("old.render",)).name == "shop.render"
    assert host.tasks["old.render"].aliases == ("old.render",)


def test_functions_of_the_main_module_keep_its_name():
    def script(): ...

    script.__module__ = "__main__"
    assert FakeHost().task(script).name == "__main__.script"


@pytest.mark.parametrize(
    ("name", "aliases", "bad"),
    [("no spaces", (), "no spaces"), ("", (), ""), ("a" * 129, (), "a" * 129), ("ok", ("a:b",), "a:b")],
)
def test_names_that_no_task_may_have(name, aliases, bad):
    with pytest.raises(InvalidName) as caught:
        FakeHost().task(render, name=name, aliases=aliases)
    assert str(caught.value) == f"{bad!r} is no task name\n  hint: use 1 to 128 of the characters A-Z a-z 0-9 _ . -"


def test_a_lambda_needs_a_name():
    with pytest.raises(InvalidName, match=r"<lambda>' is no task name"):
        FakeHost().task(lambda: None)


@pytest.mark.parametrize("function", [functools.partial(render, path="/a"), WithCall()])
def test_what_has_no_name_has_to_be_given_one(function):
    with pytest.raises(ConfigurationError, match="has no name of its own") as caught:
        FakeHost().task(function)
    assert caught.value.hint == "name the task: @app.task(name='shop.send_welcome')"
    assert FakeHost().task(function, name="given").name == "given"


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (generator, "task t is a generator: it has no one return value"),
        (async_generator, "task t is a generator: it has no one return value"),
        (Class, "task t is no function but "),
    ],
)
def test_what_is_no_function(function, problem):
    with pytest.raises(ConfigurationError) as caught:
        FakeHost().task(function, name="t")
    assert caught.value.message.startswith(problem)


def test_a_task_looks_like_its_function():
    task = FakeHost().task(send_welcome)
    assert (task.__name__, task.__doc__, task.__wrapped__) == ("send_welcome", "Greets.", send_welcome)
    assert repr(task) == f"<Task {__name__}.send_welcome>"


def test_where_a_task_runs():
    host = FakeHost()
    assert host.task(send_welcome).strategy == "event_loop"
    assert host.task(render).strategy == "threads"
    assert host.task(render, name="limited", time_limit=5).strategy == "processes"
    assert host.task(send_welcome, name="limited-too", time_limit=5).strategy == "event_loop"
    assert host.task(render, name="own", strategy="my.pool").strategy == "my.pool"


@pytest.mark.parametrize(
    ("function", "strategy", "problem", "remedy"),
    [
        (send_welcome, "threads", "is a coroutine function and cannot run with strategy='threads'", "(def)"),
        (render, "event_loop", "is a plain function; with strategy='event_loop' it would block", "(async def)"),
    ],
)
def test_strategies_that_cannot_run_the_function(function, strategy, problem, remedy):
    with pytest.raises(ConfigurationError, match=f"^task t {problem}".replace("(", r"\(")) as caught:
        FakeHost().task(function, name="t", strategy=strategy)
    assert "leave strategy out" in caught.value.hint
    assert remedy in caught.value.hint


def test_a_time_limit_in_threads_is_refused_with_the_remedy():
    with pytest.raises(ConfigurationError, match=r"^task t has a time_limit, and strategy='threads'") as caught:
        FakeHost().task(render, name="t", strategy="threads", time_limit=5)
    assert "use strategy='processes'" in caught.value.hint


@pytest.mark.parametrize("strategy", ["threads", "auto"])
def test_a_time_limit_of_a_call_is_refused_where_the_task_runs_in_threads(strategy):
    task = FakeHost().task(render, name="t", strategy=strategy)
    for refused in (
        lambda: task.options(time_limit=5),
        lambda: task.options(priority=1).options(time_limit=5),
        lambda: task.host.tasks.call(task.host, "t", ["a.png"], {}, CallOptions(time_limit=5)),
    ):
        with pytest.raises(InvalidOption) as option:
            refused()
        assert option.value.hint == (
            "give soft_time_limit instead: t runs in a thread, and a thread cannot be stopped; or give the task itself "
            "a time_limit, or strategy='processes'"
        )


def test_a_time_limit_of_a_call_is_taken_where_it_can_be_kept():
    host = FakeHost()
    for task in (
        host.task(render, name="limited", time_limit=60),
        host.task(render, name="processes", strategy="processes"),
        host.task(send_welcome, name="coroutine"),
    ):
        assert task.options(time_limit=5).call_options.time_limit == 5


def test_a_soft_limit_that_never_comes_is_refused():
    with pytest.raises(ConfigurationError, match="a soft_time_limit of 5 s, but ends at its time_limit of 5 s"):
        FakeHost().task(render, name="t", soft_time_limit=5, time_limit=5)


@pytest.mark.parametrize(
    ("defined", "asked", "named", "have"),
    [
        ({"time_limit": 5}, [{"soft_time_limit": 50}], "soft_time_limit=50.0", "50 s and 5 s"),
        ({"soft_time_limit": 5}, [{"time_limit": 5}], "time_limit=5.0", "5 s and 5 s"),
        ({}, [{"soft_time_limit": 5, "time_limit": 1}], "soft_time_limit=5.0", "5 s and 1 s"),
        ({}, [{"soft_time_limit": 5}, {"time_limit": 1}], "soft_time_limit=5.0", "5 s and 1 s"),
    ],
)
def test_a_soft_limit_of_a_call_that_never_comes_is_refused(defined, asked, named, have):
    bound = FakeHost().task(send_welcome, name="t", **defined)
    for options in asked[:-1]:
        bound = bound.options(**options)
    with pytest.raises(InvalidOption) as caught:
        bound.options(**asked[-1])
    assert caught.value.message == f"{named} cannot be used"
    assert caught.value.hint == f"give a soft_time_limit below the time_limit: this call of t has {have}"


def test_limits_of_a_call_that_fit_together_are_taken():
    task = FakeHost().task(send_welcome, name="t", soft_time_limit=5, time_limit=10)
    for fits in ({"soft_time_limit": 9}, {"time_limit": 6}, {"soft_time_limit": 50, "time_limit": 60}, {"priority": 1}):
        task.options(**fits)


async def test_calling_a_task_runs_its_function():
    task = FakeHost().task(send_welcome)
    assert await task(42, locale="fr") == "42:fr"
    assert task.host.submitted == []


def test_a_direct_call_gets_a_local_context():
    assert FakeHost().task(render, name="r")("/a") == "r  /a"


def test_a_direct_call_inside_a_task_gets_the_context_of_that_task():
    outer = TaskContext.local(task="outer", worker="w1")
    token = current.set(outer)
    try:
        assert FakeHost().task(render)("/a") == "outer w1 /a"
    finally:
        current.reset(token)
    assert outer.latest is not None


def test_a_direct_call_cannot_enqueue_what_nobody_would_publish():
    with pytest.raises(AppNotOpen) as caught:
        FakeHost().task(enqueues, name="e")()
    assert caught.value.message == "ctx.enqueue was used in e, which was called directly: nothing would publish it"
    assert "TaskContext.local()" in caught.value.hint


async def test_enqueueing_hands_a_checked_call_to_the_app():
    task = FakeHost().task(send_welcome)
    assert await task.enqueue(42, locale="fr") == f"handle of {task.name}"
    assert task.enqueue_sync(43) == f"sync handle of {task.name}"
    first, second = task.host.submitted
    assert (first.name, first.task, first.host) == (task.name, task, task.host)
    assert json.loads(first.payload) == [[42], {"locale": "fr"}]
    assert json.loads(second.payload) == [[43], {}]


async def test_bad_arguments_never_reach_the_app():
    task = FakeHost().task(send_welcome)
    with pytest.raises(BadArguments):
        await task.enqueue("42")
    with pytest.raises(BadArguments):
        task.options(delay=1).enqueue_sync("42")
    assert task.host.submitted == []


async def test_options_go_with_the_call_and_leave_the_task_alone():
    task = FakeHost().task(send_welcome, queue="mail", priority=3)
    urgent = task.options(priority=9)
    later = urgent.options(delay=30, id="order-42")
    assert await urgent.enqueue(1) == f"handle of {task.name}"
    assert later.enqueue_sync(2) == f"sync handle of {task.name}"
    first, second = (call.options for call in task.host.submitted)
    assert (first.priority, first.delay, first.id) == (9, None, None)
    assert (second.priority, second.delay, second.id) == (9, 30.0, "order-42")
    assert (task.queue, task.defaults.priority) == ("mail", 3)


@pytest.mark.parametrize("name", ["delay", "apply_async", "send", "kiq"])
def test_the_words_of_other_queues_lead_to_ours(name):
    task = FakeHost().task(send_welcome)
    with pytest.raises(AttributeError, match=r"await task\.enqueue") as caught:
        getattr(task, name)
    assert str(caught.value).startswith(f"a Stem task has no .{name}(): ")
    assert "task.options(delay=..., queue=...).enqueue(...)" in str(caught.value)
    assert not hasattr(task, name)


def test_other_attributes_are_missing_as_usual():
    with pytest.raises(AttributeError, match=r"^'Task' object has no attribute 'enqueu'$"):
        FakeHost().task(send_welcome).enqueu  # noqa: B018


FIXED = RetryPolicy.fixed(7)


def test_who_says_how_long_to_wait_before_a_retry():
    error = ValueError()
    task = FakeHost().task(render, retry=FIXED)
    assert task.retry_delay(error, 1) == 7
    assert task.retry_delay(error, 1, RetryPolicy.fixed(2)) == 2
    assert task.retry_delay(RetryTask("later", delay=0.5), 1, RetryPolicy.fixed(2)) == 0.5
    assert task.retry_delay(RetryTask("later"), 1) == 7


def test_a_rule_of_the_task_sees_the_failures_and_the_error():
    seen = []

    def rule(failures, error):
        seen.append((failures, error))
        return None if failures > 2 else failures * 10

    task = FakeHost().task(render, retry=rule)
    error = ValueError()
    assert [task.retry_delay(error, n) for n in (1, 2, 3)] == [10, 20, None]
    assert seen == [(1, error), (2, error), (3, error)]
    assert task.retry_delay(error, 1, FIXED) == 7


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (lambda _n, _e: 1 / 0, "the retry rule of task t raised"),
        (lambda _n, _e: "soon", "the retry rule of task t returned 'soon'"),
        (lambda _n, _e: -1, "the retry rule of task t returned -1"),
        (lambda _n, _e: float("nan"), "the retry rule of task t returned nan"),
    ],
)
def test_a_broken_rule_is_logged_and_the_default_policy_decides(rule, said, caplog):
    task: Task = FakeHost().task(render, name="t", retry=rule)
    with caplog.at_level(logging.ERROR, logger="stem_core.tasks"):
        delay = task.retry_delay(ValueError(), 3)
    assert 0 <= delay <= 4
    assert caplog.messages == [f"{said}; the default policy decides"]
