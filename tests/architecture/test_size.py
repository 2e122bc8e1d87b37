"""Rooms stay small: a file that needs a table of contents is two files."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("stem_core/**", "plugins/*/src/**", "examples/**", "docs/**")
FILES = sorted(path for folder in FOLDERS for path in ROOT.glob(f"{folder}/*.py"))
MAX_FILE = 350
MAX_FUNCTION = 60


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_small(path):
    text = path.read_text()
    assert len(text.splitlines()) <= MAX_FILE
    long = [
        f"{node.name}: {node.end_lineno - node.lineno + 1} lines"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno - node.lineno >= MAX_FUNCTION
    ]
    assert not long
