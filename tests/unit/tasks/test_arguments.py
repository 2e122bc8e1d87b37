"""What producers may send, what workers get, and what is refused by name."""

from __future__ import annotations

import enum
import json
import sys
import uuid
from dataclasses import dataclass, field  # noqa: TID251 - what users pass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple, Optional, TypedDict

import attrs
import msgspec
import pytest

from stem_core.errors import BadArguments
from stem_core.tasks import TaskContext
from support.task_host import FakeHost


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


@dataclass
class Item:
    sku: str
    price: Decimal
    tags: list[str] = field(default_factory=list)


@attrs.define
class Order:
    id: uuid.UUID
    items: list[Item]
    note: Any = None


class Point(NamedTuple):
    x: int
    y: int = 0


class Options(TypedDict, total=False):
    colour: Colour
    size: int


class Frame(msgspec.Struct):
    data: bytes


@dataclass(eq=False)
class Blind:
    """Compares by identity, as many classes do."""

    value: Any = None
    weight: float | None = None


def simple(user_id: int, name: str = "x", *, locale: str = "en", loud: bool = False): ...
def only_position(a: int, b: int = 2, /, c: int = 3): ...
def var(first: int, *rest: int, key: str = "k", **others: float): ...
def untyped(a, b=None): ...
def nothing(): ...
def needs_name(*, key: int): ...
def with_context(ctx: TaskContext, path: str): ...
def rich(order: Order, when: datetime, point: Point, options: Options, colour: Colour, level: Level): ...
def nested(items: list[Item]): ...
def choice(mode: Literal["a", 1], limit: Annotated[int, msgspec.Meta(ge=0)] = 1, also: int | str | None = None): ...
def old_optional(n: Optional[int] = None): ...  # noqa: UP045
def blind(it: Blind): ...
def awkward(self, p0: int, ctx: int, f: int, from_: int, __len__: int = 0): ...


HOST = FakeHost()
T = {f.__name__: HOST.task(f) for f in list(vars().values()) if getattr(f, "__code__", None)}

ORDER = Order(id=uuid.UUID(int=7), items=[Item("a", Decimal("1.50"), ["x"])], note={"deep": [1, None]})
WHEN = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)


def sent(task: str, *args: Any, **kwargs: Any) -> Any:
    return json.loads(T[task].call(*args, **kwargs).payload)


def received(task: str, *args: Any, **kwargs: Any) -> Any:
    return T[task].decode_arguments(T[task].call(*args, **kwargs).payload)


@pytest.mark.parametrize(
    ("task", "args", "kwargs"),
    [
        ("simple", (1,), {}),
        ("simple", (1, "y"), {"loud": True, "locale": "fr"}),
        ("simple", (), {"user_id": 1, "name": "y"}),
        ("only_position", (1,), {}),
        ("only_position", (1, 2, 3), {}),
        ("only_position", (1,), {"c": 4}),
        ("var", (1,), {}),
        ("var", (1, 2, 3), {"key": "v", "x": 1.5, "größe": 2.0}),
        ("var", (), {"first": 1, "rest": 2.0}),
        ("untyped", (None,), {"b": {"a": [1, -2.5, "x", True, None, {}]}}),
        ("untyped", (2**64 - 1, -(2**63)), {}),
        ("nothing", (), {}),
        ("needs_name", (), {"key": 1}),
        ("with_context", ("/a",), {}),
        ("nested", ([ORDER.items[0]] * 3,), {}),
        ("choice", ("a",), {"also": "text"}),
        ("choice", (1, 0), {"also": None}),
        ("old_optional", (None,), {}),
        ("awkward", (1, 2, 3), {"f": 4, "from_": 5, "__len__": 6}),
    ],
)
def test_arguments_arrive_as_they_were_given(task, args, kwargs):
    assert received(task, *args, **kwargs) == (args, kwargs)


def test_rich_values_arrive_as_what_the_annotations_say():
    given = (ORDER, WHEN, Point(1, 2), {"colour": Colour.RED, "size": 2}, Colour.RED, Level.HIGH)
    args, kwargs = received("rich", *given)
    assert (args, kwargs) == (given, {})
    assert [type(value) for value in args] == [Order, datetime, Point, dict, Colour, Level]
    assert args[0].items[0].price == Decimal("1.50")


@pytest.mark.parametrize(
    ("hint", "value"),
    [
        (bytes, b"\x00\xff"),
        (date, date(2026, 1, 2)),
        (timedelta, timedelta(days=1, microseconds=5)),
        (set[int], {1, 2}),
        (frozenset[str], frozenset({"a"})),
        (tuple[int, str], (1, "a")),
        (tuple[int, ...], (1, 2, 3)),
        (dict[int, date], {1: date(2026, 1, 2)}),
        (dict[uuid.UUID, str], {uuid.UUID(int=1): "a"}),
        (Frame, Frame(b"\xff")),
        (object, [1]),
        (list[Any], [1, "a", None]),
    ],
)
def test_types_of_the_codec_come_back(hint, value):
    def function(it): ...

    function.__annotations__ = {"it": hint}
    task = FakeHost().task(function)
    args, _ = task.decode_arguments(task.call(value).payload)
    assert args == (value,)
    assert type(args[0]) is type(value)


def test_what_was_left_out_is_not_sent_and_what_was_given_is_even_if_it_is_the_default():
    assert sent("simple", 1) == [[1], {}]
    assert sent("simple", 1, "x", locale="en") == [[1, "x"], {"locale": "en"}]


def test_the_context_is_no_argument():
    assert sent("with_context", "/a") == [["/a"], {}]


def test_arguments_may_come_plainer_than_their_annotation():
    assert received("simple", True is True and 1) == ((1,), {})
    item = {"sku": "a", "price": "1.5"}
    assert received("nested", [item]) == (([Item("a", Decimal("1.5"))],), {})
    assert received("nested", [Item("a", 1)]) == (([Item("a", Decimal(1))],), {})
    assert received("nested", (ORDER.items[0],)) == (([ORDER.items[0]],), {})


def test_tuples_arrive_as_lists_where_nothing_says_otherwise():
    assert received("untyped", (1, [(2,)])) == (([1, [[2]]],), {})


def test_classes_that_do_not_compare_are_looked_into():
    args, _ = received("blind", Blind([1, {"a": (2,)}], 0.5))
    assert (args[0].value, args[0].weight) == ([1, {"a": [2]}], 0.5)


LOOP: list[Any] = []
LOOP.append(LOOP)
DEEP: Any = []
for _ in range(sys.getrecursionlimit() * 2):
    DEEP = [DEEP]

REFUSED = [
    ("simple", ("1",), {}, "user_id", "user_id of {}(): expected int, got str"),
    ("simple", (1.0,), {}, "user_id", "user_id of {}(): expected int, got float"),
    ("simple", (True,), {}, "user_id", "user_id of {}(): expected int, got bool"),
    ("simple", (None,), {}, "user_id", "user_id of {}(): expected int, got None"),
    ("simple", (WHEN,), {}, "user_id", "user_id of {}(): expected int, got datetime"),
    ("simple", (1,), {"name": Colour}, "name", "name of {}(): JSON cannot carry it: EnumType has no JSON form"),
    ("simple", (1,), {"loud": 1}, "loud", "loud of {}(): expected bool, got int"),
    ("simple", (1, uuid.UUID(int=1)), {}, "name", "name of {}(): UUID would arrive as str"),
    ("simple", (2**64,), {}, "user_id", "user_id of {}(): JSON cannot carry it: a whole number of more than 64 bits"),
    (
        "simple",
        (-(2**63) - 1,),
        {},
        "user_id",
        "user_id of {}(): JSON cannot carry it: a whole number of more than 64 bits",
    ),
    ("simple", (), {}, "user_id", "{}() needs user_id"),
    ("simple", (1, "a", "fr"), {}, "", "{}() takes 2 arguments by position, got 3"),
    ("simple", (1,), {"user_id": 2}, "user_id", "{}() got user_id twice: by position and by name"),
    ("simple", (1,), {"lokale": "fr"}, "lokale", "{}() has no parameter 'lokale'\n  hint: did you mean 'locale'?"),
    ("simple", (1,), {"\x1b": 1}, "\x1b", "{}() has no parameter '\\x1b'"),
    ("nothing", (1,), {}, "", "{}() takes 0 arguments by position, got 1"),
    ("needs_name", (1,), {}, "", "{}() takes 0 arguments by position, got 1"),
    ("needs_name", (), {}, "key", "{}() needs key"),
    ("only_position", (), {"a": 1}, "a", "{}() takes a by position, not by name"),
    ("only_position", (1, 2, 3), {"c": 4}, "c", "{}() got c twice: by position and by name"),
    ("awkward", (1,), {}, "p0", "{}() needs p0 and ctx and f and from_"),
    ("var", (), {}, "first", "{}() needs first"),
    ("var", (1, 2, "3"), {}, "rest", "rest[1] of {}(): expected int, got str"),
    ("var", (1,), {"x": "y"}, "others", "x of {}(): expected float, got str"),
    ("var", (1, 2), {"first": 1}, "first", "{}() got first twice: by position and by name"),
    ("var", (1,), {"\ud800": 1.0}, "", None),
    ("untyped", (float("nan"),), {}, "a", "a of {}(): JSON cannot carry it: nan is no JSON number"),
    (
        "untyped",
        (1, {"a": [1, {"b": -float("inf")}]}),
        {},
        "b",
        "b of {}(): JSON cannot carry it: -inf is no JSON number",
    ),
    ("untyped", ([[2**80]],), {}, "a", "a of {}(): JSON cannot carry it: a whole number of more than 64 bits"),
    ("untyped", ({1: "a"},), {}, "a", "a of {}(): keys of dicts have to be str; int would arrive as str"),
    ("untyped", ([{"x": {None: 1}}],), {}, "a", None),
    ("untyped", ([b"x"],), {}, "a", "a of {}(): bytes would arrive as str"),
    ("untyped", ([WHEN],), {}, "a", "a of {}(): datetime would arrive as str"),
    ("untyped", ({"s": {1}},), {}, "a", "a of {}(): set would arrive as list"),
    ("untyped", (ORDER,), {}, "a", "a of {}(): Order would arrive as dict"),
    ("untyped", (Colour.RED,), {}, "a", "a of {}(): Colour would arrive as str"),
    ("untyped", (Decimal(1),), {}, "a", "a of {}(): Decimal would arrive as str"),
    ("untyped", (object(),), {}, "a", "a of {}(): JSON cannot carry it: object has no JSON form"),
    ("untyped", ("\ud800",), {}, "a", None),
    ("untyped", (LOOP,), {}, "a", "a of {}(): JSON cannot carry it: it is nested too deeply, or holds itself"),
    ("untyped", (DEEP,), {}, "a", "a of {}(): JSON cannot carry it: it is nested too deeply, or holds itself"),
    (
        "nested",
        ([Item("a", Decimal(1)), {"sku": "b"}],),
        {},
        "items",
        "items of {}(): object missing required field price at [1]",
    ),
    ("nested", ([Item(5, Decimal(1))],), {}, "items", "items of {}(): expected str, got int at [0].sku"),
    (
        "rich",
        (attrs.evolve(ORDER, note=WHEN), WHEN, Point(1), {}, Colour.RED, Level.HIGH),
        {},
        "order",
        "order of {}(): datetime would arrive as str",
    ),
    ("blind", (Blind({"a": {WHEN}}),), {}, "it", "it of {}(): set would arrive as list"),
    ("blind", (Blind(weight=float("nan")),), {}, "it", "it of {}(): JSON cannot carry it: nan is no JSON number"),
    ("choice", ("b",), {}, "mode", "mode of {}(): not one of the values allowed"),
    ("choice", ("a", -1), {}, "limit", "limit of {}(): expected int >= 0"),
    ("with_context", (TaskContext.local(), "/a"), {}, "", "{}() takes 1 argument by position, got 2"),
]


@pytest.mark.parametrize(("task", "args", "kwargs", "parameter", "message"), REFUSED)
def test_bad_arguments_are_refused_in_the_producer(task, args, kwargs, parameter, message):
    name = f"{__name__}.{task}"
    with pytest.raises(BadArguments) as caught:
        T[task].call(*args, **kwargs)
    assert caught.value.task == name
    assert caught.value.parameter == parameter
    if message is not None:
        assert str(caught.value).startswith(message.format(name))
        assert caught.value.hint.startswith(("it is defined as ", "did you mean ", "annotate "))


@pytest.mark.parametrize(
    ("task", "payload", "parameter", "message"),
    [
        ("simple", b"", "", "the arguments of {}() are no JSON text [args, kwargs]: input data was truncated"),
        ("simple", b"{}", "", "the arguments of {}() are no JSON text [args, kwargs]: expected array, got object"),
        ("simple", b"[[1]]", "", "the arguments of {}() are no JSON text [args, kwargs]: expected array of length 2"),
        (
            "simple",
            b'[[1],{"a":' + b"[" * 100_000,
            "",
            "the arguments of {}() are no JSON text [args, kwargs]: nested too deeply",
        ),
        ("simple", b'[["x"],{}]', "user_id", "user_id of {}(): expected int, got str"),
        ("simple", b"[[null],{}]", "user_id", "user_id of {}(): expected int, got None"),
        ("simple", b"[[],{}]", "user_id", "{}() needs user_id"),
        ("simple", b'[[],{"name":"x"}]', "user_id", "{}() needs user_id"),
        ("simple", b'[[1],{"gone":1}]', "gone", "{}() has no parameter 'gone'"),
        ("simple", b'[[1],{"user_id":1}]', "user_id", "{}() got user_id twice: by position and by name"),
        ("simple", b"[[1,2,3,4],{}]", "", "{}() takes 2 arguments by position, got 4"),
        ("var", b"[[1,2,null],{}]", "rest", "rest[1] of {}(): expected int, got None"),
    ],
)
def test_payloads_that_do_not_bind_here_are_bad_arguments(task, payload, parameter, message):
    with pytest.raises(BadArguments) as caught:
        T[task].decode_arguments(payload)
    assert caught.value.parameter == parameter
    assert caught.value.message == message.format(f"{__name__}.{task}")


@pytest.mark.parametrize("payload", [b'[[1],{"locale":"fr"}]', b' [ [ 1 ] , { "locale" : "fr" } ] '])
def test_payloads_of_other_producers_may_be_spaced(payload):
    assert T["simple"].decode_arguments(payload) == ((1,), {"locale": "fr"})
    assert T["simple"].decode_arguments(b"[[1], { } ]") == ((1,), {})


def test_a_default_is_the_one_of_the_code_that_runs():
    host = FakeHost()

    def before(n: int, factor: int = 2): ...
    def after(n: int, factor: int = 3, extra: str = ""): ...

    payload = host.task(before, name="t").call(1).payload
    args, kwargs = FakeHost().task(after, name="t").decode_arguments(payload)
    assert (args, kwargs) == ((1,), {})


def test_errors_never_show_the_value():
    for task in ("simple", "choice", "nested"):
        with pytest.raises(BadArguments) as caught:
            T[task].call("s3cret")
        assert "s3cret" not in str(caught.value)
