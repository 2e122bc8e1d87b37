"""What is looked at once, when a server is opened: may it lose what it is given?"""

from __future__ import annotations

import logging
from typing import Any

import hiredis

from stem_core.errors import StoreError
from stem_redis.failures import refused
from stem_redis.link import Link

logger = logging.getLogger("stem_redis")

#: Servers that were warned about; once a process is enough.
_warned: set[tuple[str, str]] = set()


async def check(link: Link) -> None:
    """Look at the server's role, eviction policy and persistence.

    Raises:
        StoreRefused: it is a read-only replica, or evicts keys when its memory is full.
    """
    about = await _about(link)
    config = await _config(link)
    if about.get("role", "master") != "master":
        raise refused(link.address, "it is a read-only replica", "name the master in the URL")
    policy = config.get("maxmemory-policy") or about.get("maxmemory_policy", "")
    if policy and policy != "noeviction" and not link.address.settings.allow_eviction:
        raise refused(
            link.address,
            f"it evicts keys when its memory is full (maxmemory-policy {policy}), and with them tasks",
            "set maxmemory-policy noeviction on the server, or STEM_REDIS_ALLOW_EVICTION=1 to take the risk",
        )
    if not config:
        unknown = "persistence" if policy else "eviction policy and persistence"
        _warn_once(link, "config", f"{unknown} of %s unknown: the user may not read its configuration")
    elif config.get("appendonly") != "yes":
        if config.get("save"):
            _warn_once(
                link, "persistence", "%s keeps only snapshots: a crash loses what came after the last (appendonly no)"
            )
        else:
            _warn_once(link, "persistence", "%s does not persist anything: a restart loses all tasks (appendonly no)")


async def _about(link: Link) -> dict[str, str]:
    try:
        text = (await link.call("INFO")).decode(errors="replace")
    except StoreError as error:
        if _forbidden(error):
            return {}
        raise
    return {name: word for line in text.splitlines() for name, colon, word in [line.partition(":")] if colon}


async def _config(link: Link) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in ("maxmemory-policy", "appendonly", "save"):
        try:
            answer: Any = await link.call("CONFIG", "GET", name)
        except StoreError as error:
            if _forbidden(error):
                return {}
            raise
        pairs = answer.items() if isinstance(answer, dict) else zip(answer[::2], answer[1::2], strict=True)
        found.update({key.decode(): text.decode() for key, text in pairs})
    return found


def _forbidden(error: StoreError) -> bool:
    cause = error.__cause__
    # Managed servers rename what they do not allow, so it is unknown there.
    return isinstance(cause, hiredis.ReplyError) and (
        str(cause).startswith("NOPERM") or "unknown command" in str(cause).lower()
    )


def _warn_once(link: Link, kind: str, text: str) -> None:
    key = (str(link.address), kind)
    if key not in _warned:
        _warned.add(key)
        logger.warning(text, link.address)
