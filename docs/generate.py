"""Write the pages of ``docs/reference/`` that are made from the code: ``python docs/generate.py``.

A test fails when one of them is stale. What people should read more about stands in docstrings and in ``help=`` of
settings; this program only lays it out.
"""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs

from stem_core import contracts, errors
from stem_core.plugins import hookspecs
from stem_core.settings import APP, WORKER, SettingsSection
from stem_core.signals import Signals
from stem_redis.settings import SECTION as REDIS
from stem_sqlite.settings import SECTION as SQLITE

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs" / "reference"
sys.path.insert(0, str(ROOT / "tests"))

from e2e.bad_input_cases import CASES, TASKS  # noqa: E402 - found only now
from e2e.bad_input_redis import REDIS_CASES  # noqa: E402
from support import bad_input_page, json_page  # noqa: E402
from support.markdown import first, prose, table  # noqa: E402

_MADE = "<!-- Made by docs/generate.py from the code: change that, and run it. -->\n"


def pages() -> dict[str, Callable[[], str]]:
    """Every generated page: its file name and what makes its text."""
    return {
        "settings.md": settings,
        "errors.md": error_messages,
        "signals.md": signals,
        "contracts.md": contract_overview,
        "cli.md": command_line,
        "json.md": json_commands,
    }


def settings() -> str:
    """All settings of the core and of the plugins of this repository."""
    parts = [
        _title("Settings"),
        """
What goes before what: the command line, then the environment, then the code (`Stem(...)`, `Worker(...)`), then
`stem.toml` or `[tool.stem]` in `pyproject.toml`, then the default. The file is the nearest one from the current
folder upwards. `stem settings` shows each value and where it came from, with secrets masked.

A value that cannot be read, an unknown key in a section and an unknown `STEM_WORKER_...` are errors (exit code 2); any
other unknown `STEM_...` variable is a warning. `STEM_..._FILE` reads the value from the file that it names, for
secrets.

Spans of time are `250ms`, `5s`, `2m`, `1h`, `1d` or a number of seconds; sizes are `64KiB`, `1MiB`, `10MB` or a number
of bytes.
""",
    ]
    for section, title, where in (
        (APP, "The app", "The top level of the file, before any `[section]`; keyword arguments of `Stem(...)`."),
        (WORKER, "`[worker]`", "Options of `stem worker`, and keyword arguments of `Worker(...)`."),
        (REDIS, "`[redis]`", 'The plugin `stem_redis`; in code `Stem(..., **{"redis.call_timeout": "10s"})`.'),
        (SQLITE, "`[sqlite]`", 'The plugin `stem_sqlite`; in code `Stem(..., **{"sqlite.synchronous": "normal"})`.'),
    ):
        parts.append(f"\n## {title}\n\n{where}\n\n{_settings_table(section)}")
    return "".join(parts)


def _settings_table(section: SettingsSection) -> str:
    options = section.name == "worker"
    rows = [
        [
            f"`{key.file_table + '.' if key.file_table else ''}{key.file_name}`",
            *([f"`{key.option}`"] if options else []),
            " ".join(f"`{variable}`" for variable in key.environment),
            _default(key.show(key.default)),
            f"{key.help} Accepts {_accepted(key.parse.accepts)}.",
        ]
        for key in section.keys
    ]
    return table(["setting", *(["option"] if options else []), "environment", "default", "what it does"], rows)


def _accepted(form: str) -> str:
    """The forms that the page explains once."""
    span = "a duration such as 250ms, 5s, 2m or 1h, or a number of seconds"
    size = "a size such as 64KiB, 1MiB or 10MB, or a number of bytes"
    return form.replace(span, "a span of time").replace(size, "a size")


def _default(shown: str) -> str:
    return shown if shown.startswith("(") else f"`{shown}`"


def error_messages() -> str:
    """The tree of errors, and what is told about bad input."""
    tree = (errors.__doc__ or "").partition("::\n\n")[2]
    rows = [
        [f"`{name}`", str(found.exit_code), first(found)]
        for name, found in vars(errors).items()
        if inspect.isclass(found) and issubclass(found, errors.StemError)
    ]
    parts = [
        _title("Errors"),
        f"""
Every error says what was wrong and where it came from, and most add a `hint` with what to do next. In Python they are
classes of `stem_core`; on the command line they are told on standard error without a traceback, and end the program
with an exit code.

## Exit codes

| code | means |
|---|---|
| 0 | done; a worker: drained |
| 1 | an error; a job that failed, was cancelled, or did not end in time; a job or queue that is not known |
| 2 | usage, settings or arguments that cannot be used |
| 3 | a plugin that cannot be used |
| 4 | a worker that stopped with started work handed back |
| 69 | `stem health`: something failed |
| 130 | ended by Ctrl-C; `stem dlq replay` and `purge` say how far they came |

## The tree

```text
{inspect.cleandoc(tree)}
```

{table(["error", "exit code", "means"], rows)}
## Bad input

Each of these is tested word for word. Where nothing else is said, the broker is `sqlite:///jobs.db`, and `tasks.py` is

```python title="tasks.py"
{TASKS}```
""",
        bad_input_page.shown([*CASES, *REDIS_CASES]),
    ]
    return "".join(parts)


#: What happens to one delivery, and the signals of that, without their ``task_``. A test brings each of them about.
_ORDERS = (
    ("it succeeds", "received prerun succeeded postrun"),
    ("it fails and is tried again", "received prerun retried postrun"),
    ("it fails for good", "received prerun failed dead_lettered postrun"),
    ("it is revoked before it starts", "received revoked"),
    ("it is revoked while it runs", "received prerun revoked postrun"),
    ("it expires before it starts", "received expired"),
    ("its child process dies", "received prerun crashed handed_back postrun"),
    ("it comes again after its worker or its process was lost", "crashed received prerun succeeded postrun"),
    ("it was lost too often", "crashed received rejected dead_lettered"),
    ("it cannot be read, or is too large", "received rejected dead_lettered"),
    ("nobody here knows the task, or the worker stops before it starts", "received handed_back"),
    ("the worker stops while it runs", "received prerun handed_back postrun"),
    ("its lease is lost while it runs", "received prerun lease_lost postrun"),
)


def _named(order: str) -> str:
    return " ".join(f"`task_{name}`" for name in order.split())


def signals() -> str:
    """Every signal, with the fields of its event."""
    parts = [
        _title("Signals"),
        """
`app.signals.<name>.connect(handler)` hears of what happens; so does `signals` in a plugin's `stem_connect_signals`.
Handlers are plain or coroutine functions of one argument, the event. They are awaited in order of connection, on the
worker's loop. What a handler raises is logged and counted, and changes nothing: signals tell, middleware changes.

`connect(handler, task="emails.*", queue=..., worker=...)` hears only of those that match; `*` and `?` are wild cards.
Each event has `event_name`, `occurred_at` (seconds since the epoch) and `attributes` (all fields as one flat `dict`).
`STEM_SIGNALS_ENABLED=false` turns all of them off, `STEM_SIGNALS_DISABLED=worker-heartbeat,task-prerun` some.

One that raises adds to `app.signals.errors["task-failed"]` and writes one line, which names the handler, who connected
it (`application`, or a plugin with its distribution) and the event.

## In which order

An end is told when the stores have confirmed it, and `task_postrun` after every run that was started, whatever came of
it; what was not started has neither `task_prerun` nor `task_postrun`. A run that says how far it is has `task_progress`
after `task_prerun`, at most twice a second and never after its end.

""",
        table(["what happens", "signals, in order"], [[what, _named(order)] for what, order in _ORDERS]),
        """
A worker tells `worker_init`, `worker_ready`, one `worker_heartbeat` after the other, `worker_stopping` for each stage
of its stop, and `worker_shutdown` last. `worker_child_init` and `worker_child_shutdown` are told in a child process.
""",
    ]
    for name, signal in vars(Signals()).items():
        event = getattr(signal, "event", None)
        if event is None:
            continue
        doc = inspect.getdoc(event) or ""
        fields = [
            [f"`{field.name}`", f"`{_type(field.type)}`"]
            for field in attrs.fields(event)
            if field.name != "occurred_at"
        ]
        parts.append(f"\n## `{name}`\n\n{prose(doc)}\n\n{table(['field', 'type'], fields)}")
    return "".join(parts)


def contract_overview() -> str:
    """What plugins implement and declare."""
    parts = [
        _title("Contracts and hooks"),
        f"""
A plugin is a module under the entry-point group `stem.plugins` that holds hook implementations. Hooks declare: they
are plain functions, called once at start-up. What they return acts: it implements the contracts below. A plugin
imports from `stem_core.contracts`, `stem_core.model`, `stem_core.hooks`, `stem_core.settings` and `stem_core.wire`,
and its driver only inside the opener. `requires_api = "{contracts.API_VERSION}"` in the module
states which version it is written for.

The docstrings are the obligations; this page is their table of contents. All contracts are batch-first, raise only
`StoreError` and its children, and belong to the event loop that opened them.

## Hooks

""",
        table(
            ["hook", "what it is for"],
            [
                [f"`{name}{_signature(found)}`", first(found)]
                for name, found in vars(hookspecs).items()
                if name.startswith("stem_") and inspect.isfunction(found)
            ],
        ),
    ]
    for name in contracts.__all__:
        found = getattr(contracts, name)
        if inspect.isclass(found):
            parts.append(f"\n## `{name}`\n\n{prose(inspect.getdoc(found) or '')}\n{_members(found)}")
    return "".join(parts)


def _members(found: type[Any]) -> str:
    if attrs.has(found):
        return "\n" + table(
            ["field", "type"], [[f"`{field.name}`", f"`{_type(field.type)}`"] for field in attrs.fields(found)]
        )
    methods = [
        [f"`{name}{_signature(member)}`", prose(inspect.getdoc(member) or "").partition("\n\n")[0]]
        for name, member in vars(found).items()
        if inspect.isfunction(member) and (not name.startswith("_") or name == "__call__")
    ]
    return "\n" + table(["method", "what it does"], methods) if methods else ""


def command_line() -> str:
    """Every command and option, as the command line itself tells."""
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder, "whole.py")
        program.write_text("from stem_core.cli.main import COMMANDS, command_line\n\ncli = command_line(*COMMANDS)\n")
        command = [sys.executable, "-m", "typer", str(program), "utils", "docs", "--name", "stem"]
        shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout
    # Two pages below one title; and nobody is to run the usage lines.
    return (
        _title("Command line")
        + "\n"
        + shown.replace("# `stem`\n\n", "", 1).replace("```console", "```text").strip()
        + "\n"
    )


def json_commands() -> str:
    """What each command writes with ``--json``."""
    return _title("JSON of the commands") + json_page.shown()


def _title(title: str) -> str:
    return f"{_MADE}\n# {title}\n"


def _signature(function: Callable[..., Any]) -> str:
    found = inspect.signature(function)
    names = [
        f"{'*' if kind == 'VAR_POSITIONAL' else '**' if kind == 'VAR_KEYWORD' else ''}{name}"
        for name, kind in _marked(found)
    ]
    return f"({', '.join(names)})"


def _marked(signature: inspect.Signature) -> Iterator[tuple[str, str]]:
    """The parameters but ``self``, and where those by name begin."""
    only_by_name = False
    for parameter in signature.parameters.values():
        if parameter.name == "self":
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not only_by_name:
            only_by_name = True
            yield "*", "MARK"
        name = parameter.name
        if parameter.default is not parameter.empty:
            name += f"={parameter.default!r}"
        yield name, parameter.kind.name


def _type(annotation: Any) -> str:
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return re.sub(r"\b(?:[a-z_]\w*\.)+", "", text)


def main() -> None:
    """Write all pages."""
    REFERENCE.mkdir(parents=True, exist_ok=True)
    for name, make in pages().items():
        (REFERENCE / name).write_text(make(), encoding="utf-8")


if __name__ == "__main__":
    main()
