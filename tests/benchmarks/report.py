"""From samples to what people and programs read."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

import attrs

from benchmarks.catalog import SUBJECTS, TABLES, TARGETS
from benchmarks.model import Measure, Sizes, Target
from benchmarks.sampling import Samples


def as_json(samples: Samples, about: dict[str, Any], sizes: Sizes, repetitions: int) -> dict[str, Any]:
    """Everything, each sample in the order in which it was taken."""
    return {
        "format": 1,
        **about,
        "repetitions": repetitions,
        "sizes": attrs.asdict(sizes),
        "subjects": {subject.name: subject.guarantee for subject in SUBJECTS},
        "rows": [
            {
                "subject": subject,
                "measure": key,
                "median": statistics.median(values),
                "min": min(values),
                "max": max(values),
                "samples": values,
            }
            for (subject, key), values in samples.values.items()
        ],
        "targets": [
            {"text": target.text, "limit": target.limit, "measured": measured, "met": met}
            for target, measured, met in judged(samples)
        ],
        "skipped": samples.skipped,
        "failed": [
            {"subject": subject, "scenario": scenario, "error": error}
            for (subject, scenario), error in samples.failed.items()
        ],
    }


def judged(samples: Samples) -> Iterator[tuple[Target, float, bool]]:
    """Each target that was measured. A ratio is the median of the ratios of each repetition."""
    for target in TARGETS:
        values = samples.values.get((target.subject, target.key), [])
        if target.beside:
            key = target.beside_key or target.key
            others = [given for name in target.beside if (given := samples.values.get((name, key)))]
            values = [one / max(peers) for one, *peers in zip(values, *others, strict=False)] if others else []
        if values:
            measured = statistics.median(values)
            yield target, measured, measured >= target.limit if target.at_least else measured <= target.limit


def as_markdown(samples: Samples, about: dict[str, Any], repetitions: int) -> str:
    """Tables with one row a subject; cells are medians, with the least and the greatest."""
    parts = [_heading(about, repetitions)]
    for title, meaning, measures in TABLES:
        rows = [row for subject in SUBJECTS if (row := _row(samples, subject.name, measures))]
        if rows:
            head = ["", *(measure.title for measure in measures)]
            parts.append(f"**{title}**: {meaning}\n\n" + _table(head, rows))
    targets = [
        [
            target.text,
            f"{'>=' if target.at_least else '<='} {target.limit:,g}",
            f"{value:,.{2 if value < 100 else 0}f}",
            "yes" if met else "NO",
        ]
        for target, value, met in judged(samples)
    ]
    if targets:
        parts.append("**Targets**\n\n" + _table(["", "target", "measured", "met"], targets))
    parts.extend(f"Left out: {name}: {why}." for name, why in samples.skipped.items())
    parts.extend(f"FAILED: {name}, {scenario}: {why}" for (name, scenario), why in samples.failed.items())
    return "\n\n".join(parts) + "\n"


def _heading(about: dict[str, Any], repetitions: int) -> str:
    machine = about["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    changed = " with local changes" if about["changed"] else ""
    return (
        f"{about['date']}, commit {about['commit']}{changed}; medians of {repetitions} interleaved repetitions "
        f"(least to greatest).\n{versions}.\n{machine['cpus']} x {machine['processor']}, {machine['memory_gb']} GB, "
        f"{machine['system']}; fdatasync of a page {machine['fdatasync_us']} us; load {machine['load']} at the start."
    )


def _row(samples: Samples, subject: str, measures: tuple[Measure, ...]) -> list[str]:
    """The cells of a subject; empty when it has none in this table."""
    cells = [_cell(samples.values.get((subject, measure.key), []), measure.digits) for measure in measures]
    return [subject, *cells] if any(cell != "-" for cell in cells) else []


def _cell(values: list[float], digits: int) -> str:
    if not values:
        return "-"
    median, least, most = (f"{value:,.{digits}f}" for value in (statistics.median(values), min(values), max(values)))
    return f"{median} ({least} to {most})" if len(values) > 1 else median


def _table(head: list[str], rows: list[list[str]]) -> str:
    ruler = ["---", *("--:" for _ in head[1:])]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ruler, *rows))
