"""Who may import whom; the table stands in pyproject.toml."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted([*ROOT.glob("stem_core/**/*.py"), *ROOT.glob("plugins/*/src/**/*.py")])
BANNED = {
    "dataclasses": "attrs, everywhere",
    "marshal": "payloads are JSON",
    "pickle": "payloads are JSON",
    "pydantic": "6 MB for what msgspec does",
    "shelve": "payloads are JSON",
}


def relative(path):
    return str(path.relative_to(ROOT))


def imports(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, (), node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "", tuple(alias.name for alias in node.names), node.lineno


def test_layers_are_kept(tmp_path):
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()"]
    done = subprocess.run(
        [*command, "--no-logo", "--cache-dir", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_the_sources_are_found():
    assert len(SOURCES) > 40


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_imports_nothing_banned(path):
    found = [
        f"{relative(path)}:{line}: {module}: {BANNED[module.partition('.')[0]]}"
        for module, _, line in imports(ast.parse(path.read_text()))
        if module.partition(".")[0] in BANNED
    ]
    assert not found


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_nobody_inside_imports_through_the_shop_window(path):
    inside = {entry.stem for entry in (ROOT / "stem_core").iterdir()}
    found = [
        f"{relative(path)}:{line}: from stem_core import {', '.join(names)}"
        for module, names, line in imports(ast.parse(path.read_text()))
        if module == "stem_core" and not set(names) <= inside
    ]
    assert not found
