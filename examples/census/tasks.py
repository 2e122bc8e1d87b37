"""The app and its one task: what is in a file?"""

from __future__ import annotations

import ast
import hashlib
import io
import json
import os
import threading
import tokenize
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs

from stem_core import RetryPolicy, Stem, TaskContext

# Old files are full of escapes that Python warns about; they are not ours to mend.
warnings.filterwarnings("ignore", category=SyntaxWarning)


@asynccontextmanager
async def ledger(_app: Stem) -> AsyncIterator[int]:
    """The file that every worker appends its runs to: opened once a worker, found by the task as ``ctx.state``."""
    descriptor = os.open(os.environ["CENSUS_LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


app = Stem("census", lifespan=ledger)
#: Before 3.11.9 and 3.12.3 Python fails now and then when several threads make syntax trees at once. The worker makes
#: some too, for the tracebacks that it keeps; such a clash is left to the retry.
one_parser = threading.Lock()


@attrs.frozen
class FileCount:
    """What one file holds."""

    sha256: str
    size: int
    lines: int
    #: None for what is no Python.
    functions: int | None


@app.task(name="census.count", max_retries=2, retry=RetryPolicy.fixed(0.25))
def count(ctx: TaskContext, path: str) -> FileCount:
    """Checksum, lines and functions of one file. Raises for what is no text, or no Python where it should be."""
    run = {"id": ctx.id, "attempt": ctx.attempt, "run": ctx.run, "worker": ctx.worker}
    # Before the work, so that a run that is cut short is counted too. One write of one line: they never mix.
    os.write(ctx.state, json.dumps(run).encode() + b"\n")

    content = Path(path).read_bytes()
    encoding, functions = "utf-8", None
    if path.endswith(".py"):
        encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
        with one_parser:
            tree = ast.parse(content, filename=path)
        functions = sum(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) for node in ast.walk(tree))
    lines = len(io.StringIO(content.decode(encoding)).readlines())
    return FileCount(sha256=hashlib.sha256(content).hexdigest(), size=len(content), lines=lines, functions=functions)
