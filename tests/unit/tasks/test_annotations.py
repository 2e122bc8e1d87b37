"""Which functions can be tasks, and what is said about those that cannot."""

import functools
import pathlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass  # noqa: TID251 - what users pass
from typing import Any, Optional

import pytest

from stem_core.errors import ConfigurationError, ResultError
from stem_core.tasks import TaskContext
from support.task_host import FakeHost


class Model: ...


@dataclass
class Holder:
    path: pathlib.Path


@dataclass
class Tree:
    value: int
    children: list["Tree"]


SUPPORTED = "use JSON values, bytes, datetime, date, time, timedelta, UUID, Decimal, enums"


@pytest.mark.parametrize(
    ("hint", "shown", "problem"),
    [
        (pathlib.Path, "Path", "Path is no type that JSON can carry"),
        (Model, "Model", "Model is no type that JSON can carry"),
        (list[Model], f"list[{__name__}.Model]", "Model is no type that JSON can carry"),
        (Optional[Model], f"Optional[{__name__}.Model]", "Model is no type that JSON can carry"),  # noqa: UP045
        (Holder, "Holder", "Path is no type that JSON can carry"),
        (complex, "complex", "complex is no type that JSON can carry"),
        (Iterable[int], "collections.abc.Iterable[int]", "Iterable is no type that JSON can carry"),
        (Callable[[], int], "collections.abc.Callable[[], int]", "Callable is no type that JSON can carry"),
        (int | Model, f"int | {__name__}.Model", "Type unions containing a custom type may not contain"),
        (list[int] | set[int], "list[int] | set[int]", "Type unions may not contain more than one array-like"),
    ],
)
def test_types_that_json_cannot_carry_are_refused_at_definition(hint, shown, problem):
    def function(first: int, it): ...

    function.__annotations__["it"] = hint
    with pytest.raises(ConfigurationError) as caught:
        FakeHost().task(function, name="t")
    assert caught.value.message.startswith(f"parameter it of task t is annotated {shown}: {problem}")
    assert caught.value.hint.startswith(SUPPORTED)


def test_every_parameter_is_looked_at():
    def rest(*paths: pathlib.Path): ...
    def others(**paths: pathlib.Path): ...
    def named(*, path: pathlib.Path): ...

    for function, name in ((rest, "paths"), (others, "paths"), (named, "path")):
        with pytest.raises(ConfigurationError, match=f"^parameter {name} of task t is annotated Path: "):
            FakeHost().task(function, name="t")


def test_types_that_hold_themselves_are_carried():
    def function(tree: Tree) -> Tree: ...

    task = FakeHost().task(function)
    tree = Tree(1, [Tree(2, []), Tree(3, [Tree(4, [])])])
    assert task.decode_arguments(task.call(tree).payload) == ((tree,), {})
    assert task.decode_result(task.encode_result(tree)) == tree


def test_the_context_is_told_by_its_annotation_whatever_its_name():
    def first(it: TaskContext, n: int): ...
    def only(ctx: TaskContext): ...
    def position(ctx: TaskContext, /, n: int): ...
    def named_so(ctx: int): ...
    def unannotated(ctx, n): ...
    def none(): ...

    taken = {f.__name__: FakeHost().task(f).takes_context for f in (first, only, position, named_so, unannotated, none)}
    assert taken == {
        "first": True, "only": True, "position": True, "named_so": False, "unannotated": False, "none": False
    }  # fmt: skip


def second(n: int, ctx: TaskContext): ...
def by_name(*, ctx: TaskContext): ...
def optional(ctx: TaskContext | None, n: int): ...
def several(*ctx: TaskContext): ...
def inside(n: int, ctxs: list[TaskContext]): ...
def twice(ctx: TaskContext, other: TaskContext): ...


@pytest.mark.parametrize(
    ("function", "parameter"),
    [(second, "ctx"), (by_name, "ctx"), (optional, "ctx"), (several, "ctx"), (inside, "ctxs"), (twice, "other")],
)
def test_a_context_anywhere_else_is_an_error_that_names_it(function, parameter):
    with pytest.raises(ConfigurationError) as caught:
        FakeHost().task(function, name="t")
    assert caught.value.message == f"parameter {parameter} of task t is a TaskContext in the wrong place"
    assert caught.value.hint.startswith("make it the first parameter, annotated TaskContext and nothing else")


def test_text_annotations_are_evaluated_even_when_the_type_comes_later():
    namespace: dict[str, Any] = {"__name__": "late", "TaskContext": TaskContext}
    code = "def function(ctx: 'TaskContext', it: 'Later', n: 'int | None' = None) -> 'Later': ..."
    exec(code, namespace)  # the module of a user, half way through its import
    task = FakeHost().task(namespace["function"], name="t")
    with pytest.raises(ConfigurationError) as caught:
        task.call(1)
    assert caught.value.message == "parameter it of task t is annotated 'Later', and name 'Later' is not defined"
    assert "not inside a function or under 'if TYPE_CHECKING'" in caught.value.hint
    with pytest.raises(ConfigurationError):
        _ = task.takes_context

    namespace["Later"] = Tree
    assert task.takes_context
    assert task.call(Tree(1, []), n=2).payload == b'[[{"value":1,"children":[]}],{"n":2}]'
    assert task.decode_result(b'{"value":1,"children":[]}') == Tree(1, [])


def test_late_types_are_checked_when_they_are_there():
    namespace: dict[str, Any] = {"__name__": "late"}
    exec("def function(it: 'Later'): ...", namespace)
    task = FakeHost().task(namespace["function"], name="t")
    namespace["Later"] = Model
    with pytest.raises(ConfigurationError, match="parameter it of task t is annotated Model"):
        task.decode_arguments(b"[[1],{}]")


@pytest.mark.parametrize("text", ["TaskContext", "stem_core.TaskContext", " TaskContext "])
def test_a_context_that_only_type_checkers_import_is_recognised(text):
    namespace: dict[str, Any] = {"__name__": "checked"}
    exec(f"def function(ctx: {text!r}, n: 'int'): ...", namespace)
    assert FakeHost().task(namespace["function"]).takes_context


def test_a_name_that_is_defined_means_what_it_says():
    namespace: dict[str, Any] = {"__name__": "own", "TaskContext": int}
    exec("def function(n: 'list[TaskContext]'): ...", namespace)
    assert FakeHost().task(namespace["function"]).call([1]).payload == b"[[[1]],{}]"


@pytest.mark.parametrize("text", ["1 +", "int[str]", "undefined.thing()"])
def test_annotations_that_are_no_types_are_an_error(text):
    namespace: dict[str, Any] = {"__name__": "broken", "undefined": Model}
    exec(f"def function(it: {text!r}): ...", namespace)
    with pytest.raises(ConfigurationError) as caught:
        FakeHost().task(namespace["function"], name="t")
    assert caught.value.message.startswith(
        f"parameter it of task t has an annotation that cannot be evaluated: {text!r}: "
    )


def test_decorated_functions_and_partials_keep_their_parameters():
    def doubled(function):
        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            return function(*args, **kwargs) * 2

        return wrapper

    @doubled
    def twice_as_much(n: "int") -> "int":
        return n

    def price(n: "int", factor: "int"): ...

    task = FakeHost().task(twice_as_much)
    assert task(2) == 4
    assert task.call(2).payload == b"[[2],{}]"
    with pytest.raises(Exception, match="expected int, got str"):
        task.call("2")
    assert FakeHost().task(functools.partial(price, factor=3), name="t").call(2).payload == b"[[2],{}]"


@pytest.mark.parametrize(
    ("returned", "problem"),
    [
        (float("nan"), "nan is no JSON number"),
        ({"a": [None, float("inf")]}, "inf is no JSON number"),
        (object(), "object has no JSON form"),
        ({(1, 2): 3}, "only dicts with str-like or number-like keys are supported"),
        ("\ud800", "surrogates not allowed"),
    ],
)
def test_results_that_json_cannot_carry_are_a_value_error(returned, problem):
    def function(): ...

    task = FakeHost().task(function)
    with pytest.raises(ValueError, match=problem):
        task.encode_result(returned)


@pytest.mark.parametrize("value", [None, 0, "", [1, None], {"a": None}, 10**30])
def test_results_come_back(value):
    def function(): ...

    task = FakeHost().task(function)
    assert task.decode_result(task.encode_result(value)) == value


def test_results_that_do_not_fit_the_annotation_are_refused_where_they_are_read():
    def function() -> int: ...

    task = FakeHost().task(function, name="t")
    assert task.decode_result(b"1") == 1
    with pytest.raises(ResultError) as caught:
        task.decode_result(b'["1"]')
    assert caught.value.message == "the result of t() does not fit its annotation: expected int, got array"


def test_a_return_annotation_that_is_no_type_of_the_codec_leaves_results_as_json():
    def function() -> Model: ...
    def path() -> list[pathlib.Path] | set[int]: ...

    assert FakeHost().task(function).decode_result(b'{"a":1}') == {"a": 1}
    assert FakeHost().task(path).decode_result(b"[1]") == [1]


def test_a_return_annotation_that_cannot_be_evaluated_is_an_error_when_it_is_needed():
    namespace: dict[str, Any] = {"__name__": "late"}
    exec("def function() -> 'Later': ...", namespace)
    task = FakeHost().task(namespace["function"], name="t")
    assert task.call().payload == b"[[],{}]"
    with pytest.raises(ConfigurationError, match=r"^the return annotation of task t is annotated 'Later'"):
        task.decode_result(b"1")
