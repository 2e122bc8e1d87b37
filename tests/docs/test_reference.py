from __future__ import annotations

import importlib.util
import re
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
SPEC = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
generate = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(generate)


@pytest.mark.parametrize("name", sorted(set(generate.pages()) - {"cli.md"}))
def test_page_is_what_the_code_says(name):
    written = (REFERENCE / name).read_text(encoding="utf-8")
    assert written == generate.pages()[name](), f"docs/reference/{name} is stale: python docs/generate.py"


def test_commands_are_what_the_command_line_says():
    written, made = (REFERENCE / "cli.md").read_text(encoding="utf-8"), generate.command_line()
    pinned = re.search(r"^typer==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[1]
    if version("typer") == pinned:
        assert written == made, "docs/reference/cli.md is stale: python docs/generate.py"
    else:
        # The wording around commands and options is typer's own.
        words = re.compile(r"(?<!\S)--?[a-z][a-z-]*|^## `stem \w+`", re.MULTILINE)
        assert set(words.findall(written)) == set(words.findall(made))
