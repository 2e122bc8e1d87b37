"""From what the user said to settings that are right, each knowing where it came from."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from stem_core.errors import ConfigurationError
from stem_core.model._value import value
from stem_core.settings import parsers, problems
from stem_core.settings.declaration import Key, SettingsSection
from stem_core.settings.origins import DEFAULT, Origin
from stem_core.settings.routing import read_routing
from stem_core.settings.schema import APP, WORKER, AppSettings, WorkerSettings
from stem_core.settings.sources import Sources, read_sources
from stem_core.settings.unknown import refuse_unknown, unknown_variables

logger = logging.getLogger("stem_core.settings")

_CORE = {key.dotted: key for key in (*APP.keys, *WORKER.keys)}

#: Sections that no plugin may register.
_RESERVED = frozenset({APP.name, WORKER.name, "plugins", "routing", "test"})


@value
class SettingRow:
    """One line of ``stem settings``; all texts are fit to be shown."""

    #: Dotted key.
    key: str
    #: The value, with secrets masked.
    value: str
    #: Such as ``environment STEM_WORKER_LEASE``.
    origin: str
    help: str
    #: The environment variable that sets it.
    variable: str
    #: What may be given.
    accepts: str


class Settings:
    """All settings of one app, resolved and checked. Immutable."""

    def __init__(self, sources: Sources, sections: Sequence[SettingsSection], missing: Mapping[str, str]) -> None:
        self._sources = sources
        self._plugin_sections = tuple(sections)
        self._missing = dict(missing)
        everything = (APP, WORKER, *sections)
        self._keys = {key.dotted: key for section in everything for key in section.keys}
        _refuse_clashes(sections, self._keys.values())
        refuse_unknown(sources, everything, self._missing)
        self._origins: dict[str, Origin] = {}
        self._sections = {section.name: self._build(section) for section in everything}
        #: The settings outside of any section.
        self.app: AppSettings = self._route(self._sections[""])
        self._sections[""] = self.app
        #: The section ``[worker]``.
        self.worker: WorkerSettings = self._sections["worker"]
        #: Absolute. Anchors relative things, such as the path of a default database: the folder of the nearest
        #: stem.toml or pyproject.toml from the current one upwards, else the current one.
        self.directory: Path = sources.directory

    def _build(self, section: SettingsSection) -> Any:
        values: dict[str, Any] = {}
        for key in section.keys:
            values[key.name], self._origins[key.dotted] = _value(self._sources, key)
        keys = {key.name: key for key in section.keys}
        for lesser, greater in section.at_most:
            low, high = values[lesser], values[greater]
            key, bound = keys[lesser], keys[greater]
            origins = self._origins[key.dotted], self._origins[bound.dotted]
            # A default gives way to what was set: only two values that somebody set can contradict each other.
            if low is None or high is None or any(origin.kind == "default" for origin in origins):
                continue
            if low > high:
                raise problems.exceeds((key, low, origins[0]), (bound, high, origins[1]))
        return section.schema(**values)

    def _route(self, app: AppSettings) -> AppSettings:
        """The same with the routing configuration read, and its default queue where nobody says another.

        That queue counts as set where the configuration was: a file that the environment names goes before the code.
        """
        found = self._sources.find(self._keys["routing_config"])
        if found is None:
            return app
        routing, origin = read_routing(found, self._sources)
        self._origins["routing_config"] = origin
        default = app.default_queue
        said, other = routing.default_queue, self._origins["default_queue"]
        if said is not None and origin.goes_before(other):
            default, self._origins["default_queue"] = said, origin
        elif said is not None and said != default and origin.kind == other.kind in ("code", "file"):
            raise problems.two_defaults((said, origin), (default, other))
        if default in routing.channels:
            raise problems.queue_is_channel((default, self._origins["default_queue"]), origin)
        routed: AppSettings = attrs.evolve(app, routing_config=routing, default_queue=default)
        return routed

    @property
    def sections(self) -> Mapping[str, Any]:
        """The objects of all sections by name; ``""`` is :attr:`app`."""
        return self._sections

    @property
    def keys(self) -> Mapping[str, Key]:
        """What is known of each setting, by dotted key."""
        return self._keys

    @property
    def file(self) -> Path | None:
        """The file that was read, or None."""
        return self._sources.file.path if self._sources.file else None

    def section(self, name: str) -> Any:
        """The object of a plugin's section.

        Raises:
            KeyError: no loaded plugin registered this section.
        """
        return self._sections[name]

    def get(self, key: str) -> Any:
        """The value of a dotted key. Raises KeyError for an unknown one."""
        known = self._keys[key]
        return getattr(self._sections[known.section], known.name)

    def origin(self, key: str) -> Origin:
        """Where the value of a dotted key came from. Raises KeyError for an unknown one."""
        return self._origins[key]

    def rows(self) -> list[SettingRow]:
        """Every setting with its origin, in the order of declaration; the app's first, then the worker's."""
        return [
            SettingRow(
                key=dotted,
                value=key.show(self.get(dotted)),
                origin=str(self._origins[dotted]),
                help=key.help,
                variable=key.environment[0],
                accepts=key.parse.accepts,
            )
            for dotted, key in self._keys.items()
        ]

    def overlay(
        self,
        command_line: Mapping[str, object] | None = None,
        code: Mapping[str, object] | None = None,
        code_origin: str = "",
    ) -> Settings:
        """Resolved anew with more values by dotted key; file and environment are not read again.

        A later value goes before an earlier one of its kind; precedence between kinds stays. None is not a value.

        Raises:
            InvalidSetting: as :func:`resolve`.
        """
        sources = self._sources.overlay(command_line or {}, code or {}, code_origin)
        return Settings(sources, self._plugin_sections, self._missing)

    def __repr__(self) -> str:
        said = [row.key for row in self.rows() if row.origin != "default"]
        return f"<Settings of {self.directory}: {', '.join(said) or 'all defaults'}>"


def resolve(
    sections: Sequence[SettingsSection] = (),
    *,
    command_line: Mapping[str, object] | None = None,
    code: Mapping[str, object] | None = None,
    code_origin: str = "",
    environ: Mapping[str, str] | None = None,
    directory: Path | None = None,
    file: Path | None = None,
    missing_sections: Mapping[str, str] | None = None,
) -> Settings:
    """Resolve all settings: command line > environment > code > file > default.

    Args:
        sections: Those of the loaded plugins; the core's own are always there.
        command_line: Values by dotted key; None is not a value.
        code: Values by dotted key; None is not a value.
        code_origin: Where ``code`` stands, such as ``tasks.py:5``.
        environ: Instead of ``os.environ``.
        directory: Where the search for stem.toml or pyproject.toml begins, going upwards; default the current folder.
        file: Read this file instead of searching.
        missing_sections: Sections of plugins that are not loaded, with the reason as the rest of a sentence
            ("the plugin 'sqlite' is not installed; pip install ..."). Setting anything of one is an error with that
            reason; an empty reason lets it pass, for a plugin whose being broken is reported elsewhere.

    Raises:
        InvalidSetting: a value that cannot be parsed or clashes with another, a key or section that nobody knows or
            whose plugin is not loaded, an unknown ``STEM_WORKER_*`` or variable of a plugin's section, a broken file.

    Other unknown ``STEM_*`` variables are one warning of the logger ``stem_core.settings``.
    """
    sources = read_sources(
        command_line=command_line,
        code=code,
        code_origin=code_origin,
        environ=environ,
        directory=directory,
        file=file,
    )
    return resolve_sources(sources, sections, missing_sections=missing_sections)


def resolve_sources(
    sources: Sources, sections: Sequence[SettingsSection] = (), *, missing_sections: Mapping[str, str] | None = None
) -> Settings:
    """As :func:`resolve`, from sources that were read before."""
    settings = Settings(sources, sections, missing_sections or {})
    if unknown := unknown_variables(sources, settings.keys.values(), missing_sections or {}):
        logger.warning("environment variables that no setting answers to, ignored: %s", ", ".join(unknown))
    return settings


def peek(sources: Sources, key: str) -> tuple[Any, Origin]:
    """The value and origin of one setting of the core, such as ``plugins``, before the sections of plugins are known.

    Raises:
        KeyError: no setting of the core.
        InvalidSetting: its value cannot be parsed.
    """
    return _value(sources, _CORE[key])


def _value(sources: Sources, key: Key) -> tuple[Any, Origin]:
    found = sources.find(key)
    if found is None:
        return key.default, DEFAULT
    try:
        return key.parse(found.raw), found.origin
    except parsers.NotAccepted as refused:
        # The parser's own words may hold the value, and that may be a secret.
        raise problems.invalid_value(key, found, hint=refused.hint) from None


def _refuse_clashes(sections: Sequence[SettingsSection], keys: Iterable[Key]) -> None:
    names = [section.name for section in sections]
    for name in names:
        if name in _RESERVED:
            raise ConfigurationError(f"a plugin registers the settings section {name!r}, which is the core's own")
        if names.count(name) > 1:
            raise ConfigurationError(f"the settings section {name!r} is registered twice")
    owners: dict[str, str] = {}
    for key in keys:
        for variable in key.environment:
            owner = owners.setdefault(variable, key.dotted)
            if owner != key.dotted:
                raise ConfigurationError(f"{variable} would set both {owner} and {key.dotted}")
