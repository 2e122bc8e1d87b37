"""Slots that follow the work, as on every broker."""

from support import scenarios


async def test_the_concurrency_follows_the_work(site):
    await scenarios.autoscale(site)
