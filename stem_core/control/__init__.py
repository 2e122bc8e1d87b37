"""The side of the operator: looking into queues, dead letters and stores, and putting things right by hand.

The command line renders what is found here, and so may a dashboard. Everything works on an opened
:class:`~stem_core.client.session.Session` and gives values back.
"""

from __future__ import annotations

from stem_core.control.dead_letters import DeadLetters, Selected, Selection
from stem_core.control.health import Check, check_health
from stem_core.control.inspector import Inspector
from stem_core.control.views import DeadLetterView, MessageView, QueueView

__all__ = [
    "Check",
    "DeadLetterView",
    "DeadLetters",
    "Inspector",
    "MessageView",
    "QueueView",
    "Selected",
    "Selection",
    "check_health",
]
