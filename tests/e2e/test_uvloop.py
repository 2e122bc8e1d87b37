"""Workers of programs that run on uvloop: their signals, and that they end as others do."""

import signal

import pytest

from support.until import until
from support.worker_proc import Stopwatch

pytestmark = pytest.mark.slow


@pytest.fixture
def worker(site):
    """Starts a worker whose application installs uvloop."""
    site.app = "support.uvloop_jobs:app"

    def start(*arguments):
        return site.worker("-c", "2", *arguments)

    return start


@pytest.mark.parametrize("strategy", ["event_loop", "threads", "processes"])
async def test_sigterm_drains(site, worker, strategy):
    running = worker("-P", strategy, "--processes", "2")
    door = site.folder / "go"
    task = "finishing_coroutine" if strategy == "event_loop" else "finishing"
    ids = await site.enqueue(task, str(door), count=2)
    site.ledger.wait_for("start", 2)
    running.signal(signal.SIGTERM)
    running.wait_for_message("stopping: warm")
    door.touch()
    assert running.wait() == 0
    assert [(await site.status(id)).state for id in ids] == ["succeeded"] * 2


async def test_a_signal_is_heard_while_the_loop_is_blocked(site, worker):
    # Only the C handler can tell of the signal then, and uvloop wants its byte for itself.
    running = worker("-P", "event_loop")
    await site.enqueue("locked_coroutine", str(site.folder / "never"))
    site.ledger.wait_for("start", 1)
    watch = Stopwatch()
    running.signal(signal.SIGQUIT)
    assert running.wait() == 4
    assert watch.seconds < 3
    await until(lambda: not running.alive)


async def test_a_handler_of_the_application_does_not_take_the_signals_away(site):
    # Whoever adds a handler to a loop gets the bytes of all signals: asyncio's own loop does it too.
    site.app = "support.handling_jobs:app"
    running = site.worker("-c", "2")
    running.signal(signal.SIGUSR2)
    site.ledger.wait_for("usr2", 1)
    running.signal(signal.SIGTERM)
    assert running.wait() == 0
