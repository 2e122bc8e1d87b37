from __future__ import annotations

import json
from typing import Any

import pytest

from stem_core.model import Envelope, ErrorInfo, Header, Heartbeat, Progress, Succeeded
from stem_core.signals import (
    AfterTaskPublishEvent,
    Signal,
    Signals,
    TaskFailedEvent,
    TaskPostrunEvent,
    TaskProgressEvent,
    WorkerHeartbeatEvent,
    WorkerReadyEvent,
)

TASK: dict[str, Any] = {"id": "1", "task": "mail.send", "queue": "mail", "attempt": 2, "run": 3, "worker": "w@h"}


def test_every_signal_has_the_name_of_its_event() -> None:
    found = {name: thing for name, thing in vars(Signals()).items() if isinstance(thing, Signal)}
    assert {name: signal.name for name, signal in found.items()} == {name: name.replace("_", "-") for name in found}
    assert len(found) == 26


def test_the_catalogue_is_the_one_of_the_design_that_can_fire() -> None:
    names = (
        "before-task-publish after-task-publish task-received task-prerun task-postrun task-succeeded task-failed "
        "task-retried task-revoked task-expired task-crashed task-rejected task-lease-lost task-handed-back "
        "task-dead-lettered task-progress worker-init worker-ready worker-heartbeat worker-stopping worker-shutdown "
        "worker-child-init worker-child-shutdown queue-paused queue-resumed worker-scaled"
    )
    assert " ".join(signal.name for signal in Signals()) == names


def test_attributes_are_flat_json_and_show_bytes_as_their_size() -> None:
    event = TaskPostrunEvent(occurred_at=5.0, outcome=Succeeded(result=b'"secret"'), runtime=0.5, **TASK)
    assert event.attributes == {
        "occurred_at": 5.0,
        **TASK,
        "outcome": "Succeeded",
        "outcome_result_size": 8,
        "runtime": 0.5,
    }


def test_attributes_of_errors_and_progress_are_flat() -> None:
    error = ErrorInfo(type="builtins.ValueError", message="no", traceback="Traceback")
    failed = TaskFailedEvent(occurred_at=5.0, reason="failed", error=error, runtime=1.0, **TASK)
    assert failed.attributes["error_type"] == "builtins.ValueError"
    assert failed.attributes["error_message"] == "no"
    progress = TaskProgressEvent(occurred_at=5.0, progress=Progress(percent=50.0, data=b"{}"), **TASK)
    assert progress.attributes["progress_percent"] == 50.0
    assert progress.attributes["progress_data_size"] == 2
    assert json.loads(json.dumps(failed.attributes)) == failed.attributes


def test_publish_events_show_the_job_and_never_its_arguments() -> None:
    header = Header(id="1", task="mail.send", queue="mail", enqueued_at=1.0, headers={"tenant": "a"})
    event = AfterTaskPublishEvent(occurred_at=5.0, envelope=Envelope(header=header, payload=b"[[1],{}]"))
    assert event.attributes == {
        "occurred_at": 5.0,
        "id": "1",
        "task": "mail.send",
        "queue": "mail",
        "priority": 5,
        "payload_size": 8,
    }


def test_the_heartbeat_event_is_the_stored_record() -> None:
    assert WorkerHeartbeatEvent is Heartbeat
    beat = Heartbeat(
        worker="w@h",
        host="h",
        pid=1,
        incarnation="i",
        phase="running",
        health="idle",
        queues=("a", "b"),
        concurrency=2,
        running=0,
        prefetched=0,
        started_at=1.0,
        at=9.0,
        interval=5.0,
    )
    assert beat.event_name == "worker-heartbeat"
    assert beat.occurred_at == 9.0
    assert beat.attributes["queues"] == ["a", "b"]
    assert json.loads(json.dumps(beat.attributes)) == beat.attributes


def test_tuples_show_as_lists() -> None:
    event = WorkerReadyEvent(occurred_at=1.0, worker="w", queues=("a",), concurrency=3)
    assert event.attributes == {"occurred_at": 1.0, "worker": "w", "queues": ["a"], "concurrency": 3}


@pytest.mark.parametrize("signal", list(Signals()), ids=lambda signal: signal.name)
def test_every_event_is_documented_and_has_a_time_and_attributes(signal: Signal[Any]) -> None:
    assert signal.event.__doc__
    assert hasattr(signal.event, "occurred_at")
    assert hasattr(signal.event, "attributes")
