import importlib
import itertools
import logging
import os
import sys

import attrs
import pytest

from stem_core.cli.main import main

# A broker that counts as shared, kept in this process: what one command enqueues the next one finds.
SHARED_PLUGIN = """
from stem_core.builtin import plugin as builtin
from stem_core.contracts import BackendProvider, BrokerCapabilities, BrokerProvider, StateProvider
from stem_core.hooks import hookimpl

SCHEMES = ("shared",)

@hookimpl
def stem_register_brokers():
    return [BrokerProvider(schemes=SCHEMES, open=builtin.open_broker,
                           capabilities=BrokerCapabilities(durable=False, shared=True))]

@hookimpl
def stem_register_result_backends():
    return [BackendProvider(schemes=SCHEMES, open=builtin.open_backend)]

@hookimpl
def stem_register_state_stores():
    return [StateProvider(schemes=SCHEMES, open=builtin.open_state)]
"""

# An id() would come back in a later test, and with it what that store holds.
STORES = itertools.count()


@attrs.frozen
class Done:
    code: int
    out: str
    err: str


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current directory of the commands: empty, importable, and forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("STEM_"):
            monkeypatch.delenv(name)
    path = list(sys.path)
    yield tmp_path
    sys.path[:] = path
    forget(tmp_path)


def forget(folder):
    """What was imported from there, as if the next command were another process."""
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(str(folder)):
            del sys.modules[name]
    importlib.invalidate_caches()


@pytest.fixture
def stem(folder, capsys):
    """Runs one command in this process; returns its exit code and what it wrote."""
    # A command sets up the log of its process.
    loggers = [logging.getLogger(name) for name in ("", "stem_core", "asyncio")]
    before = [(list(logger.handlers), logger.propagate, logger.level) for logger in loggers]

    def run(*arguments):
        with pytest.raises(SystemExit) as exit_info:
            main(arguments)
        captured = capsys.readouterr()
        for logger, (handlers, propagate, level) in zip(loggers, before, strict=True):
            logger.handlers[:], logger.propagate = handlers, propagate
            logger.setLevel(level)
        forget(folder)
        return Done(exit_info.value.code or 0, captured.out, captured.err)

    return run


@pytest.fixture
def write(folder):
    """Writes files into the current directory of the commands: ``write("tasks.py", text)``."""

    def write(name, text):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write


@pytest.fixture
def shared(write):
    """Options that reach a broker which counts as shared; a store of its own for each test."""
    write("acme_shared/plugin.py", SHARED_PLUGIN)
    write("acme_shared/__init__.py", "")
    return ("-p", "acme_shared.plugin", "--broker", f"shared://{next(STORES)}")
