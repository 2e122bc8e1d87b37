"""Runs the examples of a document as its reader would: writes the files, types the commands, compares what is shown.

The blocks of a Markdown page mean:

``python title="shop/tasks.py"`` (any language)
    A file with this content, in the reader's home folder.
``python from="examples/census/run.py"``
    A part of a file of the project, which must have these very lines, indented or not.
``python``
    A program: it runs in the home folder and must end well. With the word ``example`` it must only compile.
``console``
    A session in a terminal. ``$ `` begins a command, ``> `` a further line of it, ``^C`` presses Ctrl-C; the rest is
    what the terminal shows. ``terminal="worker"`` is another terminal. With the word ``running`` the last command is
    not waited for; a later block of that terminal that begins without ``$`` is what it shows next.
anything else
    Is only read.

Comments of a page say what it needs:

``<!-- environment: its own -->``
    A virtual environment for what it installs; everything that is installed here is there already, and nothing is
    downloaded.
``<!-- server: localhost:6379 -->``
    A Redis server at that address. It is one of its own, at another port, empty and gone afterwards.
``<!-- port: 8000 -->``
    A port that nobody uses. It is another one.

The home folder is shown as ``/home/you``. ``...`` in what a terminal shows stands for any text, and what differs
from one run to the next (ids, times, numbers of processes) need not be the same.
"""

from __future__ import annotations

import difflib
import os
import re
import subprocess
import sys
import sysconfig
import textwrap
import venv
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import attrs

from support.redis_server import RedisServer, free_port, programs
from support.terminal import Terminal

ROOT = Path(__file__).parents[2]
OWN_ENVIRONMENT = "<!-- environment: its own -->"
SERVER = re.compile(r"^<!-- server: (\S+) -->$", re.MULTILINE)
_PORT = re.compile(r"^<!-- port: (\d+) -->$", re.MULTILINE)
_FENCE = re.compile(r"^```(?P<language>\w*)[ ]*(?P<words>[^`]*)$")
_ATTRIBUTE = re.compile(r'(\w+)="([^"]*)"')
_MARKERS = re.compile(r"^[ ~^]*[~^][ ~^]*\n", re.MULTILINE)
_VARYING: tuple[tuple[str, str], ...] = (
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "<id>"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+(\+00:00|Z)?", "<moment>"),
    (r"\b\d\d:\d\d:\d\d\.\d{3}\b", "<time>"),
    (r"\b[A-Za-z0-9_-]+-\d+-[0-9a-f]{6}\b", "<worker>"),
    (r"\bpid \d+", "pid <n>"),
    (r"\bprocess \[\d+\]", "process [<n>]"),
    (r"\b(concurrency|prefetch): \d+", r"\1: <n>"),
    # With what fills the column behind it.
    (r"\b\d+\.\d+ (m?s)\b *", r"<n> \1 "),
    (r"\b\d+ B\b", "<n> B"),
    (r"\b\d+\.\d+s\b", "<n>s"),
    (r"^(plugins\b.*?)\b(nats, |redis, )+", r"\1"),  # plugins that only the environment of these tests has
    (r" {20,}", " "),  # what stands at the right edge of a terminal
    (r" +$", ""),
)


@attrs.frozen(kw_only=True)
class Block:
    """One fenced block."""

    language: str
    words: frozenset[str]
    attributes: Mapping[str, str]
    text: str
    #: The line of the opening fence, from 1.
    line: int

    @property
    def does_something(self) -> bool:
        """Whether there is more to do than to write a file."""
        return self.language == "console" or "from" in self.attributes or self._is_program

    @property
    def _is_program(self) -> bool:
        return self.language == "python" and "title" not in self.attributes


@attrs.frozen(kw_only=True)
class Step:
    """One thing that is typed into a terminal, and what it shows then."""

    #: None: nothing is typed, more is shown. ``^C``: Ctrl-C. Else a command.
    typed: str | None
    shown: str


def environment(folder: Path) -> dict[str, str]:
    """Make a virtual environment on top of this one; the variables of a shell that is in it.

    ``pip install`` of a folder works in it without a network.
    """
    venv.create(folder, with_pip=False, symlinks=True)
    inside = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    here = sysconfig.get_path("purelib")
    # addsitedir reads the .pth files there too: what is installed in development mode is one.
    (inside / "outer.pth").write_text(f"import site; site.addsitedir({here!r})\n")
    for command, module in (("pip", "pip"), ("pytest", "pytest"), ("stem", "stem_core")):
        script = folder / "bin" / command
        script.write_text(f'#!/bin/sh\nexec "{folder}/bin/python" -m {module} "$@"\n')
        script.chmod(0o755)
    return {
        "PATH": os.pathsep.join([str(folder / "bin"), os.environ.get("PATH", os.defpath)]),
        "VIRTUAL_ENV": str(folder),
        "PIP_NO_INDEX": "1",
        # What is said here is whether to isolate: pip reads the name of this one the other way round.
        "PIP_NO_BUILD_ISOLATION": "0",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_ROOT_USER_ACTION": "ignore",
        "PIP_CONFIG_FILE": os.devnull,
    }


def blocks_of(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    blocks: list[Block] = []
    opened: re.Match[str] | None = None
    begun, lines = 0, list[str]()
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if opened is None:
            opened, begun, lines = _FENCE.match(line), number, []
        elif line == "```":
            words = opened["words"]
            blocks.append(
                Block(
                    language=opened["language"],
                    words=frozenset(_ATTRIBUTE.sub("", words).split()),
                    attributes=dict(_ATTRIBUTE.findall(words)),
                    text="".join(f"{text}\n" for text in lines),
                    line=begun,
                )
            )
            opened = None
        else:
            lines.append(line)
    if opened is not None:
        raise AssertionError(f"{page}:{begun}: the block is never closed")
    return blocks


def steps_of(session: str) -> list[Step]:
    """What is typed and shown in one block of a terminal."""
    steps: list[Step] = []
    typed: str | None = None
    shown = ""
    for line in session.splitlines():
        if line.startswith("$ ") or line == "^C":
            if typed is not None or shown:
                steps.append(Step(typed=typed, shown=shown))
            typed, shown = line.removeprefix("$ "), ""
        elif line.startswith("> ") and typed is not None and not shown:
            typed += "\n" + line.removeprefix("> ")
        else:
            shown += line + "\n"
    return [*steps, Step(typed=typed, shown=shown)]


class Reader:
    """Somebody who follows a page to the letter."""

    def __init__(self, home: Path) -> None:
        self._home = home
        bin_folder = str(Path(sys.executable).parent)
        self._environment = {
            "PATH": os.pathsep.join([bin_folder, os.environ.get("PATH", os.defpath)]),
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "NO_COLOR": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            # The plugins of these tests are not the reader's; that of Stem is.
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTEST_PLUGINS": "stem_core.testing.plugin",
        }
        self._terminals: dict[str, Terminal] = {}
        #: What stands on the page, and what takes its place here.
        self._instead = {"/home/you": str(home)}
        self._servers: list[RedisServer] = []

    def follow(self, page: Path) -> None:
        """Do all that the page says, from top to bottom.

        Raises:
            AssertionError: something does not work as the page says.
        """
        try:
            self._prepare(page.read_text())
            for block in blocks_of(page):
                where = f"{page.name}:{block.line}"
                if title := block.attributes.get("title"):
                    path = self._home / title
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text(self._here(block.text))
                    if path.suffix == ".py":
                        compile(block.text, title, "exec")
                elif source := block.attributes.get("from"):
                    _must_hold(ROOT / source, block.text, where)
                elif block.language == "python":
                    self._program(block, where)
                elif block.language == "console":
                    self._session(block, where)
        finally:
            for terminal in self._terminals.values():
                terminal.close()
            for server in self._servers:
                server.stop()

    def _prepare(self, page: str) -> None:
        if OWN_ENVIRONMENT in page:
            self._environment |= environment(self._home / ".venv")
        for address in SERVER.findall(page):
            server = RedisServer(next(iter(programs().values())), options=(("appendonly", "yes"),)).start()
            self._servers.append(server)
            self._instead[address] = f"localhost:{server.port}"
        for port in _PORT.findall(page):
            self._instead[port] = str(free_port())

    def _here(self, text: str) -> str:
        for said, here in self._instead.items():
            text = text.replace(said, here)
        return text

    def _program(self, block: Block, where: str) -> None:
        compile(block.text, where, "exec")
        if "example" in block.words:
            return
        done = subprocess.run(
            [sys.executable, "-c", self._here(block.text)],
            cwd=self._home,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, f"{where}: the program ended with {done.returncode}:\n{done.stderr}"

    def _session(self, block: Block, where: str) -> None:
        name = block.attributes.get("terminal", "")
        if name not in self._terminals:
            self._terminals[name] = Terminal(self._home, self._environment)
        terminal = self._terminals[name]
        steps = steps_of(block.text)
        for number, step in enumerate(steps, 1):
            wanted = self.comparable(step.shown)
            if step.typed is not None:
                terminal.type(self._here(step.typed))
            if "running" in block.words and number == len(steps):
                shown = terminal.read_until(partial(self._reached, wanted))
            else:
                shown = terminal.read_to_prompt()
            shown = self.comparable(shown)
            if not _fits(wanted, shown):
                difference = "\n".join(
                    difflib.unified_diff(
                        wanted.splitlines(), shown.splitlines(), "the page", "the terminal", n=20, lineterm=""
                    )
                )
                raise AssertionError(f"{where}: {step.typed or 'what is shown next'}\n{difference}")

    def _reached(self, wanted: str, text: str) -> bool:
        return _fits(wanted, self.comparable(text))

    def comparable(self, text: str) -> str:
        """The text without what may differ from one run to the next."""
        for said, here in self._instead.items():
            text = text.replace(here, said)
        for pattern, replacement in _VARYING:
            text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
        # Which part of a line failed is marked by some versions of Python only.
        return _MARKERS.sub("", text)


def _must_hold(source: Path, text: str, where: str) -> None:
    levels = {textwrap.indent(text, " " * level) for level in (0, 4, 8, 12)}
    if not any(indented in source.read_text() for indented in levels):
        raise AssertionError(f"{where}: these lines are not in {source} (any more)")


def _fits(wanted: str, shown: str) -> bool:
    pattern = ".*".join(re.escape(part) for part in wanted.replace("...\n", "...").split("..."))
    return re.fullmatch(pattern, shown, re.DOTALL) is not None
