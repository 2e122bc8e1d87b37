"""What commands write with ``--json``, held against the classes that the reference is made from."""

import json
from collections.abc import Iterator

import msgspec
import pytest
import typer

from stem_core.cli import shapes
from stem_core.cli.main import COMMANDS, command_line

APP = """
from stem_core import Stem, TaskContext
app = Stem('shop')

@app.task(queue='mail', max_retries=0, aliases=['old'], soft_time_limit=2.5)
async def send(ctx: TaskContext, text: str) -> str:
    ctx.progress(50, {'stage': 'pixels'})
    if text != 'well':
        raise ValueError(text)
    return text
"""
#: What is typed to see what the commands write; the last part of some is what they are about.
TYPED = {
    "enqueue": ("enqueue", "tasks.send", '["well"]'),
    "enqueue --wait": ("enqueue", "--wait", "tasks.send", '["well"]', "--id", "good"),
    "result": ("result", "bad"),
    "queues": ("queues",),
    "queues peek": ("queues", "peek", "mail"),
    "queues move": ("queues", "move", "mail", "other"),
    "queues purge": ("queues", "purge", "--yes", "mail"),
    "dlq list": ("dlq", "list"),
    "dlq show": ("dlq", "show", "--payload", "bad"),
    "dlq replay": ("dlq", "replay", "--all", "--yes"),
    "dlq purge": ("dlq", "purge", "--all", "--yes"),
    "dlq replay --dry-run": ("dlq", "replay", "--all", "--dry-run"),
    "dlq purge --dry-run": ("dlq", "purge", "--all", "--dry-run"),
    **{name: (name,) for name in ("tasks", "routes", "plugins", "settings", "health")},
}


@pytest.fixture
def shop(write, stem, shared):
    """A shop in which one job went well, one is dead, and one waits."""
    write("tasks.py", APP)

    def run(*arguments):
        return stem(*arguments, "-A", "tasks:app", *shared)

    for id, text in (("good", "well"), ("bad", "badly")):
        run("enqueue", "tasks.send", f'["{text}"]', "--id", id)
    run("worker", "--burst", "-Q", "mail", "-l", "critical")
    run("enqueue", "tasks.send", '["well"]', "--id", "waiting")
    return run


def takes_json(command, path=()) -> Iterator[str]:
    if any("--json" in option.opts for option in command.params):
        yield " ".join(path)
    for name, inner in getattr(command, "commands", {}).items():
        yield from takes_json(inner, (*path, name))


def test_each_command_that_writes_json_is_described():
    described = {name.partition(" --")[0] for name in shapes.WRITTEN}
    assert described == set(takes_json(typer.main.get_command(command_line(*COMMANDS))))
    assert shapes.WRITTEN.keys() == TYPED.keys()


@pytest.mark.parametrize("name", shapes.WRITTEN)
def test_what_is_written_is_what_is_described(shop, name):
    shape = shapes.WRITTEN[name]
    done = shop(*TYPED[name], "--json")
    rows = json.loads(done.out)
    assert rows
    for row in rows:
        assert list(row) == list(shape.__annotations__)
    msgspec.convert(rows, list[shape])
