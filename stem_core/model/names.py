"""What a queue, task, channel, worker or message may be called."""

from __future__ import annotations

import re

from stem_core.errors import InvalidName

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_WORKER_ID = re.compile(r"[A-Za-z0-9_.@-]{1,128}")
_CONTROL = re.compile(r".*\.control\..*")


def check_name(kind: str, name: str) -> str:
    """Return ``name`` when it is a legal name of a ``kind`` (``"queue"``, ``"task"``, ``"channel"``, ``"namespace"``).

    Raises:
        InvalidName: the name has another character than ``A-Z a-z 0-9 _ . -``, is empty or longer than 128.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidName(kind, name, "1 to 128 of the characters A-Z a-z 0-9 _ . -")
    return name


def check_queue(name: str) -> str:
    """Return ``name`` when users may use it as a queue; ``*.control.*`` belongs to the control plane."""
    check_name("queue", name)
    if _CONTROL.fullmatch(name):
        raise InvalidName("queue", name, "a name without '.control.', which is reserved for the control plane")
    return name


def check_channel(name: str) -> str:
    """Return ``name`` when users may use it as a broadcast channel; ``*.control.*`` belongs to the control plane."""
    check_name("channel", name)
    if _CONTROL.fullmatch(name):
        raise InvalidName("channel", name, "a name without '.control.', which is reserved for the control plane")
    return name


def check_id(kind: str, name: str) -> str:
    """Return ``name`` when it is a legal id of a worker or a task: a name that may also hold ``@``."""
    if not isinstance(name, str) or not _WORKER_ID.fullmatch(name):
        raise InvalidName(kind, name, "1 to 128 of the characters A-Z a-z 0-9 _ . @ -")
    return name
