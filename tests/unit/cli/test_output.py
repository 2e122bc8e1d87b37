import io
import json
import sys

import pytest

from stem_core.cli import output

COLUMNS = {"name": "NAME", "items": "ITEMS"}
ROWS = [
    {"name": "plain", "items": ["a", "b"], "hidden": 1},
    {"name": "evil\x1b[2J\tand\nmore [red]", "items": None, "hidden": {"deep": True}},
]


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text", "plain text"),
        ("Grüße, 世界 🎉", "Grüße, 世界 🎉"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("a\tb\r\nc", "a\\tb\\r\\nc"),
        ("\x7f\x9b31m", "\\x7f\\x9b31m"),
        ("\u202eevil\u2066", "\\u202eevil\\u2066"),
        ("\u2028\udc80", "\\u2028\\udc80"),
        ("\U000e0001", "\\U000e0001"),
    ],
)
def test_nothing_steers_the_terminal(text, shown):
    assert output.clean(text) == shown


def test_messages_keep_their_lines(capsys):
    output.message("one\ntwo\x1b[0m\r")
    assert capsys.readouterr().err == "one\ntwo\\x1b[0m\\r\n"


def test_into_a_pipe_tab_separated(capsys):
    output.show(ROWS, COLUMNS, as_json=False)
    assert capsys.readouterr().out == "plain\ta, b\nevil\\x1b[2J\\tand\\nmore [red]\t\n"


def test_as_json_one_array_with_all_keys(capsys):
    output.show(ROWS, COLUMNS, as_json=True)
    written = capsys.readouterr().out
    assert json.loads(written) == ROWS
    assert written.isascii()
    assert "\x1b" not in written


def test_no_rows(capsys):
    output.show([], COLUMNS, as_json=True)
    output.show([], COLUMNS, as_json=False)
    assert capsys.readouterr().out == "[]\n"


def table(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    output.show(ROWS, COLUMNS, as_json=False)
    return terminal.getvalue()


def test_on_a_terminal_a_table(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    evil = "evil\\x1b[2J\\tand\\nmore [red]"
    assert [line.rstrip() for line in table(monkeypatch).splitlines()][-2:] == [f"{'plain':{len(evil)}}  a, b", evil]


def test_numbers_stand_at_the_right(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys, "stdout", Terminal())
    output.show([{"n": 5}, {"n": 1234}], {"n": "JOBS"}, as_json=False)
    assert sys.stdout.getvalue().splitlines()[1:] == ["   5", "1234"]


def test_cells():
    assert output.cell(None) == ""
    assert output.cell(True) == "yes"
    assert output.cell(False) == "no"
    assert output.cell((1, None, "x")) == "1, , x"
    assert output.cell({"a": [1]}) == "a: 1"
