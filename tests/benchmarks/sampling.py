"""Run every sample in a process of its own, one after the other, each subject's turn beside the others'."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import attrs

from benchmarks.catalog import SUBJECTS
from benchmarks.model import TINY, Request, Sizes, Subject
from benchmarks.servers import Servers

#: Seconds for one sample.
LIMIT = 600.0
_TESTS = Path(__file__).resolve().parents[1]
_PEERS = _TESTS.parent / ".venv" / "peers"


@attrs.define
class Samples:
    """What was measured: subject and measure to one value a repetition; and what could not be."""

    values: dict[tuple[str, str], list[float]] = attrs.field(factory=dict)
    #: Subjects that were left out, and why.
    skipped: dict[str, str] = attrs.field(factory=dict)
    #: Samples that failed, and what they said last.
    failed: dict[tuple[str, str], str] = attrs.field(factory=dict)

    def add(self, subject: str, found: dict[str, float]) -> None:
        """Keep one sample."""
        for key, value in found.items():
            self.values.setdefault((subject, key), []).append(value)


def chosen(subjects: Iterable[str], scenarios: Iterable[str]) -> list[tuple[Subject, str]]:
    """The cells to fill, by scenario and then by subject: what is compared is measured side by side.

    ``subjects`` are names of rows or parts of them, and a whole name means that row alone; none means all.
    """
    names, wanted = list(subjects), list(scenarios)
    rows = {subject.name for subject in SUBJECTS}
    order = dict.fromkeys(scenario for subject in SUBJECTS for scenario in subject.scenarios)
    return [
        (subject, scenario)
        for scenario in order
        for subject in SUBJECTS
        if scenario in subject.scenarios
        and (not wanted or scenario in wanted)
        and (not names or any(subject.name == name if name in rows else name in subject.name for name in names))
    ]


def measure(
    cells: Sequence[tuple[Subject, str]],
    sizes: Sizes,
    repetitions: int,
    *,
    warm_up: bool,
    folder: Path,
    servers: Servers,
    progress: Callable[[str], None],
) -> Samples:
    """``repetitions`` rounds, after an unrecorded one with few jobs to ``warm_up`` what processes share.

    ``progress`` is told what comes next, once a cell and round. The databases are made below ``folder``.
    """
    samples = Samples()
    for subject, _ in cells:
        if why := missing(subject, servers):
            samples.skipped[subject.name] = why
    for repetition in range(0 if warm_up else 1, repetitions + 1):
        for subject, scenario in cells:
            title = f"{repetition}/{repetitions}" if repetition else "warm-up"
            progress(f"{title} {subject.name}: {scenario}")
            if subject.name in samples.skipped or (subject.name, scenario) in samples.failed:
                continue
            try:
                found = sample(subject, scenario, sizes if repetition else TINY, folder, servers)
            except SampleFailed as error:
                samples.failed[subject.name, scenario] = str(error)
                continue
            if repetition:
                samples.add(subject.name, found)
    return samples


def interpreter(subject: Subject) -> Path:
    """The Python of its processes."""
    return _PEERS / subject.venv / "bin" / "python" if subject.venv else Path(sys.executable)


def missing(subject: Subject, servers: Servers) -> str:
    """Why it cannot be measured here; empty when it can."""
    if subject.requires and importlib.util.find_spec(subject.requires) is None:
        return f"{subject.requires} is not installed (`make bench` installs it)"
    if not interpreter(subject).exists():
        return f"{subject.venv} is not installed (`make bench` installs it)"
    return servers.missing(subject.server)


class SampleFailed(Exception):
    """The process of a sample ended with an error, or not in time."""


def sample(subject: Subject, scenario: str, sizes: Sizes, folder: Path, servers: Servers) -> dict[str, float]:
    """Measure one scenario once.

    Raises:
        SampleFailed
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix="sample-") as place:
        scaled = attrs.evolve(
            sizes,
            drain=max(1, round(sizes.drain * subject.drain_factor)),
            latency=max(1, round(sizes.latency * subject.latency_factor)),
        )
        redis = servers.empty(subject.server) if subject.server else None
        request = Request(
            driver=subject.driver,
            scenario=scenario,
            url=subject.url.format(folder=place, redis=f"127.0.0.1:{redis.port}" if redis else "")
            or str(Path(place, "nothing")),
            folder=place,
            sizes=scaled,
        )
        # Settings of whoever runs this must not change what is measured.
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("STEM_", "BENCH_"))}
        environment.update(PYTHONPATH=str(_TESTS), STEM_BROKER_URL=request.url, **subject.environment)
        if redis:
            environment.update(BENCH_URL=request.url, BENCH_REDIS=redis.path)
        command = [str(interpreter(subject)), "-m", "benchmarks.child", json.dumps(request.to_json())]
        try:
            done = subprocess.run(
                command, cwd=place, env=environment, capture_output=True, text=True, timeout=LIMIT, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise SampleFailed(f"not done after {LIMIT:g} s") from error
        if done.returncode:
            raise SampleFailed(
                done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"code {done.returncode}"
            )
        found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        return found
