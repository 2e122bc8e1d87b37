"""A terminal with a shell in it, as a person has it: programs in it know that they are being watched."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Mapping
from pathlib import Path

from stem_core.clock import SYSTEM_CLOCK

_PROMPT = "<the shell waits>"
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
# A terminal becomes that of a new session only by the hand of its first process.
_LOG_IN = "import fcntl, os, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp('bash', ['bash', *{options!r}])"
_OPTIONS = ["--norc", "--noprofile", "--noediting", "-i"]
#: Nothing in a document takes longer, in seconds.
PATIENCE = 30.0


class Terminal:
    """One terminal of 160 columns, with bash waiting in ``folder``."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._screen, inside = os.openpty()
        fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 160, 0, 0))
        attributes = termios.tcgetattr(inside)
        attributes[3] &= ~(termios.ECHO | termios.ECHOCTL)
        termios.tcsetattr(inside, termios.TCSANOW, attributes)
        self._shell = subprocess.Popen(
            [sys.executable, "-c", _LOG_IN.format(options=_OPTIONS)],
            cwd=folder,
            env={**environment, "PS1": _PROMPT, "PS2": "", "TERM": "dumb", "BASH_SILENCE_DEPRECATION_WARNING": "1"},
            stdin=inside,
            stdout=inside,
            stderr=inside,
            start_new_session=True,
        )
        os.close(inside)
        self.read_to_prompt()

    def type(self, text: str) -> None:
        """Type a line, or ``^C`` or ``^Z``."""
        os.write(self._screen, {"^C": b"\x03", "^Z": b"\x1a"}.get(text) or f"{text}\n".encode())

    def read_to_prompt(self) -> str:
        """What is shown until the shell waits for the next command."""
        return self.read_until(lambda text: text.endswith(_PROMPT)).removesuffix(_PROMPT)

    def read_until(self, enough: Callable[[str], bool]) -> str:
        """What is shown until it is ``enough``, at most for 30 s: then what there is."""
        text, raw = "", b""
        deadline = SYSTEM_CLOCK.monotonic() + PATIENCE
        while not enough(text):
            ready, _, _ = select.select([self._screen], [], [], max(0.0, deadline - SYSTEM_CLOCK.monotonic()))
            if not ready:
                break
            try:
                raw += os.read(self._screen, 65_536)
            except OSError:  # the last program that had the terminal open has ended
                break
            text = _ESCAPES.sub("", raw.decode(errors="replace").replace("\r", ""))
        return text

    def close(self) -> None:
        """End the shell and all that runs in it."""
        for number in (signal.SIGHUP, signal.SIGKILL):
            for group in self._groups():
                try:
                    os.killpg(group, number)
                except ProcessLookupError:
                    continue
            try:
                self._shell.wait(10 if number is signal.SIGHUP else None)
            except subprocess.TimeoutExpired:
                continue
        os.close(self._screen)

    def _groups(self) -> set[int]:
        """The process groups of this terminal: the shell's, and that of what runs in front of it."""
        groups = {self._shell.pid} if self._shell.poll() is None else set()
        with contextlib.suppress(OSError):
            groups.add(os.tcgetpgrp(self._screen))
        return {group for group in groups if group > 0}
