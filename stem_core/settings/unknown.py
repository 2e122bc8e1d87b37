"""Nothing vanishes silently: what was said and has no setting that would hear it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from stem_core.settings import problems
from stem_core.settings.declaration import Key, SettingsSection
from stem_core.settings.origins import Origin
from stem_core.settings.sources import ConfigFile, Sources

_SIGNING = "signing"
_NO_SIGNER = "no signing plugin is loaded, so nothing would be signed or verified"


def refuse_unknown(sources: Sources, sections: Sequence[SettingsSection], missing: Mapping[str, str]) -> None:
    """Raise for the first thing that was said and cannot be heard.

    Args:
        sources: What was said.
        sections: All sections there are, the core's included.
        missing: Sections of plugins that are not loaded, with the reason; an empty one lets them pass.

    Raises:
        InvalidSetting: an unknown key or section, or one whose plugin is not loaded.
    """
    by_section = {section.name: section.keys for section in sections}
    reasons = dict(missing)
    if _SIGNING not in by_section:
        # A rule of the core itself: whoever asked for signatures must not get unsigned messages by any mishap.
        reasons[_SIGNING] = "" if _signing_is_off(sources) else missing.get(_SIGNING) or _NO_SIGNER
    _check_given(sources.command_line, Origin(kind="command-line"), by_section, reasons)
    _check_environment(sources, by_section, reasons)
    for dotted, (raw, place) in sources.code.items():
        _check_given({dotted: raw}, Origin(kind="code", detail=place), by_section, reasons)
    if sources.file is not None:
        _check_file(sources.file, by_section, reasons)


def unknown_variables(sources: Sources, keys: Iterable[Key], missing: Mapping[str, str]) -> list[str]:
    """The ``STEM_*`` variables that nobody hears, each with what was probably meant. ``STEM_TEST_*`` is free."""
    known = {variable for key in keys for variable in key.environment}
    prefixes = ("STEM_TEST_", *(_prefix(name) for name in (*missing, _SIGNING)))
    return [
        f"{name} (did you mean {match}?)" if (match := problems.close_match(name, known)) else name
        for name in sorted(sources.environ)
        if name not in known and name.removesuffix("_FILE") not in known and not name.startswith(prefixes)
    ]


def _prefix(section: str) -> str:
    return f"STEM_{section.upper()}_"


def _signing_is_off(sources: Sources) -> bool:
    said = sources.command_line.get("signing.policy") or sources.environ.get("STEM_SIGNING_POLICY")
    if said is None and "signing.policy" in sources.code:
        said = sources.code["signing.policy"][0]
    if said is None and sources.file is not None:
        table = sources.file.data.get(_SIGNING)
        said = table.get("policy") if isinstance(table, dict) else None
    return isinstance(said, str) and said.strip().lower() == "off"


def _check_given(
    given: Mapping[str, object],
    origin: Origin,
    by_section: Mapping[str, Sequence[Key]],
    reasons: Mapping[str, str],
) -> None:
    for dotted, raw in given.items():
        section = dotted.rpartition(".")[0]
        keys = by_section.get(section, ())
        if any(key.dotted == dotted for key in keys):
            continue
        if section in by_section or section not in reasons:
            raise problems.unknown_key(origin, dotted, raw, keys or by_section[""])
        if reasons[section]:
            raise problems.ownerless(origin, dotted, reasons[section])


def _check_environment(sources: Sources, by_section: Mapping[str, Sequence[Key]], reasons: Mapping[str, str]) -> None:
    known = {variable for keys in by_section.values() for key in keys for variable in key.environment}
    # The longest first, so that a section named redis does not take the variables of one named redis_cluster.
    owners = sorted({name for name in (*by_section, *reasons) if name}, key=len, reverse=True)
    for name in sorted(sources.environ):
        if name in known or name.removesuffix("_FILE") in known:
            continue
        section = next((owner for owner in owners if name.startswith(_prefix(owner))), "")
        if not section:
            continue
        origin = Origin(kind="environment", detail=name)
        dotted = f"{section}.{name.removeprefix(_prefix(section)).lower()}"
        if section in by_section:
            raise problems.unknown_key(origin, dotted, sources.environ[name], by_section[section])
        if reasons[section]:
            raise problems.ownerless(origin, dotted, reasons[section])


def _check_file(file: ConfigFile, by_section: Mapping[str, Sequence[Key]], reasons: Mapping[str, str]) -> None:
    tables: dict[str, list[Key]] = {name: [] for name in by_section}
    for keys in by_section.values():
        for key in keys:
            tables.setdefault(key.file_table, []).append(key)
    top = {key.file_name for key in tables[""]}
    for name, raw in file.data.items():
        if name in top:
            continue
        if name in tables and name:
            if not isinstance(raw, dict):
                raise problems.no_table(file.origin(""), name, raw)
            _check_table(file, name, raw, tables[name])
        elif name in reasons:
            if reasons[name]:
                first = next(iter(raw), "") if isinstance(raw, dict) else ""
                raise problems.ownerless(file.origin(name), f"{name}.{first}".rstrip("."), reasons[name])
        elif isinstance(raw, dict):
            raise problems.unknown_section(file.origin(""), name, (*tables, "routing"), reasons)
        else:
            raise problems.unknown_key(file.origin(""), name, raw, tables[""])


def _check_table(file: ConfigFile, name: str, table: Mapping[str, object], keys: Sequence[Key]) -> None:
    known = {key.file_name for key in keys}
    for key, raw in table.items():
        if key not in known:
            raise problems.unknown_key(file.origin(name), f"{name}.{key}", raw, keys)
