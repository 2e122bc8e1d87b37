"""How the rows of bad input are shown in ``docs/reference/errors.md``."""

from __future__ import annotations

import re
from collections.abc import Iterable

from e2e.bad_input_cases import BadInput

#: What stands for what varies in the messages.
_EXAMPLES = {
    "{home}": "/home/you",
    "{pid}": "4711",
    "{host}": "web1",
    "{port}": "6379",
    "{seconds}": "2",
    "{size}": "2,377",
    "{time}": "2026-11-23T12:30:01.123+00:00",
}


def shown(cases: Iterable[BadInput]) -> str:
    """All rows as Markdown, those of a group under its heading."""
    parts: list[str] = []
    group = ""
    for case in cases:
        if case.group != group:
            group = case.group
            parts.append(f"\n### {group}\n")
        parts.append(_case(case))
    return "".join(parts)


def _case(case: BadInput) -> str:
    text = f"\n#### {case.name}\n\n"
    for name, content in case.files.items():
        text += f"`{name}`:\n\n```text\n{content}```\n\n"
    for name, script in case.databases.items():
        text += f"`{name}` was made with `{script}`.\n\n"
    if case.meanwhile:
        text += f"While `{case.meanwhile}` runs:\n\n"
    variables = "".join(f"{name}={value} " for name, value in case.environment.items())
    command = case.command if len(case.command) < 400 else re.sub(r"(x{10})x+", r"\1...", case.command)
    terminal = f"$ {variables}{command}\n{case.stderr}"
    for placeholder, example in _EXAMPLES.items():
        terminal = terminal.replace(placeholder, example)
    text += f"```text\n{terminal}```\n\nExit code {case.exit_code}."
    return f"{text} {case.about}".rstrip() + "\n"
