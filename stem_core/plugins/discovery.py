"""Which plugins are installed. Reads metadata only; nothing of a plugin is imported here."""

from __future__ import annotations

import re
from importlib import metadata

from stem_core.model._value import value
from stem_core.plugins.known import BUILTIN, BUILTIN_MODULE

#: The entry-point group of plugins.
GROUP = "stem.plugins"


@value
class Candidate:
    """An entry point of the group: a plugin that could be loaded."""

    name: str
    #: ``package.module``, or ``package.module:object``.
    target: str
    #: The distribution it came with; None for a module that is not installed.
    distribution: str | None
    version: str | None
    #: Why it cannot be loaded, when that is known already.
    problem: str = ""


def discover() -> list[Candidate]:
    """All installed plugins, the built-ins first, then by name.

    One distribution found twice on ``sys.path`` counts once, the first, as for imports. Several distributions may
    have a plugin of one name; all are returned.
    """
    found: dict[str, list[Candidate]] = {}
    for distribution in metadata.distributions():
        try:
            text = distribution.read_text("entry_points.txt")
        except (OSError, UnicodeDecodeError):
            continue
        # Only a few of all installed distributions have the group, and reading METADATA is slow.
        if text is None or GROUP not in text:
            continue
        name = _name(distribution)
        found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), _candidates(distribution, name))
    candidates = [candidate for group in found.values() for candidate in group]
    if not any(candidate.name == BUILTIN and candidate.target == BUILTIN_MODULE for candidate in candidates):
        # The core may run without being installed, from a folder or an archive.
        candidates.append(Candidate(name=BUILTIN, target=BUILTIN_MODULE, distribution=None, version=None))
    return sorted(candidates, key=lambda item: (item.target != BUILTIN_MODULE, item.name, item.distribution or ""))


def _name(distribution: metadata.Distribution) -> str:
    try:
        return str(distribution.name or "?")
    except KeyError:
        return "?"


def _candidates(distribution: metadata.Distribution, name: str) -> list[Candidate]:
    try:
        points = [(point.name, point.value) for point in distribution.entry_points if point.group == GROUP]
        problem = ""
    except Exception as error:
        points, problem = [(name, "")], f"the entry_points.txt of {name} cannot be read: {error}"
    return [
        Candidate(name=point, target=target, distribution=name, version=distribution.version, problem=problem)
        for point, target in points
    ]
