"""Broadcasts between real processes, whatever the broker."""

from __future__ import annotations

import signal
from collections import Counter

from stem_core import Stem
from support.worker_proc import Site

ROUTING = """
[channels.live]

[channels.kept]
delivery = "retained"

[[routes]]
task = "work"
channel = "live"

[[routes]]
task = "mark"
channel = "kept"
"""


async def check_fan_out(site: Site) -> None:
    """Two workers run a copy each; one that starts later runs what is retained and nothing else of before."""
    config = site.folder / "routing.toml"
    config.write_text(ROUTING)
    site.environment["STEM_ROUTING_CONFIG"] = str(config)
    app = Stem("producer", broker_url=site.url, routing_config=str(config))
    listening = ("--broadcast", "live", "--broadcast", "kept")
    workers = [site.worker("--name", name, *listening) for name in ("a", "b")]
    async with app.open() as session:
        for task, arguments in (("work", [0.0]), ("mark", [])):
            await app.submit(app.call(task, arguments))
        site.ledger.wait_for("end", 2)
        site.ledger.wait_for("mark", 2)
        workers.append(site.worker("--name", "late", *listening))
        site.ledger.wait_for("mark", 3)
        await app.submit(app.call("work", [0.0]))
        site.ledger.wait_for("end", 5)
        assert await session.broker.queues() == []
    for worker in workers:
        worker.signal(signal.SIGTERM)
    assert [worker.wait() for worker in workers] == [0, 0, 0]
    ran = Counter((event["event"], event["worker"]) for event in site.ledger.events() if event["event"] != "start")
    assert ran == {("end", "a"): 2, ("end", "b"): 2, ("end", "late"): 1, **{("mark", w): 1 for w in ("a", "b", "late")}}
