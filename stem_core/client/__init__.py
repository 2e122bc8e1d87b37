"""The application as its users see it: defining tasks, publishing, results, sessions."""

from __future__ import annotations

from stem_core.client.app import Lifespan, Stem
from stem_core.client.decorator import TaskDecorator
from stem_core.client.results import TaskHandle
from stem_core.client.session import Session, open_session

__all__ = ["Lifespan", "Session", "Stem", "TaskDecorator", "TaskHandle", "open_session"]
