from __future__ import annotations

import json

import pytest

from stem_core.errors import BadArguments, DuplicateTask, InvalidName, UnknownTask
from stem_core.tasks import CallOptions
from support.task_host import FakeHost


def first(n: int): ...
def second(): ...


@pytest.fixture
def host():
    host = FakeHost()
    host.task(first, name="shop.first", aliases=("shop.one", "shop.uno"))
    host.task(second, name="shop.second")
    return host


def test_tasks_are_found_by_name_and_alias(host):
    tasks = host.tasks
    assert tasks["shop.one"] is tasks["shop.uno"] is tasks.get("shop.first")
    assert tasks.get("shop.gone") is None
    assert "shop.one" in tasks
    assert "shop.gone" not in tasks
    assert tasks.names() == ["shop.first", "shop.one", "shop.second", "shop.uno"]


def test_each_task_is_listed_once_in_order_of_definition(host):
    assert [task.name for task in host.tasks] == ["shop.first", "shop.second"]
    assert len(host.tasks) == 2


def test_an_unknown_task_is_an_error_with_what_comes_close(host):
    with pytest.raises(UnknownTask) as caught:
        host.tasks["shop.frist"]
    assert caught.value.message == "no task is named 'shop.frist'; did you mean shop.first?"
    assert caught.value.hint == "import the module that defines it, or list it in Stem(include=[...])"
    assert caught.value.task == "shop.frist"
    with pytest.raises(UnknownTask, match=r"^no task is named 'zzz'\n"):
        host.tasks["zzz"]
    assert host.tasks.close_matches("shop.frist")[0] == "shop.first"


@pytest.mark.parametrize(
    ("name", "aliases", "taken"),
    [("shop.first", (), "shop.first"), ("shop.uno", (), "shop.uno"), ("new", ("shop.second",), "shop.second")],
)
def test_two_tasks_of_one_name_are_an_error_that_names_both(host, name, aliases, taken):
    def other(): ...

    with pytest.raises(DuplicateTask) as caught:
        host.task(other, name=name, aliases=aliases)
    assert caught.value.message.startswith(f"two tasks are named {taken!r}: {__name__}.")
    assert "other (" in caught.value.message
    assert __file__ in caught.value.message
    assert caught.value.hint == "give one of them another name: @app.task(name=...)"
    assert "new" not in host.tasks


def test_an_alias_may_repeat_the_name():
    host = FakeHost()
    host.task(first, name="a", aliases=("a", "b", "b"))
    assert host.tasks.names() == ["a", "b"]


def test_a_call_by_name_of_a_known_task_is_checked_against_it(host):
    options = CallOptions(delay=1.0)
    call = host.tasks.call(host, "shop.one", [1], {}, options)
    assert (call.name, call.task, call.host, call.options) == ("shop.one", host.tasks["shop.first"], host, options)
    with pytest.raises(BadArguments, match="expected int, got str"):
        host.tasks.call(host, "shop.one", ["1"], {})


def test_a_call_by_name_of_an_unknown_task_takes_any_json(host):
    call = host.tasks.call(host, "elsewhere.task", (1, {"a": [None]}), {"x": "y"})
    assert (call.name, call.task) == ("elsewhere.task", None)
    assert json.loads(call.payload) == [[1, {"a": [None]}], {"x": "y"}]


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ((1, float("nan")), {}, "args[1] of elsewhere(): JSON cannot carry it: nan is no JSON number"),
        ((), {"x": 2**64}, "x of elsewhere(): JSON cannot carry it: a whole number of more than 64 bits"),
        ((b"x",), {}, "args[0] of elsewhere(): bytes would arrive as str"),
        (({1: 2},), {}, "args[0] of elsewhere(): keys of dicts have to be str; int would arrive as str"),
    ],
)
def test_what_json_would_harm_is_refused_for_unknown_tasks_too(host, args, kwargs, message):
    with pytest.raises(BadArguments) as caught:
        host.tasks.call(host, "elsewhere", args, kwargs)
    assert caught.value.message == message


def test_a_call_by_a_name_that_no_task_may_have(host):
    with pytest.raises(InvalidName):
        host.tasks.call(host, "no spaces", [], {})
