"""What `benchmarks/runtime.py` measured, as tables."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from runtime_runs.case import Case
from runtime_runs.turns import Times


def case_table(case: Case, found: Mapping[str, Times]) -> list[str]:
    """Time and throughput of each contender, and how many times as fast ours is; and who differs."""
    ours = next(iter(found))
    rows = [
        f"## {case.title}",
        "",
        "| | ms a file: median | 10 % | 90 % | as long as modelport's | files/s: median | 10 % | "
        "90 % | modelport's is so many times | first answer s | MB |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    rows += [_row(name, times, found[ours]) for name, times in found.items() if not times.missing]
    rows += [f"\n{name}: not measured; {t.missing}" for name, t in found.items() if t.missing]
    rows += ["", *_agreement(case, found), "", " ".join(case.notes), ""]
    return rows


def _row(name: str, times: Times, ours: Times) -> str:
    each, many = statistics.median(times.each_ms), statistics.median(times.many_s)
    faster = each / statistics.median(ours.each_ms)
    more = statistics.median(ours.many_s) / many
    return (
        f"| {name} | {each:.2f} | {_ends(times.each_ms)} | {faster:.2f} | {many:.1f} | "
        f"{_ends(times.many_s)} | {more:.2f} | {times.start_s:.2f} | {times.peak_mb:.0f} |"
    )


def _ends(values: Sequence[float]) -> str:
    if len(values) < 2:
        return f"{values[0]:.2f} | {values[0]:.2f}"
    cuts = statistics.quantiles(values, n=10, method="inclusive")
    return f"{cuts[0]:.2f} | {cuts[-1]:.2f}"


def _agreement(case: Case, found: Mapping[str, Times]) -> list[str]:
    """On how many files each one's result is ours."""
    ours, *others = (name for name, times in found.items() if not times.missing)
    lines = []
    for name in others:
        pairs = zip(found[ours].plain, found[name].plain, strict=True)
        apart = [words for one, other in pairs if (words := case.differ(one, other)) is not None]
        total = len(found[ours].plain)
        said = f" (differs: {'; '.join(apart)})" if apart else ""
        lines.append(f"{ours} and {name} agree on {total - len(apart)} of {total} files{said}.")
    return lines


def starts_table(found: Mapping[str, Sequence[tuple[float, float]]]) -> list[str]:
    rows = ["| | seconds: median | 10 % | 90 % | MB |", "| --- | ---: | ---: | ---: | ---: |"]
    for name, pairs in found.items():
        seconds = [each for each, _ in pairs]
        memory = statistics.median(megabytes for _, megabytes in pairs)
        rows.append(
            f"| {name} | {statistics.median(seconds):.3f} | {_ends(seconds)} | {memory:.0f} |"
        )
    return rows
