"""Settings: declared once, read from everywhere, each value knowing where it came from.

A plugin declares its own section with :func:`setting` and :mod:`~stem_core.settings.parsers`::

    @attrs.frozen(kw_only=True)
    class SqliteSettings:
        synchronous: str = setting("full", parse=parsers.choice("full", "normal"), help="How safe a commit is.")


    SECTION = SettingsSection(name="sqlite", schema=SqliteSettings)
"""

from __future__ import annotations

from stem_core.settings import parsers
from stem_core.settings.declaration import Key, SettingsSection, setting
from stem_core.settings.origins import Origin, OriginKind
from stem_core.settings.parsers import Parser
from stem_core.settings.resolve import SettingRow, Settings, peek, resolve, resolve_sources
from stem_core.settings.schema import APP, WORKER, AppSettings, WorkerSettings
from stem_core.settings.sources import Sources, read_sources

__all__ = [
    "APP",
    "WORKER",
    "AppSettings",
    "Key",
    "Origin",
    "OriginKind",
    "Parser",
    "SettingRow",
    "Settings",
    "SettingsSection",
    "Sources",
    "WorkerSettings",
    "parsers",
    "peek",
    "read_sources",
    "resolve",
    "resolve_sources",
    "setting",
]
