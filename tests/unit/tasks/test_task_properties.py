from __future__ import annotations

import enum
import uuid
from dataclasses import dataclass  # noqa: TID251 - what users pass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from stem_core.errors import BadArguments
from support.task_host import FakeHost

texts = st.text(alphabet=st.characters(exclude_categories=["Cs"]))
whole = st.integers(-(2**63), 2**64 - 1)
floats = st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | whole | floats | texts
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=20
)
#: What Python may hold and JSON may not.
wild_values = st.recursive(
    scalars | st.integers() | st.floats() | st.text() | st.binary() | st.datetimes() | st.uuids(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(texts | st.integers(), inner, max_size=3)
        | st.frozensets(st.integers(), max_size=3)
    ),
    max_leaves=8,
)


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Line:
    sku: str
    price: Decimal
    count: int | None
    extra: Any


def untyped(first, second=None, *, third=None): ...
def anything(*args, **kwargs): ...
def typed(
    n: int, x: float, text: str, raw: bytes, when: datetime, day: date, span: timedelta, key: uuid.UUID,
    colours: list[Colour], lines: dict[str, Line], pair: tuple[int, str] | None, *, flags: set[int] | None = None,
): ...  # fmt: skip


HOST = FakeHost()
UNTYPED, ANYTHING, TYPED = HOST.task(untyped), HOST.task(anything), HOST.task(typed)

lines = st.builds(
    Line,
    sku=texts,
    price=st.decimals(allow_nan=False, allow_infinity=False),
    count=st.none() | whole,
    extra=json_values,
)


@given(json_values, json_values, json_values)
def test_json_values_arrive_as_they_were_given(first, second, third):
    for args, kwargs in (((first, second), {"third": third}), ((first,), {}), ((), {"first": first})):
        assert UNTYPED.decode_arguments(UNTYPED.call(*args, **kwargs).payload) == (args, kwargs)


@given(st.lists(json_values, max_size=4), st.dictionaries(texts, json_values, max_size=4))
def test_any_number_of_arguments_of_any_name_arrives(args, kwargs):
    assert ANYTHING.decode_arguments(ANYTHING.call(*args, **kwargs).payload) == (tuple(args), kwargs)


@given(
    n=whole,
    x=floats,
    text=texts,
    raw=st.binary(),
    when=st.datetimes(timezones=st.none() | st.just(None)),
    day=st.dates(),
    span=st.timedeltas(timedelta(days=-10_000), timedelta(days=10_000)),
    key=st.uuids(),
    colours=st.lists(st.sampled_from(Colour), max_size=3),
    lines=st.dictionaries(texts, lines, max_size=3),
    pair=st.none() | st.tuples(whole, texts),
    flags=st.none() | st.sets(whole, max_size=3),
)
def test_typed_values_arrive_as_they_were_given(**kwargs):
    args, back = TYPED.decode_arguments(TYPED.call(**kwargs).payload)
    assert (args, back) == ((), kwargs)
    assert all(type(back[name]) is type(kwargs[name]) for name in kwargs)


def as_json(value: Any) -> Any:
    """The value with tuples as lists: the only change that is allowed where no annotation says more."""
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    return {key: as_json(item) for key, item in value.items()} if isinstance(value, dict) else value


@given(wild_values)
def test_a_value_arrives_unharmed_or_is_refused_by_name(value):
    try:
        payload = UNTYPED.call(value).payload
    except BadArguments as refused:
        assert refused.parameter == "first"  # noqa: PT017 - refusing is one of two right answers
        return
    assert UNTYPED.decode_arguments(payload) == ((as_json(value),), {})


@given(st.binary(max_size=100) | json_values.map(lambda value: FakeHost().task(untyped).encode_result(value)))
def test_arbitrary_payloads_bind_or_are_bad_arguments(payload):
    for task in (UNTYPED, ANYTHING, TYPED):
        try:
            args, kwargs = task.decode_arguments(payload)
        except BadArguments:
            continue
        assert type(args) is tuple
        assert type(kwargs) is dict
        task(*args, **kwargs)


def scalar_task(n: int, x: float, text: str, flag: bool = True, more: int = 0): ...


SCALAR = HOST.task(scalar_task)
any_number = st.integers() | st.sampled_from([-(2**63) - 1, -(2**63), 2**64 - 1, 2**64]) | st.floats()
scalar_values = any_number | st.text() | st.booleans() | st.none()
scalar_arguments = st.tuples(any_number, st.floats(), st.text(), st.booleans(), any_number).flatmap(
    lambda full: st.integers(0, 5).map(lambda count: full[:count])
) | st.lists(scalar_values, max_size=6).map(tuple)


@given(scalar_arguments)
def test_scalars_are_taken_and_refused_as_by_the_careful_way(args):
    binding = SCALAR.signature._now()[1]
    try:
        expected: object = binding._encode_carefully(args, {})
    except BadArguments as error:
        expected = (error.message, error.parameter)
    try:
        found: object = binding.encode(args, {})
    except BadArguments as error:
        found = (error.message, error.parameter)
    assert found == expected


@given(json_values)
def test_results_come_back(value):
    assert UNTYPED.decode_result(UNTYPED.encode_result(value)) == value
