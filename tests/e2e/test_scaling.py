"""Slots of real workers: they follow the work, and are shared as was said."""

import signal

import pytest

from support import scenarios


@pytest.fixture
def process_site(site):
    site.app = "support.process_jobs:app"
    return site


async def test_the_concurrency_follows_the_work(site):
    await scenarios.autoscale(site)


async def test_lanes_of_a_real_worker(site):
    worker = site.worker(
        "-Q",
        "default,mail",
        "-Q",
        "bulk",
        "-X",
        "bulk",
        "--reserve",
        "mail=1",
        "--limit",
        "default=2",
        "-c",
        "4",
    )
    assert worker.wait_for_message("queues: default,mail")
    assert worker.wait_for_message("lanes: default (at most 2); mail (1 reserved)")
    await site.enqueue("hold", str(site.folder), count=10)
    site.ledger.wait_for("start", 2)
    await site.enqueue("hold", str(site.folder), count=5, queue="mail")
    # Two of the one and two of the other: the limit is held though a slot was free before.
    site.ledger.wait_for("start", 4)
    await site.enqueue("work", 0.0, queue="bulk")
    site.open_door(worker)
    site.ledger.wait_for("end", 15)
    assert len(site.ledger.events("start")) == 15
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0


async def test_children_follow_the_concurrency(process_site):
    site = process_site
    reserve = {"queues": "default,other", "reserve": "other=1"}
    worker = site.worker(
        "--autoscale", "2,3", processes=3, autoscale_interval="200ms", autoscale_idle="600ms", **reserve
    )
    assert worker.wait_for_message("processes (2 to 3 children)")
    site.ledger.wait_for("child-init", 2)
    await site.enqueue("work", 0.4, count=12)
    site.ledger.wait_for("child-init", 3)
    worker.wait_for_message("concurrency: 2 to 3: ")
    worker.wait_for_message("concurrency: 3 to 2: ")
    # The surplus child ends by itself; none was cut.
    site.ledger.wait_for("child-shutdown", 1)
    assert len(site.ledger.events("end")) == len(site.ledger.events("start")) == 12
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
