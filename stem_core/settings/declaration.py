"""How a section of settings is declared: an attrs class whose fields are made by :func:`setting`."""

from __future__ import annotations

import re
from typing import Any, TypeVar, overload

import attrs

from stem_core.model._value import value
from stem_core.settings.parsers import Parser

T = TypeVar("T")

_METADATA = "stem_core.setting"
_SECTION_NAME = re.compile(r"[a-z][a-z0-9_]*")


@value
class _Declared:
    parse: Parser[Any]
    help: str
    env: tuple[str, ...]
    secret: bool
    unset: str
    option: str
    file_key: str


@overload
def setting(
    default: None,
    *,
    help: str,
    parse: Parser[T],
    env: tuple[str, ...] = ...,
    secret: bool = ...,
    unset: str = ...,
    option: str = ...,
    file_key: str = ...,
) -> T | None: ...
@overload
def setting(
    default: T,
    *,
    help: str,
    parse: Parser[T],
    env: tuple[str, ...] = ...,
    secret: bool = ...,
    unset: str = ...,
    option: str = ...,
    file_key: str = ...,
) -> T: ...
def setting(
    default: Any,
    *,
    help: str,
    parse: Parser[Any],
    env: tuple[str, ...] = (),
    secret: bool = False,
    unset: str = "not set",
    option: str = "",
    file_key: str = "",
) -> Any:
    """One field of a settings section.

    Args:
        default: The value when no source has one; not parsed.
        help: One line for ``--help`` and ``stem settings``.
        parse: Reads the value from every source, see :mod:`stem_core.settings.parsers`.
        env: More environment variables besides ``STEM_<SECTION>_<KEY>``, which goes first.
        secret: Never show the value anywhere.
        unset: What a default of None stands for, such as ``as many as CPUs``.
        option: The command line option; default ``--<key>`` with dashes.
        file_key: Where it stands in the file, when not as ``<key>`` in the table of the section (``table.key``).
    """
    declared = _Declared(parse=parse, help=help, env=env, secret=secret, unset=unset, option=option, file_key=file_key)
    careful = secret or parse.credentials
    return attrs.field(
        default=default,
        metadata={_METADATA: declared},
        # The sections are seen in debuggers, logs and failing asserts.
        repr=(lambda value: "***" if secret else repr(value and parse.show(value))) if careful else True,
    )


@value
class Key:
    """One setting of one section, with all that is known of it."""

    #: ``broker_url``, ``worker.concurrency``, ``sqlite.synchronous``.
    dotted: str
    #: Its argument in the section's class.
    name: str
    section: str
    default: Any
    parse: Parser[Any]
    help: str
    #: Environment variables, the first one that is set wins. Each may have ``_FILE`` behind it.
    environment: tuple[str, ...]
    #: Command line option, such as ``--shutdown-timeout``.
    option: str
    secret: bool
    unset: str
    #: Table (empty: top level) and key in the file.
    file_table: str
    file_name: str

    def show(self, value: Any) -> str:
        """The value for people; never a secret."""
        if value is None:
            return f"({self.unset})"
        if self.secret:
            return "***"
        return self.parse.show(value) or "(empty)"


def _keys(section: str, schema: type[Any]) -> tuple[Key, ...]:
    keys: list[Key] = []
    for field in attrs.fields(schema):
        declared: _Declared | None = field.metadata.get(_METADATA)
        if declared is None:
            raise TypeError(f"{schema.__qualname__}.{field.name} is not made by setting(...)")
        if not _SECTION_NAME.fullmatch(field.name):
            raise TypeError(f"{schema.__qualname__}.{field.name}: a setting is named in lower case with underscores")
        table, _, file_name = declared.file_key.rpartition(".")
        prefix = f"STEM_{section.upper()}_" if section else "STEM_"
        keys.append(
            Key(
                dotted=f"{section}.{field.name}" if section else field.name,
                name=field.name,
                section=section,
                default=field.default,
                parse=declared.parse,
                help=declared.help,
                environment=(prefix + field.name.upper(), *declared.env),
                option=declared.option or "--" + field.name.replace("_", "-"),
                secret=declared.secret,
                unset=declared.unset,
                file_table=table if declared.file_key else section,
                file_name=file_name or field.name,
            )
        )
    return tuple(keys)


@attrs.frozen(kw_only=True)
class SettingsSection:
    """What a plugin registers: the name of its section and the attrs class behind it.

    The name is the table in the file (``[sqlite]``) and the part of the variables (``STEM_SQLITE_...``).

    Raises:
        TypeError: the class or the name cannot be used for a section.
    """

    name: str
    schema: type[Any]
    #: Pairs of keys of this section: where both are set, the first may not be greater than the second.
    at_most: tuple[tuple[str, str], ...] = ()
    keys: tuple[Key, ...] = attrs.field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        if self.name and not _SECTION_NAME.fullmatch(self.name):
            raise TypeError(f"{self.name!r} is no name of a settings section; use lower case with underscores")
        if not attrs.has(self.schema):
            raise TypeError(f"the schema of the settings section {self.name!r} is no attrs class: {self.schema!r}")
        object.__setattr__(self, "keys", _keys(self.name, self.schema))
