import ast
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

import stem_core
from stem_core import errors

ROOT = Path(__file__).parents[3]
TREE = ast.parse((ROOT / "stem_core" / "__init__.py").read_text())


def imported_for_type_checkers():
    for node in ast.walk(TREE):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for statement in node.body:
                yield from ((name.name, statement.module) for name in statement.names)


def test_type_checkers_see_what_is_there():
    declared = dict(imported_for_type_checkers())
    assert sorted(declared) == stem_core.__all__
    for name, module in declared.items():
        assert getattr(stem_core, name) is getattr(import_module(module), name)


def test_every_error_is_sold():
    tree = {
        name for name, found in vars(errors).items() if isinstance(found, type) and found.__module__ == errors.__name__
    }
    assert tree <= set(stem_core.__all__)


def test_what_is_not_there():
    with pytest.raises(AttributeError, match=r"^module 'stem_core' has no attribute 'Celery'$"):
        _ = stem_core.Celery


def test_the_version_is_that_of_the_distribution():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert stem_core.__version__ == project["version"]
