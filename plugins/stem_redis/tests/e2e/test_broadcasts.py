"""Broadcasts between workers on Redis."""

from support.fanout import check_fan_out
from support.worker_proc import Site


async def test_every_worker_that_listens_runs_a_copy(site: Site) -> None:
    await check_fan_out(site)
