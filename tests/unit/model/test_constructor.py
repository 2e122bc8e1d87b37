"""The quick way to make a value makes the same value."""

import attrs
import pytest

from stem_core.contracts import Call
from stem_core.model import (
    Delivery,
    Envelope,
    Header,
    Message,
    Receipt,
    Settlement,
    Succeeded,
    TaskStatus,
    Verdict,
    constructor,
)

VALUES = (Call, Delivery, Envelope, Header, Message, Receipt, Settlement, Succeeded, TaskStatus, Verdict)


@pytest.mark.parametrize("cls", VALUES)
@pytest.mark.parametrize("what", ["all fields", "what has no default"])
def test_it_makes_what_the_class_makes(cls, what):
    fields = [field for field in attrs.fields(cls) if what == "all fields" or field.default is attrs.NOTHING]
    given = {field.name: object() for field in fields}
    made = constructor(cls)(**given)
    assert type(made) is cls
    assert made == cls(**given)


def test_private_fields_go_by_their_public_names():
    @attrs.define
    class Handle:
        id: str
        _app: object
        _header: object = None

    app = object()
    made = constructor(Handle)(id="a", app=app)
    assert (made.id, made._app, made._header) == ("a", app, None)


def test_what_a_factory_makes_is_never_shared():
    make = constructor(Header)
    first, second = (make(id="a", task="t", queue="q", enqueued_at=0.0) for _ in range(2))
    assert first.headers == {}
    assert first.headers is not second.headers


def test_a_field_that_is_missing_and_one_that_is_too_much():
    make = constructor(Receipt)
    with pytest.raises(TypeError, match="missing 1 required keyword-only argument: 'token'"):
        make(id="a", queue="q", run=1)
    with pytest.raises(TypeError, match="unexpected keyword argument 'more'"):
        make(id="a", queue="q", run=1, token="t", more=1)
