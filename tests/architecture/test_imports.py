"""Every module can be imported alone, and light doors stay light."""

import subprocess
import sys
from pathlib import Path

import pytest

from stem_core.cli.main import COMMANDS

ROOT = Path(__file__).parents[2]
HEAVY = {"typer", "rich", "click", "sqlite3", "redis", "hiredis", "asyncpg", "cryptography", "pytest", "hypothesis"}

# One interpreter, which has what others wrote already, forks a child for each module: two hundred that begin with
# nothing would cost a minute.
IMPORT_EACH = """
import asyncio, gc, hmac, importlib, os, pkgutil, secrets, sys, traceback
import attrs, hiredis, hypothesis, msgspec, pluggy, pytest, rich.console, rich.progress, rich.table, sqlite3, typer
assert not any(name.startswith("stem_") for name in sys.modules)
gc.disable()
failed = 0
for name in sys.argv[1:]:
    if (child := os.fork()) == 0:
        try:
            importlib.import_module(name)
        except BaseException:
            print(f"--- {name}", file=sys.stderr)
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
        os._exit(0)
    failed += os.waitpid(child, 0)[1] != 0
sys.exit(failed > 0)
"""


def modules(package_root):
    for path in sorted(package_root.rglob("*.py")):
        parts = path.relative_to(package_root.parent).with_suffix("").parts
        if parts[-1] != "__main__":
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def python(*arguments):
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, cwd="/")


@pytest.mark.parametrize(
    "package", ["stem_core", "plugins/stem_redis/src/stem_redis", "plugins/stem_sqlite/src/stem_sqlite"]
)
def test_every_module_imports_alone_with_warnings_as_errors(package):
    names = list(modules(ROOT / package))
    assert names
    done = python("-W", "error", "-c", IMPORT_EACH, *names)
    assert done.returncode == 0, done.stderr


def loaded_after(statement):
    done = python("-c", f"{statement}\nimport sys; print(*{{name.partition('.')[0] for name in sys.modules}})")
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "import stem_core",
        "from stem_core import Stem, TaskContext, RetryPolicy, Worker",
        "import stem_core.bootstrap",
        "import stem_core.client",
    ],
)
def test_pulls_in_no_driver_and_no_terminal(statement):
    assert not loaded_after(statement) & HEAVY


def test_the_command_line_starts_without_worker_client_and_plugins():
    program = "import sys; from stem_core.cli.main import *; command_line(*COMMANDS); print(*sys.modules)"
    done = python("-c", program)
    assert done.returncode == 0, done.stderr
    heavy = {"stem_core.worker", "stem_core.client", "stem_core.plugins", "stem_core.builtin", "asyncio", "rich"}
    assert not set(done.stdout.split()) & heavy


def test_a_command_is_made_without_the_others():
    program = (
        "import sys, atexit; atexit.register(lambda: print(*sys.modules, file=sys.stderr)); import stem_core.cli.main"
    )
    done = python("-c", f"{program}; stem_core.cli.main.main(['plugins', '--help'])")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Usage: stem plugins")
    made = {name for name in done.stderr.split() if name.startswith("stem_core.cli.")}
    assert "stem_core.cli.plugins" in made
    assert not made & {f"stem_core.cli.{name}" for name in COMMANDS if name != "plugins"}


def test_loading_every_plugin_imports_no_driver():
    loaded = loaded_after("from stem_core.plugins.runtime import assemble; assemble({}, '')")
    assert not loaded & (HEAVY - {"click", "typer", "rich"})


def test_the_shop_window_lists_what_it_sells():
    done = python(
        "-c",
        "import stem_core; assert stem_core.__all__ == sorted(stem_core.__all__); "
        "[getattr(stem_core, name) for name in stem_core.__all__]; "
        "assert set(stem_core.__all__) <= set(dir(stem_core)); print(len(stem_core.__all__))",
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10
