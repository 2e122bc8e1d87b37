"""Tasks that fork: the child ends where the function ends, and never runs on as a second worker."""

import subprocess
import sys
import textwrap

import pytest

PROGRAM = """
import asyncio, os, sys
from stem_core import Stem, Worker
app = Stem("forks", plugins=[], broker_url="memory://forks", default_max_retries=0)

def forked(child):
    pid = os.fork()
    if pid == 0:
        child()
        return "child"
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def fails():
    raise ValueError("of the child")

CHILDREN = {"returns": lambda: None, "exits": lambda: sys.exit(7), "fails": fails}

@app.task(name="thread")
def thread(child: str) -> int:
    return forked(CHILDREN[child])

@app.task(name="loop")
async def loop(child: str) -> int:
    return forked(CHILDREN[child])

async def main():
    async with app.open():
        handle = await app.enqueue(*sys.argv[1:])
        await Worker(app).run_until_idle()
        print(await handle.result(timeout=5))

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("child", "code", "said"), [("returns", 0, ""), ("exits", 7, ""), ("fails", 1, "of the child")]
)
@pytest.mark.parametrize("task", ["thread", "loop"])
def test_the_child_ends_with_the_function(task, child, code, said):
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(PROGRAM), task, child],
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )
    assert (done.stdout, done.returncode) == (f"{code}\n", 0)
    assert said in done.stderr
    assert done.stderr.count("Traceback") == (1 if said else 0)
