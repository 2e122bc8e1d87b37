"""What a result backend must do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from stem_core.model import TaskState, TaskStatus


class ResultBackend(ABC):
    """Keeps what is known of each task, for its time to live. Belongs to the event loop that opened it."""

    @abstractmethod
    async def record(self, statuses: Sequence[TaskStatus]) -> None:
        """Store each status where :func:`stem_core.model.supersedes` says so; the others change nothing.
        All are stored when this returns, and waiters are told of the terminal ones."""

    @abstractmethod
    async def get(self, ids: Sequence[str]) -> dict[str, TaskStatus]:
        """The stored statuses; unknown and expired ids are left out."""

    @abstractmethod
    async def wait(self, id: str, timeout: float) -> TaskStatus | None:
        """The status once it is terminal, or what is known after ``timeout`` seconds (None: nothing).
        Works across processes and without busy polling. May be cancelled."""

    @abstractmethod
    async def list(
        self, *, state: TaskState | None = None, task: str | None = None, limit: int = 100, after: str | None = None
    ) -> list[TaskStatus]:
        """Up to ``limit`` statuses in order of id, filtered; ``after`` is the last id of the page before."""

    @abstractmethod
    async def forget(self, ids: Sequence[str]) -> int:
        """Remove the statuses; returns how many there were."""
