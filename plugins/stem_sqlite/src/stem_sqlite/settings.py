"""The settings section ``[sqlite]``."""

from __future__ import annotations

from typing import Literal

import attrs

from stem_core.settings import SettingsSection, parsers, setting


@attrs.frozen(kw_only=True)
class SqliteSettings:
    """Section ``[sqlite]``; ``STEM_SQLITE_<KEY>`` in the environment."""

    synchronous: Literal["full", "normal"] = setting(
        "full",
        parse=parsers.choice("full", "normal"),
        help="When a write is done: full, once it is on the disk; normal survives a crash of Stem, not of the machine.",
    )
    busy_timeout: float = setting(
        5.0,
        parse=parsers.duration(0.001),
        help="How long to wait for another process that is writing before a call fails as unavailable.",
    )
    poll_interval: float = setting(
        0.025,
        parse=parsers.duration(0.001),
        help="How often to look for changes of other processes where the file system has no named pipes.",
    )


SECTION = SettingsSection(name="sqlite", schema=SqliteSettings)
