from __future__ import annotations

import json

import attrs
import pytest

from stem_core.errors import StoreRefused
from stem_core.model import ErrorInfo, Heartbeat, LaneUse, Progress, Revocation, TaskState, TaskStatus
from stem_core.wire import (
    decode_heartbeat,
    decode_revocation,
    decode_status,
    encode_heartbeat,
    encode_revocation,
    encode_status,
)
from stem_core.wire.records import _StatusRecord

STATUS = TaskStatus(
    id="a",
    task="t",
    queue="q",
    state=TaskState.FAILED,
    run=3,
    attempt=2,
    result=b'{"rows":[1,2.5,"\xc3\xa4"]}',
    error=ErrorInfo(type="ValueError", message="no", traceback="Traceback ..."),
    reason="failed",
    progress=Progress(percent=12.5, data=b'["x"]'),
    worker="w@h",
    enqueued_at=1.0,
    started_at=2.0,
    finished_at=3.0,
    retry_at=4.0,
    ttl=5.0,
)
HEARTBEAT = Heartbeat(
    worker="w@h",
    host="h",
    pid=7,
    incarnation="x",
    phase="running",
    health="busy",
    queues=("a", "b"),
    concurrency=10,
    running=3,
    prefetched=4,
    started_at=1.0,
    at=2.0,
    interval=5.0,
)


@pytest.mark.parametrize("status", [STATUS, TaskStatus(id="a", task="t", queue="q", state=TaskState.QUEUED)])
def test_statuses_come_back_as_they_were(status):
    assert decode_status(encode_status(status)) == status


@pytest.mark.parametrize("result", [None, b"null", b'""', b"0", b"false", b"[]", b'{"a":null}'])
def test_results_keep_their_bytes_and_no_result_differs_from_null(result):
    back = decode_status(encode_status(attrs.evolve(STATUS, result=result)))
    assert back.result == result
    assert result is None or type(back.result) is bytes


def test_results_and_progress_stand_in_the_record_as_json():
    record = json.loads(encode_status(STATUS))
    assert record["result"] == {"rows": [1, 2.5, "ä"]}
    assert record["progress"] == {"percent": 12.5, "data": ["x"]}


def test_the_record_has_every_field_of_a_status():
    assert [field.name for field in attrs.fields(TaskStatus)] == list(_StatusRecord.__struct_fields__)


def test_heartbeats_come_back_as_they_were():
    assert decode_heartbeat(encode_heartbeat(HEARTBEAT)) == HEARTBEAT


def test_revocations_come_back_as_they_were():
    revocation = Revocation(id="a", revoked_at=1.5, reason="wrong customer")
    assert decode_revocation(encode_revocation(revocation)) == revocation


@pytest.mark.parametrize(
    ("decode", "encoded"),
    [
        (decode_status, encode_status(STATUS)),
        (decode_heartbeat, encode_heartbeat(HEARTBEAT)),
        (decode_revocation, encode_revocation(Revocation(id="a", revoked_at=1.0))),
    ],
)
def test_fields_of_a_newer_version_are_passed_over(decode, encoded):
    assert decode(encoded[:-1] + b',"newer":[1]}') == decode(encoded)


@pytest.mark.parametrize(
    ("decode", "what"),
    [(decode_status, "status"), (decode_heartbeat, "heartbeat"), (decode_revocation, "revocation")],
)
@pytest.mark.parametrize("data", [b"", b"\xff", b"[]", b"{}", b'{"id":1}', b'{"x":' + b"[" * 100_000])
def test_foreign_records_are_a_store_error(decode, what, data):
    with pytest.raises(StoreRefused, match=f"^a stored {what} is unreadable: ") as caught:
        decode(data)
    assert "namespace" in caught.value.hint


def test_a_heartbeat_of_a_version_that_knew_less_is_read():
    older = json.loads(encode_heartbeat(HEARTBEAT))
    for field in ("paused", "lanes", "prefetch", "autoscale", "scaled"):
        del older[field]
    found = decode_heartbeat(json.dumps(older).encode())
    assert found == HEARTBEAT
    assert (found.paused, found.lanes, found.prefetch, found.autoscale, found.scaled) == ((), (), None, None, "")


def test_the_lanes_of_a_heartbeat_come_back_as_they_were():
    lanes = (LaneUse(queue="a", running=1, reserve=2), LaneUse(queue="b", running=0, limit=3))
    beat = attrs.evolve(HEARTBEAT, lanes=lanes, autoscale=(2, 50), paused=("b",))
    assert decode_heartbeat(encode_heartbeat(beat)) == beat
