"""The values that everything else speaks in. No module here does anything."""

from __future__ import annotations

from stem_core.model._value import constructor
from stem_core.model.deadletter import DeadMessage, StoredMessage
from stem_core.model.delivery import (
    ACK,
    DONE,
    LOST,
    Ack,
    Action,
    DeadLetter,
    Delivery,
    QueueDepth,
    Receipt,
    Release,
    Retry,
    Settlement,
    Verdict,
)
from stem_core.model.envelope import (
    DEFAULT_PRIORITY,
    MAX_PRIORITY,
    MIN_PRIORITY,
    WIRE_VERSION,
    Envelope,
    Header,
    Message,
)
from stem_core.model.heartbeat import HEARTBEATS, Heartbeat, LaneUse, WorkerHealth, WorkerPhase
from stem_core.model.ids import child_id, new_id, new_ids
from stem_core.model.names import check_channel, check_id, check_name, check_queue
from stem_core.model.outcome import Cancelled, Failed, HandedBack, Outcome, Rejected, Retried, Succeeded
from stem_core.model.retry import DEFAULT_RETRY, RetryPolicy
from stem_core.model.revocation import REVOCATIONS, Revocation
from stem_core.model.routes import Channel, DeliveryMode, QueueRule, Route, Routing
from stem_core.model.routing import Subscription
from stem_core.model.status import ErrorInfo, Progress, TaskState, TaskStatus, supersedes
from stem_core.model.urls import StoreUrl, mask

__all__ = [
    "ACK",
    "DEFAULT_PRIORITY",
    "DEFAULT_RETRY",
    "DONE",
    "HEARTBEATS",
    "LOST",
    "MAX_PRIORITY",
    "MIN_PRIORITY",
    "REVOCATIONS",
    "WIRE_VERSION",
    "Ack",
    "Action",
    "Cancelled",
    "Channel",
    "DeadLetter",
    "DeadMessage",
    "Delivery",
    "DeliveryMode",
    "Envelope",
    "ErrorInfo",
    "Failed",
    "HandedBack",
    "Header",
    "Heartbeat",
    "LaneUse",
    "Message",
    "Outcome",
    "Progress",
    "QueueDepth",
    "QueueRule",
    "Receipt",
    "Rejected",
    "Release",
    "Retried",
    "Retry",
    "RetryPolicy",
    "Revocation",
    "Route",
    "Routing",
    "Settlement",
    "StoreUrl",
    "StoredMessage",
    "Subscription",
    "Succeeded",
    "TaskState",
    "TaskStatus",
    "Verdict",
    "WorkerHealth",
    "WorkerPhase",
    "check_channel",
    "check_id",
    "check_name",
    "check_queue",
    "child_id",
    "constructor",
    "mask",
    "new_id",
    "new_ids",
    "supersedes",
]
