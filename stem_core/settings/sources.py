"""What the user said, and where: command line, environment, code, file. Read once, looked up by key."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from stem_core.errors import InvalidSetting
from stem_core.model._value import value
from stem_core.settings.declaration import Key
from stem_core.settings.origins import Found, Origin

_TOML_POSITION = re.compile(r"(.*) \(at (?:line (\d+), column (\d+)|(end of document))\)", re.DOTALL)


@value
class ConfigFile:
    """A file that was read."""

    path: Path
    #: How messages call it: its name when it lies in the folder the search began in, else its whole path.
    shown: str
    #: Where the settings stand in it: empty, or ``tool.stem``.
    root: str
    data: dict[str, Any] = attrs.field(repr=False)

    def origin(self, table: str) -> Origin:
        """The origin of what stands in ``table`` (empty: outside of a table)."""
        place = ".".join(filter(None, (self.root, table)))
        return Origin(kind="file", detail=f"{self.shown} [{place}]" if place else self.shown)


@value
class Sources:
    """All that the user said. Values are raw; nothing is checked yet."""

    command_line: Mapping[str, object] = attrs.field(repr=False)
    #: The variables whose names begin with ``STEM_``.
    environ: Mapping[str, str] = attrs.field(repr=False)
    #: Each with the place in the code it came from, such as ``tasks.py:5``.
    code: Mapping[str, tuple[object, str]] = attrs.field(repr=False)
    file: ConfigFile | None
    #: Anchors relative things: the folder of the nearest stem.toml or pyproject.toml, else where the search began.
    directory: Path
    #: TOML files that settings name, as they were when they were first read.
    read: dict[Path, dict[str, Any]] = attrs.field(factory=dict, repr=False, hash=False)

    def find(self, key: Key) -> Found | None:
        """What the strongest source says: command line > environment > code > file. None: nobody says anything."""
        if key.dotted in self.command_line:
            origin = Origin(kind="command-line", detail=key.option)
            return Found(raw=self.command_line[key.dotted], origin=origin, key=key.dotted)
        for variable in key.environment:
            if found := self._variable(key, variable):
                return found
        if key.dotted in self.code:
            raw, place = self.code[key.dotted]
            return Found(raw=raw, origin=Origin(kind="code", detail=place), key=key.dotted)
        if self.file is not None:
            table = self.file.data.get(key.file_table) if key.file_table else self.file.data
            if isinstance(table, dict) and key.file_name in table:
                dotted = f"{key.file_table}.{key.file_name}" if key.file_table else key.file_name
                return Found(raw=table[key.file_name], origin=self.file.origin(key.file_table), key=dotted)
        return None

    def toml(self, path: Path, found: Found) -> tuple[dict[str, Any], str]:
        """The content of a file that the value ``found`` names, and how messages call it. Read once.

        Raises:
            InvalidSetting: it cannot be read, or is no TOML.
        """
        shown = path.name if path.parent == self.directory else str(path)
        if path not in self.read:
            config = ConfigFile(path=path, shown=shown, root="", data={})
            try:
                self.read[path] = _decode(config, path.read_bytes())
            except OSError as error:
                raise InvalidSetting(
                    f"{found.origin}: {found.key} = {str(path)!r}: the file cannot be read: {_reason(error)}",
                    key=found.key,
                    origin=str(found.origin),
                    hint="give the path of a TOML file that can be read",
                ) from error
        return self.read[path], shown

    def _variable(self, key: Key, variable: str) -> Found | None:
        path = self.environ.get(f"{variable}_FILE")
        if path is None:
            raw = self.environ.get(variable)
            origin = Origin(kind="environment", detail=variable)
            return None if raw is None else Found(raw=raw, origin=origin, key=key.dotted)
        origin = Origin(kind="environment", detail=f"{variable}_FILE")
        if variable in self.environ:
            raise InvalidSetting(
                f"{origin}: {key.dotted} is set twice, by {variable} and by {variable}_FILE",
                key=key.dotted,
                origin=str(origin),
                hint="unset one of the two variables",
            )
        try:
            content = Path(path).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, ValueError) as error:
            raise InvalidSetting(
                f"{origin}: {key.dotted}: the file {path!r} cannot be read: {_reason(error)}",
                key=key.dotted,
                origin=str(origin),
                hint=f"give a readable text file, or set {variable} itself",
            ) from error
        return Found(raw=content, origin=origin, key=key.dotted, hidden=True)

    def overlay(self, command_line: Mapping[str, object], code: Mapping[str, object], code_origin: str = "") -> Sources:
        """The same with more values, each going before an older one of its kind."""
        return Sources(
            command_line={**self.command_line, **_given(command_line)},
            environ=self.environ,
            code={**self.code, **{key: (raw, code_origin) for key, raw in _given(code).items()}},
            file=self.file,
            directory=self.directory,
            read=self.read,
        )


def read_sources(
    *,
    command_line: Mapping[str, object] | None = None,
    code: Mapping[str, object] | None = None,
    code_origin: str = "",
    environ: Mapping[str, str] | None = None,
    directory: Path | None = None,
    file: Path | None = None,
) -> Sources:
    """Gather what was said. A value of None on the command line or in code counts as not given.

    Args:
        command_line: By dotted key.
        code: By dotted key.
        code_origin: The place of ``code``, such as ``tasks.py:5``.
        environ: Instead of ``os.environ``.
        directory: Where the search for a file begins; default the current folder.
        file: Read exactly this file; nothing is searched for.

    Raises:
        InvalidSetting: a file that cannot be read or is no TOML, or two files in one folder.
    """
    start = (directory or Path.cwd()).resolve()
    config, anchor = _find_file(start) if file is None else (_load(file.absolute(), start), file.absolute().parent)
    everything = os.environ if environ is None else environ
    return Sources(
        command_line={},
        environ={name: text for name, text in everything.items() if name.startswith("STEM_")},
        code={},
        file=config,
        directory=anchor,
    ).overlay(command_line or {}, code or {}, code_origin)


def _given(values: Mapping[str, object]) -> dict[str, object]:
    return {key: raw for key, raw in values.items() if raw is not None}


def _find_file(start: Path) -> tuple[ConfigFile | None, Path]:
    for folder in (start, *start.parents):
        candidates = [path for name in ("stem.toml", "pyproject.toml") if _is_file(path := folder / name)]
        if not candidates:
            continue
        files = [config for path in candidates if (config := _load(path, start)) is not None]
        if len(files) > 1:
            origin = files[0].origin("")
            raise InvalidSetting(
                f"{origin}: {files[1].shown} has settings too, in [tool.stem]",
                origin=str(origin),
                hint="keep all settings in one of the two files",
            )
        return (files[0] if files else None), folder
    return None, start


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a folder further up that this user may not look into
        return False


def _load(path: Path, start: Path) -> ConfigFile | None:
    """The settings in the file; None for a pyproject.toml without any."""
    root = "tool.stem" if path.name == "pyproject.toml" else ""
    config = ConfigFile(path=path, shown=path.name if path.parent == start else str(path), root=root, data={})
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _unusable(config, f"cannot be read: {_reason(error)}", "make it readable, or remove it") from error
    # Most files of other people have nothing for us; they need not be parsed, and may even be wrong.
    if root and b"stem" not in content:
        return None
    data: Any = _decode(config, content)
    if root:
        tool = data.get("tool")
        data = tool.get("stem") if isinstance(tool, dict) else None
        if data is None:
            return None
        if not isinstance(data, dict):
            raise _unusable(config, "tool.stem: expected a table [tool.stem]", "write [tool.stem]")
    return ConfigFile(path=path, shown=config.shown, root=root, data=data)


def _decode(config: ConfigFile, content: bytes) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _unusable(config, f"line {line}: not encoded as UTF-8", "save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        match = _TOML_POSITION.fullmatch(str(error))
        where, what = "", str(error)
        if match:
            last = content.rstrip(b"\n").count(b"\n") + 1
            where = f"line {match[2]}, column {match[3]}: " if match[2] else f"line {last}: "
            what = match[1]
        raise _unusable(config, f"{where}not valid TOML: {what}", "correct that line") from error


def _unusable(config: ConfigFile, what: str, hint: str) -> InvalidSetting:
    origin = f"file {config.shown}"
    return InvalidSetting(f"{origin}: {what}", origin=origin, hint=hint)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return "not encoded as UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
