"""The messages for settings that cannot be used: origin, dotted key, value, what is accepted. Never a secret."""

from __future__ import annotations

from collections.abc import Iterable

from stem_core.errors import InvalidSetting
from stem_core.model import mask
from stem_core.settings.declaration import Key
from stem_core.settings.origins import Found, Origin

_LONGEST_SHOWN = 80
_SECRET_WORDS = ("secret", "password", "passwd", "token", "key", "credential", "auth", "dsn")


def close_match(word: str, options: Iterable[str]) -> str | None:
    """The option that was probably meant, or None."""
    # Only paid for when something is wrong already.
    from difflib import get_close_matches

    return next(iter(get_close_matches(word, list(options), n=1, cutoff=0.7)), None)


def show_raw(raw: object, *, hidden: bool = False, credentials: bool = False) -> str:
    """A value that was not understood, for people. ``credentials``: it may hold some in any place."""
    if hidden:
        return "***"
    if isinstance(raw, dict):
        return "a table"
    if isinstance(raw, str) and "://" in raw:
        shown = repr(mask(raw))
    else:
        shown = repr(raw)
        if "://" in shown or (credentials and "@" in shown):
            return "***"
    return shown if len(shown) <= _LONGEST_SHOWN else shown[: _LONGEST_SHOWN - 3] + "..."


def invalid_value(key: Key, found: Found, *, hint: str = "") -> InvalidSetting:
    """A value that the parser of its setting refused."""
    raw = show_raw(found.raw, hidden=found.hidden or key.secret, credentials=key.parse.credentials)
    return InvalidSetting(
        f"{found.origin}: {found.key} = {raw}: expected {key.parse.accepts}",
        key=key.dotted,
        origin=str(found.origin),
        hint=hint,
    )


def exceeds(low: tuple[Key, object, Origin], high: tuple[Key, object, Origin]) -> InvalidSetting:
    """A value above that of another setting, which bounds it: both as key, value and origin."""
    (key, value, origin), (other, bound, bound_origin) = low, high
    return InvalidSetting(
        f"{origin}: {key.dotted} = {key.show(value)}: expected at most {other.dotted},"
        f" which is {other.show(bound)} ({bound_origin})",
        key=key.dotted,
        origin=str(origin),
        hint=f"change it, or set {other.dotted} ({other.environment[0]}) as well",
    )


def two_defaults(routing: tuple[str, Origin], setting: tuple[str, Origin]) -> InvalidSetting:
    """The routing configuration and the setting beside it name two default queues: both as name and origin."""
    (name, origin), (other, place) = routing, setting
    return InvalidSetting(
        f"{origin}: routing.default_queue = {name!r}, but default_queue = {other!r} ({place})",
        key="routing_config",
        origin=str(origin),
        hint="keep one of the two",
    )


def queue_is_channel(queue: tuple[str, Origin], origin: Origin) -> InvalidSetting:
    """A channel has the name of the default queue: that as name and origin, and the origin of the channel."""
    name, place = queue
    return InvalidSetting(
        f"{origin}: the channel {name!r} has the name of a queue: default_queue = {name!r} ({place})",
        key="routing_config",
        origin=str(origin),
        hint="give the channel another name",
    )


def unknown_key(origin: Origin, dotted: str, raw: object, keys: Iterable[Key]) -> InvalidSetting:
    """A key that its section does not have; ``keys`` are those that were possible there."""
    keys = list(keys)
    # A misspelt key may stand for a secret one, and nobody can tell which.
    hidden = any(key.secret for key in keys) or any(word in dotted.lower() for word in _SECRET_WORDS)
    if origin.kind == "environment":
        by_word = {key.name: key.environment[0] for key in keys}
        word = dotted.rpartition(".")[2].removesuffix("_file")
    elif origin.kind == "file":
        by_word = {key.file_name: f"{key.file_table}.{key.file_name}".lstrip(".") for key in keys}
        word = dotted.rpartition(".")[2]
    else:
        by_word = {key.name: key.dotted for key in keys}
        word = dotted.rpartition(".")[2]
    match = close_match(word, by_word)
    return InvalidSetting(
        f"{origin}: {dotted} = {show_raw(raw, hidden=hidden, credentials=True)}: there is no such setting",
        key=dotted,
        origin=str(origin),
        hint=f"did you mean {by_word[match]}?" if match else f"known settings: {', '.join(sorted(by_word.values()))}",
    )


def unknown_section(origin: Origin, name: str, tables: Iterable[str], missing: Iterable[str]) -> InvalidSetting:
    """A table in the file that belongs to nobody, neither to what is loaded nor to what is known to be missing."""
    known = sorted(filter(None, tables))
    match = close_match(name, (*known, *missing))
    return InvalidSetting(
        f"{origin}: [{name}]: there is no such section",
        key=name,
        origin=str(origin),
        hint=f"did you mean [{match}]?"
        if match
        else f"known sections: {', '.join(known)}; that of a plugin needs the plugin installed and selected",
    )


def no_table(origin: Origin, name: str, raw: object) -> InvalidSetting:
    """A plain value where the file has to have a table."""
    return InvalidSetting(
        f"{origin}: {name} = {show_raw(raw, credentials=True)}: expected a table [{name}]",
        key=name,
        origin=str(origin),
    )


def ownerless(origin: Origin, dotted: str, explanation: str) -> InvalidSetting:
    """A setting of a section whose plugin is not there. Its value may be a secret and is not shown."""
    remedy = "load the plugin, or remove the setting"
    if dotted.startswith("signing."):
        remedy += "; to run unsigned on purpose set STEM_SIGNING_POLICY=off"
    return InvalidSetting(f"{origin}: {dotted} is set, but {explanation}", key=dotted, origin=str(origin), hint=remedy)
