from __future__ import annotations

import itertools
import sys
import textwrap

import pytest

from stem_core.errors import ConfigurationError, InvalidName
from stem_core.tasks import import_tasks

numbers = itertools.count()


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A fresh package of another name each time: a dict of relative file names to sources becomes its files."""
    name = f"shop{next(numbers)}"
    monkeypatch.syspath_prepend(tmp_path)

    def make(files):
        for path, source in ({"__init__.py": ""} | files).items():
            file = tmp_path / name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(textwrap.dedent(source).replace("PKG", name))
        return name

    yield make
    for module in [module for module in sys.modules if module.partition(".")[0] == name]:
        del sys.modules[module]


TREE = {
    "tasks.py": "",
    "mail/__init__.py": "",
    "mail/tasks.py": "",
    "mail/views.py": "raise RuntimeError('nobody asked for this module')",
    "money/__init__.py": "",
    "money/tasks/__init__.py": "",
    "money/tasks/refunds.py": "",
    "empty/__init__.py": "",
    "plain.py": "",
}


@pytest.mark.parametrize(
    ("patterns", "found"),
    [
        (["PKG.tasks"], ["PKG.tasks"]),
        (["PKG.*.tasks"], ["PKG.mail.tasks", "PKG.money.tasks"]),
        (["PKG.m*.tasks", "PKG.tasks", "PKG.mail.tasks"], ["PKG.mail.tasks", "PKG.money.tasks", "PKG.tasks"]),
        (["PKG.*.tasks.*"], ["PKG.money.tasks.refunds"]),
        (["PKG.m?il.[t]asks"], ["PKG.mail.tasks"]),
        (["PKG"], ["PKG"]),
        ([], []),
    ],
)
def test_the_modules_that_match_are_imported(package, patterns, found):
    name = package(TREE)
    assert import_tasks(pattern.replace("PKG", name) for pattern in patterns) == [
        it.replace("PKG", name) for it in found
    ]
    assert all(it.replace("PKG", name) in sys.modules for it in found)
    assert f"{name}.mail.views" not in sys.modules


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("PKG.gone", "include='PKG.gone': there is no module 'PKG.gone'"),
        ("PKG.gone.tasks", "include='PKG.gone.tasks': there is no module 'PKG.gone'"),
        ("PKG_gone.*.tasks", "include='PKG_gone.*.tasks': there is no module 'PKG_gone'"),
        ("PKG.*.gone", "include='PKG.*.gone' matches no module"),
        ("PKG.plain.*", "include='PKG.plain.*' matches no module"),
        ("*.tasks", "include='*.tasks' is no module pattern"),
        ("", "include='' is no module pattern"),
        (".tasks", "include='.tasks' is no module pattern"),
        ("PKG..tasks", "include='PKG..tasks' is no module pattern"),
    ],
)
def test_patterns_that_name_nothing(package, pattern, message):
    name = package(TREE)
    with pytest.raises(ConfigurationError) as caught:
        import_tasks([pattern.replace("PKG", name)])
    assert caught.value.message == message.replace("PKG", name)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("source", "message", "hint"),
    [
        (
            "import surely_not_installed",
            "include='PKG.tasks': PKG.tasks needs the module 'surely_not_installed', which is not installed",
            "install surely_not_installed",
        ),
        (
            "raise ValueError('no database')",
            "include='PKG.tasks': importing PKG.tasks raised ValueError: no database",
            "try: python -c 'import PKG.tasks'",
        ),
        (
            "def broken(:",
            "include='PKG.tasks': importing PKG.tasks raised SyntaxError: invalid syntax (tasks.py, line 1)",
            "try: python -c 'import PKG.tasks'",
        ),
    ],
)
def test_modules_that_cannot_be_imported(package, source, message, hint):
    name = package({"tasks.py": source})
    with pytest.raises(ConfigurationError) as caught:
        import_tasks([f"{name}.tasks"])
    assert caught.value.message == message.replace("PKG", name)
    assert caught.value.hint == hint.replace("PKG", name)
    assert caught.value.__cause__ is not None


def test_an_error_of_a_task_module_is_not_wrapped_twice(package):
    name = package({"tasks.py": "from stem_core.errors import InvalidName\nraise InvalidName('task', 'a b', 'better')"})
    with pytest.raises(InvalidName) as caught:
        import_tasks([f"{name}.tasks"])
    assert caught.value.message == "'a b' is no task name"
