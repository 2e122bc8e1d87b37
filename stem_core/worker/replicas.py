"""Which worker processes there should be, and what to do about those that are not: decisions, without a process in
sight. ``replicas_supervisor`` tells what happened and carries out what is decided here."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterable
from signal import Signals
from typing import Literal

import attrs

from stem_core.clock import Clock
from stem_core.model._value import value

#: Seconds before a replica that died is started again: doubled for each failure in a row, each time between half of
#: it and all of it, so that many do not come back at once.
RETRY_BASE, RETRY_CAP = 0.5, 30.0
#: A replica that was ready for so long, in seconds, has worked: if it dies now, counting begins anew.
STEADY = 60.0
#: What a worker may take beyond its own budget before it is killed, in seconds. A worker ends itself about 3.5 s after
#: its hard stop began, whatever holds it up; and 29 s is still within the 30 s that Kubernetes gives.
MARGIN = 4.0

#: Exit codes of a worker: drained, an error, a setting or a plugin that cannot be used, started work handed back.
DRAINED, FAILED, REFUSALS, HANDED_BACK = 0, 1, frozenset({2, 3}), 4

_Mode = Literal["quiet", "warm", "soft", "hard"]
_MODES: tuple[_Mode, ...] = ("quiet", "warm", "soft", "hard")
#: What the signals that stop ask for, as in ``os_signals``; SIGHUP means something else here.
_ASKED: dict[Signals, _Mode] = {
    Signals.SIGTSTP: "quiet", Signals.SIGTERM: "warm", Signals.SIGINT: "soft", Signals.SIGQUIT: "hard"
}  # fmt: skip
_SENT: dict[_Mode, Signals] = {mode: number for number, mode in _ASKED.items()}


@value
class Limits:
    """How long a worker takes to stop, in seconds."""

    #: A warm stop, soft and hard included.
    shutdown_timeout: float
    #: A soft stop, hard included.
    soft_margin: float
    hard_margin: float

    def of(self, mode: _Mode) -> float | None:
        """The longest that a worker may take in this mode; None: for ever."""
        spans = {"warm": self.shutdown_timeout, "soft": self.soft_margin, "hard": self.hard_margin}
        return spans[mode] + MARGIN if mode in spans else None


@value
class Start:
    """Start the process of a replica."""

    number: int
    #: Whether none was ready before: this one shows the banner.
    first: bool


@value
class Send:
    """Send a signal to the process of a replica."""

    number: int
    signal: Signals


@value
class Say:
    """Log a line."""

    level: int
    text: str


@value
class Refuse:
    """Tell the person why nothing runs: an error of theirs, once."""

    text: str


Action = Start | Send | Say | Refuse


@attrs.define(kw_only=True)
class _Replica:
    number: int
    #: Which rolling replacement it was started by; 0 for the first.
    generation: int
    state: Literal["waiting", "starting", "ready"] = "waiting"
    #: When a waiting one is to be started.
    due: float
    failures: int = 0
    ready_at: float = 0.0
    #: How far it was told to stop; empty: not at all.
    mode: _Mode | Literal[""] = ""
    #: When it has to have ended.
    limit: float | None = None


class Fleet:
    """Keeps ``size`` workers running, replaces them, stops them.

    Each method tells what happened and returns what is to be done. :meth:`advance` is to be called when :attr:`due`
    has come.

    Args:
        size: How many workers there should be.
        burst: They end by themselves when there is nothing more to do.
        hangup_stops: SIGHUP means that the terminal has gone, and not a rolling replacement.
        limits: What a worker's stop may take, until one says what it really has.
        jitter: Gives a number between its two arguments.
    """

    def __init__(
        self,
        size: int,
        clock: Clock,
        limits: Limits,
        *,
        burst: bool = False,
        hangup_stops: bool = False,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._size = size
        self._clock = clock
        self._limits = limits
        self._burst = burst
        self._hangup_stops = hangup_stops or burst
        self._jitter = jitter
        self._generation = 0
        #: Whether a replica was ever ready. Until then only one is tried: a mistake is told once.
        self._proven = False
        self._mode: _Mode | Literal[""] = ""
        #: What it comes to, whatever the replicas say: a refusal.
        self._refused: int | None = None
        self._codes: set[int] = set()
        now = clock.monotonic()
        self._replicas = {number: _Replica(number=number, generation=0, due=now) for number in range(1, size + 1)}

    @property
    def over(self) -> bool:
        """Whether every process has ended and none is to be started."""
        return not self._replicas

    @property
    def exit_code(self) -> int:
        """0 all drained, 1 an error, 2 or 3 refused, 4 started work was handed back."""
        if self._refused is not None:
            return self._refused
        return next((code for code in (FAILED, HANDED_BACK) if code in self._codes), DRAINED)

    @property
    def due(self) -> float | None:
        """The monotonic time at which :meth:`advance` has something to do; None: when something happens."""
        times = [replica.due for replica in self._startable()]
        times += [replica.limit for replica in self._replicas.values() if replica.limit is not None]
        return min(times, default=None)

    def advance(self) -> list[Action]:
        """Time has passed."""
        now = self._clock.monotonic()
        actions: list[Action] = []
        for replica in self._replicas.values():
            if replica.limit is not None and now >= replica.limit:
                replica.limit = None
                text = f"worker {replica.number} has not ended in time and is killed; what it held is delivered again"
                actions += [Say(level=logging.CRITICAL, text=text), Send(number=replica.number, signal=Signals.SIGKILL)]
        self._replace_one(now)
        for replica in list(self._startable()):
            if now >= replica.due:
                replica.state = "starting"
                actions.append(Start(number=replica.number, first=not self._proven))
        return actions

    def ready(self, number: int, limits: Limits) -> list[Action]:
        """A replica takes work from now on."""
        replica = self._replicas[number]
        replica.state = "ready"
        replica.ready_at = self._clock.monotonic()
        self._limits = limits
        actions: list[Action] = []
        if not self._proven:
            told = f"replicas: {self._size}" + ("" if self._hangup_stops else "; SIGHUP replaces one after another")
            actions.append(Say(level=logging.INFO, text=told))
        self._proven = True
        old = self._surplus()
        if old is not None:
            text = f"worker {old.number} stops: worker {number} has taken its place"
            actions += [Say(level=logging.INFO, text=text), *self._stop(old, "warm")]
        return actions + self.advance()

    def ended(self, number: int, status: int, how: str, refusal: str = "") -> list[Action]:
        """The process of a replica has ended.

        Args:
            number: Which.
            status: Its exit code; below 0 the signal that ended it.
            how: The same for people: ``was killed by SIGKILL``.
            refusal: What it cannot be started with, in its own words.
        """
        replica = self._replicas.pop(number)
        told = f"worker {number} {how}" + (f": {refusal}" if refusal else "")
        if replica.mode:
            return self._ended_as_told(replica, status, told) + self.advance()
        if status in REFUSALS and replica.state == "starting":
            return self._ended_refusing(status, refusal or f"{told} before it was ready") + self.advance()
        if self._burst and status in (DRAINED, HANDED_BACK):
            self._codes.add(status)
            return self.advance()
        if self._burst and not self._proven and status == FAILED:
            # None can start: as a single worker, and who waits for the end is told.
            self._codes.add(FAILED)
            return [Say(level=logging.ERROR, text=told), *self._stop_all("warm")]
        return self._ended_by_itself(replica, told) + self.advance()

    def signal(self, number: Signals) -> list[Action]:
        """The supervisor was sent a signal."""
        if number is Signals.SIGUSR1:
            return [
                Send(number=replica.number, signal=number)
                for replica in self._replicas.values()
                if replica.state == "ready"
            ]
        if number is Signals.SIGHUP and not self._hangup_stops:
            return self._roll()
        asked = _ASKED.get(number, "warm")
        behind = self._mode and _MODES.index(asked) <= _MODES.index(self._mode)
        mode = _MODES[min(_MODES.index(self._mode) + 1, len(_MODES) - 1)] if self._mode and behind else asked
        text = f"stopping all workers: {mode} ({number.name})"
        said: list[Action] = [] if mode == self._mode else [Say(level=logging.INFO, text=text)]
        return said + self._stop_all(mode)

    def _startable(self) -> Iterable[_Replica]:
        if self._proven:
            return [replica for replica in self._replicas.values() if replica.state == "waiting"]
        first = min(self._replicas.values(), key=lambda replica: replica.number, default=None)
        return () if first is None or first.state != "waiting" else (first,)

    def _roll(self) -> list[Action]:
        if self._mode:
            return []
        self._generation += 1
        for replica in self._replicas.values():
            if replica.state == "waiting":
                replica.generation = self._generation
        text = f"replacing {self._size} workers one after another (SIGHUP)"
        return [Say(level=logging.INFO, text=text), *self.advance()]

    def _replace_one(self, now: float) -> None:
        """The next step of a rolling replacement, when the one before is complete: there is room for one more."""
        outdated = any(replica.generation < self._generation for replica in self._replicas.values())
        if not outdated or self._mode or len(self._replicas) > self._size:
            return
        number = next(number for number in range(1, self._size + 2) if number not in self._replicas)
        self._replicas[number] = _Replica(number=number, generation=self._generation, due=now)

    def _surplus(self) -> _Replica | None:
        """The one to stop, when there is one more than there should be."""
        staying = [replica for replica in self._replicas.values() if not replica.mode]
        ready = sum(replica.state == "ready" for replica in staying)
        spare = [
            replica
            for replica in staying
            # One that is not ready is no loss; of the others so many have to stay.
            if replica.generation < self._generation and (replica.state != "ready" or ready > self._size)
        ]
        if self._mode or len(staying) <= self._size or not spare:
            return None
        return min(spare, key=lambda replica: (replica.state == "ready", replica.generation, replica.ready_at))

    def _stop_all(self, mode: _Mode) -> list[Action]:
        self._mode = mode
        return [action for replica in list(self._replicas.values()) for action in self._stop(replica, mode)]

    def _stop(self, replica: _Replica, mode: _Mode) -> list[Action]:
        if replica.state == "waiting":
            del self._replicas[replica.number]
            if replica.failures and self._mode:
                # It died and was not restored.
                self._codes.add(FAILED)
            return []
        if replica.mode and _MODES.index(mode) <= _MODES.index(replica.mode):
            return []
        replica.mode = mode
        # Until it is ready, other signals mean something else to it. It has nothing to wait for, nor to be quiet about.
        ready = replica.state == "ready"
        span = self._limits.of(mode if ready or mode != "quiet" else "warm")
        if span is not None:
            limit = self._clock.monotonic() + span
            replica.limit = limit if replica.limit is None else min(limit, replica.limit)
        return [Send(number=replica.number, signal=_SENT[mode] if ready else Signals.SIGTERM)]

    def _ended_as_told(self, replica: _Replica, status: int, told: str) -> list[Action]:
        never_began = replica.state == "starting" and status == -Signals.SIGTERM
        code = DRAINED if never_began else status if status in (DRAINED, HANDED_BACK) else FAILED
        if self._mode:
            self._codes.add(code)
        return [Say(level=logging.ERROR, text=told)] if code == FAILED else []

    def _ended_refusing(self, status: int, why: str) -> list[Action]:
        others = [other for other in self._replicas.values() if not other.mode]
        if len(others) >= self._size:
            # What was installed meanwhile does not work; what runs does.
            for other in others:
                other.generation = self._generation
            text = f"the workers are not replaced and stay: {why}"
            return [Say(level=logging.ERROR, text=text)]
        self._refused = status
        return [Refuse(text=why), *self._stop_all("warm")]

    def _ended_by_itself(self, replica: _Replica, told: str) -> list[Action]:
        staying = sum(not other.mode for other in self._replicas.values())
        if staying >= self._size and replica.generation < self._generation:
            return [Say(level=logging.ERROR, text=f"{told}; it was about to be replaced")]
        now = self._clock.monotonic()
        steady = replica.state == "ready" and now - replica.ready_at >= STEADY
        failures = 1 if steady else replica.failures + 1
        span = min(RETRY_CAP, RETRY_BASE * 2.0 ** min(failures - 1, 30))
        delay = self._jitter(span / 2, span)
        self._replicas[replica.number] = _Replica(
            number=replica.number, generation=self._generation, due=now + delay, failures=failures
        )
        text = f"{told}; starting it again in {delay:.1f} s" + (f" (failure {failures})" if failures > 1 else "")
        return [Say(level=logging.ERROR, text=text)]
