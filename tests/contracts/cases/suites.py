"""The case classes by what a plugin provides."""

from __future__ import annotations

from contracts.cases.backend import BackendCases
from contracts.cases.broadcasts import BroadcastCases
from contracts.cases.broker_delay import DelayCases
from contracts.cases.broker_fence import FenceCases
from contracts.cases.broker_leases import LeaseCases
from contracts.cases.broker_publish import PublishCases
from contracts.cases.broker_queues import QueueCases
from contracts.cases.broker_receive import ReceiveCases, SuspectCases
from contracts.cases.broker_settle import SettleCases
from contracts.cases.broker_sharing import SharingCases
from contracts.cases.broker_waiting import WaitingCases
from contracts.cases.dead_letters import DeadLetterCases
from contracts.cases.inspection import InspectionCases
from contracts.cases.results_settling import ResultSettlingCases
from contracts.cases.state import StateCases


class BrokerCases(
    PublishCases,
    ReceiveCases,
    SuspectCases,
    LeaseCases,
    FenceCases,
    SettleCases,
    DelayCases,
    QueueCases,
    WaitingCases,
    SharingCases,
):
    """Every broker."""


class FacetCases(DeadLetterCases, InspectionCases, BroadcastCases, ResultSettlingCases):
    """A broker with all facets, whose store holds the results too."""


class ResultBackendCases(BackendCases):
    """Every result backend."""


class StateStoreCases(StateCases):
    """Every state store."""
