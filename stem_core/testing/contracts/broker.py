"""The whole contract of a broker: what every one has to show, and the facets that this one has."""

from __future__ import annotations

from stem_core.testing.contracts.broadcasts import BroadcastsContract
from stem_core.testing.contracts.broker_delay import DelayCases
from stem_core.testing.contracts.broker_fence import FenceCases
from stem_core.testing.contracts.broker_leases import LeaseCases
from stem_core.testing.contracts.broker_publish import PublishCases
from stem_core.testing.contracts.broker_queues import QueueCases
from stem_core.testing.contracts.broker_real_time import RealTimeCases
from stem_core.testing.contracts.broker_receive import ReceiveCases, SuspectCases
from stem_core.testing.contracts.broker_settle import SettleCases
from stem_core.testing.contracts.broker_sharing import SharingCases
from stem_core.testing.contracts.broker_waiting import WaitingCases
from stem_core.testing.contracts.dead_letters import DeadLettersContract
from stem_core.testing.contracts.inspection import InspectionContract
from stem_core.testing.contracts.settles_with_results import SettlesWithResultsContract


class BrokerContract(
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
    RealTimeCases,
    DeadLettersContract,
    InspectionContract,
    BroadcastsContract,
    SettlesWithResultsContract,
):
    """Every broker, by theme. ``class TestMine(BrokerContract): url = "mine://localhost"``."""
