"""The tables of `benchmarks/optimizers.py`, as Markdown and CSV."""

from __future__ import annotations

import csv
import datetime
import statistics
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from modelport.machine import describe_machine, versions
from optimizer_runs.contenders import CONTENDERS, OTHERS, OURS

RESULTS = Path(__file__).resolve().parents[1] / "results"
RAW, UNCHECKED = "as exported", "modelport, no check"
CLOSE = 1.05
"""Latencies within this ratio are equal: turns of one file with itself differ by as much."""
WRONG = 1e-3

Rows = dict[str, dict[str, dict[str, Any]]]
"""By subject, then by contender."""


def publish(found: Sequence[dict[str, Any]]) -> None:
    rows: Rows = {}
    for row in found:
        rows.setdefault(row["subject"], {})[row["contender"]] = row
    text = "\n".join(
        [*_head(rows), *_summary(rows), *_times(rows), *_nodes(rows), *_losses(rows), *_foot()]
    )
    (RESULTS / "optimizers.md").write_text(text + "\n", encoding="utf-8")
    with (RESULTS / "optimizers.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(found[0]))
        writer.writeheader()
        writer.writerows(found)
    print(text)


def _head(rows: Rows) -> list[str]:
    return [
        "# Optimisers of ONNX graphs",
        "",
        f"{len(rows)} files: networks exported without optimisation by both of PyTorch's exporters "
        "(torch.export with `optimize=False`, TorchScript without constant folding), batch 1. Every "
        "optimiser gets the same file with its default settings, in turn; ours with its check on two "
        "random feeds, and once without, as the others have none.",
        "",
        "Target: nowhere more nodes than the best of them, nowhere slower, faster than onnxsim and "
        "onnxslim, nothing wrong. A file that holds operators of ONNX Runtime's own runs nowhere "
        "else; nodes of onnxruntime are therefore shown but not compared.",
        "",
    ]


def _summary(rows: Rows) -> list[str]:
    lines = [
        "| | files | wrong | nodes | seconds | times as long as ours | MiB | ORT, times as fast as "
        "exported | OpenVINO |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name in [RAW, *CONTENDERS]:
        own = [(subject[name], subject) for subject in rows.values() if name in subject]
        good = [(row, subject) for row, subject in own if not row["problem"]]
        wrong = sum(row["error"] > WRONG for row, _ in good)
        cells = [
            f"{len(good)} of {len(own)}",
            str(wrong),
            _mean([row["nodes"] for row, _ in good], ".0f"),
            _mean([row["wall_s"] for row, _ in good], ".2f"),
            _ratio([(row["wall_s"], subject[OURS]["wall_s"]) for row, subject in good]),
            _mean([row["peak_mib"] for row, _ in good], ".0f"),
            *(
                _ratio([(subject[RAW][column], row[column]) for row, subject in good])
                for column in ("ort_ms", "openvino_ms")
            ),
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    note = "Nodes, seconds and MiB are means, ratios geometric means."
    return [*lines, "", note, ""]


def _mean(values: Sequence[float | None], style: str) -> str:
    known = [value for value in values if value is not None]
    return format(statistics.mean(known), style) if known else "-"


def _ratio(pairs: Sequence[tuple[float | None, float | None]]) -> str:
    ratios = [one / other for one, other in pairs if one is not None and other]
    return f"{statistics.geometric_mean(ratios):.2f}" if ratios else "-"


def _nodes(rows: Rows) -> list[str]:
    names = [RAW, OURS, *OTHERS]
    lines = [
        "## Nodes, and latency in ONNX Runtime and OpenVINO of ours beside the best other",
        "",
        f"| file | {' | '.join(names)} | ORT ms | best other | OpenVINO ms | best other |",
        f"| --- |{' ---: |' * (len(names) + 4)}",
    ]
    for subject, found in rows.items():
        counts = [_shown(found.get(name), "nodes", "d") for name in names]
        latencies = []
        for column in ("ort_ms", "openvino_ms"):
            latencies.append(_shown(found[OURS], column, ".2f"))
            best = _best(found, column)
            latencies.append("-" if best is None else f"{best[1]:.2f} {best[0]}")
        lines.append(f"| {subject} | {' | '.join([*counts, *latencies])} |")
    return [*lines, ""]


def _shown(row: dict[str, Any] | None, column: str, style: str) -> str:
    if row is None or row["problem"] or row[column] is None:
        return "-"
    wrong = row["error"] is not None and row["error"] > WRONG
    return format(row[column], style) + (" wrong" if wrong else "")


def _best(found: dict[str, dict[str, Any]], column: str) -> tuple[str, float] | None:
    """The least among the others that are right."""
    known = [
        (name, found[name][column])
        for name in OTHERS
        if name in found and found[name][column] is not None and not found[name]["problem"]
        if found[name]["error"] <= WRONG
    ]
    return min(known, key=lambda pair: pair[1], default=None)


def _losses(rows: Rows) -> list[str]:
    lines = [
        "## Where ours loses",
        "",
        "Where any other came out faster, the two were opened anew and measured in turn three times "
        f"more; a median ratio over {CLOSE} counts.",
        "",
    ]
    for subject, found in rows.items():
        lines += [f"- {subject}: {loss}" for loss in _losses_of(found)]
    return [*lines, ""] if len(lines) > 4 else [*lines, "Nowhere.", ""]


def _losses_of(found: dict[str, dict[str, Any]]) -> list[str]:
    ours = found[OURS]
    if ours["problem"]:
        return [ours["problem"]]
    losses = []
    portable = {name: row for name, row in found.items() if name != "onnxruntime"}
    fewest = _best(portable, "nodes")
    if fewest is not None and fewest[1] < ours["nodes"]:
        losses.append(f"{ours['nodes']} nodes, {fewest[0]} {fewest[1]}")
    for column, engine in (("ort", "ONNX Runtime"), ("openvino", "OpenVINO")):
        best = _best(found, f"{column}_ms")
        again = ours.get(f"{column}_again")
        if best is not None and again is not None and again > CLOSE:
            first = ours[f"{column}_ms"] / best[1]
            losses.append(f"{again:.2f} times as slow in {engine} as {best[0]} (first {first:.2f})")
    return losses


def _times(rows: Rows) -> list[str]:
    """On how many files ours takes less time than the two that the target names."""
    lines = ["## Time", "", "| faster than | with its check | without |", "| --- | ---: | ---: |"]
    for name in ("onnxsim", "onnxslim"):
        cells = []
        for mine in (OURS, UNCHECKED):
            pairs = [
                (found[mine]["wall_s"], found[name]["wall_s"])
                for found in rows.values()
                if not found[mine]["problem"] and not found[name]["problem"]
            ]
            cells.append(f"{sum(one < other for one, other in pairs)} of {len(pairs)}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return [*lines, ""]


def _foot() -> list[str]:
    machine = describe_machine()
    tools = {**versions(), **{name: version(name) for name in ("onnxsim", "onnxslim")}}
    tools["onnxoptimizer"] = version("onnxoptimizer")
    return [
        f"{datetime.date.today().isoformat()}, {machine['processor']}, {machine['cores']} cores, "
        f"{machine['architecture']}, {machine['system']}; latencies are processor time of one thread.",
        ", ".join(f"{tool} {number}" for tool, number in tools.items()) + ".",
        "Every row is in [optimizers.csv](optimizers.csv). Made by `python benchmarks/optimizers.py`.",
    ]
