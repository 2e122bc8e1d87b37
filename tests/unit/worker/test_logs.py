import io
import json
import logging

import pytest

from stem_core import TaskContext
from stem_core.tasks.context import current
from stem_core.worker.logs import JsonFormatter, TextFormatter, configure_logging


def record(message="hello", **given):
    return logging.makeLogRecord({"name": "app", "levelname": "INFO", "levelno": 20, "msg": message, **given})


@pytest.fixture
def in_a_task():
    ctx = TaskContext.local(task="mail.send", attempt=2, worker="w1")
    token = current.set(ctx)
    yield ctx
    current.reset(token)


class TestJson:
    def line(self, made):
        text = JsonFormatter("w1").format(made)
        assert "\n" not in text
        return json.loads(text)

    def test_outside_of_tasks(self):
        line = self.line(record("to %s", args=("you",)))
        del line["time"]
        assert line == {"level": "info", "logger": "app", "message": "to you", "worker": "w1"}

    def test_inside_a_task(self, in_a_task):
        line = self.line(record())
        assert (line["task_id"], line["task"], line["attempt"], line["queue"], line["worker"]) == (
            in_a_task.id,
            "mail.send",
            2,
            "local",
            "w1",
        )

    def test_an_exception_stays_on_its_line(self):
        try:
            raise ValueError("broken")
        except ValueError as error:
            line = self.line(record(exc_info=(ValueError, error, error.__traceback__)))
        assert line["exception"].endswith("ValueError: broken")

    def test_what_was_given_as_extra_is_there(self):
        assert self.line(record(answer=42, tags=["a"]))["tags"] == ["a"]

    def test_what_json_cannot_carry_is_shown(self):
        assert self.line(record(thing=object))["thing"] == "<class 'object'>"

    @pytest.mark.parametrize("odd", ["file \ud800.txt", "\x00", "line\nbreak", "\x1b[31m"])
    def test_no_text_breaks_the_line(self, odd):
        line = self.line(record(odd, extra_text=odd, number=7))
        assert line["message"] == line["extra_text"] == odd.replace("\ud800", "\\ud800")
        assert line["number"] == 7

    def test_what_contains_itself_breaks_nothing(self):
        loop = []
        loop.append(loop)
        assert self.line(record(loop=loop))["loop"] == "[[...]]"


class TestText:
    def test_a_line_names_the_task(self, in_a_task):
        text = TextFormatter().format(record())
        assert text.endswith(f"[task=mail.send id={in_a_task.id} attempt=2 queue=local worker=w1]")

    def test_outside_of_tasks(self):
        assert TextFormatter().format(record()).endswith("INFO    hello")

    def test_one_of_several_workers_is_named_on_each_line(self, request):
        assert TextFormatter("w1").format(record()).endswith("INFO    hello  [worker=w1]")
        request.getfixturevalue("in_a_task")
        assert TextFormatter("w1").format(record()).count("worker=w1") == 1


class TestConfiguring:
    @pytest.fixture(autouse=True)
    def as_before(self):
        root = logging.getLogger()
        handlers, level = list(root.handlers), root.level
        aio = logging.getLogger("asyncio").level
        yield
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.getLogger("asyncio").setLevel(aio)

    @pytest.mark.parametrize(
        ("form", "terminal", "json_lines"),
        [("auto", True, False), ("auto", False, True), ("text", False, False), ("json", True, True)],
    )
    def test_the_form_follows_the_terminal_unless_it_is_said(self, form, terminal, json_lines):
        class Stream(io.StringIO):
            def isatty(self):
                return terminal

        stream = Stream()
        configure_logging("info", form, "w1", stream)
        logging.getLogger("x").info("hello")
        assert stream.getvalue().startswith("{") is json_lines

    def test_the_level_holds(self):
        stream = io.StringIO()
        configure_logging("warning", "text", "w1", stream)
        logging.getLogger("x").info("no")
        logging.getLogger("x").warning("yes")
        assert "yes" in stream.getvalue()
        assert "no" not in stream.getvalue()
