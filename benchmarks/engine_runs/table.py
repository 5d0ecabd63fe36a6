"""The result table of the engines' benchmark."""

from __future__ import annotations

import math
from typing import Any

from harness import publish as write

TOOLS_NOTE = (
    "Random weights that let the outputs move, synthetic feeds; the loss is one minus the mean cosine to "
    "PyTorch's outputs. `times as fast` is over plain `torch.onnx.export` with ONNX Runtime fp32 as it "
    "comes, timed in turn with the rest in one process. `roof` is the share of the fastest matrix "
    "product this machine does in that arithmetic, or of its memory for what moves more than it computes."
)


def publish(rows: dict[str, dict[str, Any]]) -> None:
    lines = [
        TOOLS_NOTE,
        "",
        *_summary(rows),
        "",
        "## Every engine and precision",
        "",
        "| model | variant | ms | 10 % | 90 % | times as fast | loss | MB | start ms | RAM MB | roof |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows.values():
        lines += _latencies(row)
    lines += ["", "## What was refused, or is not the same model", ""]
    for row in rows.values():
        lines += _refusals(row)
    lines += ["", _roofs(rows)]
    lines += ["", "Engines: " + ", ".join(f"{k} {v}" for k, v in _engines(rows).items()) + "."]
    command = "python benchmarks/engines.py"
    write("engines", "Engines and precisions, and the tuner", lines, command=command)


def _summary(rows: dict[str, dict[str, Any]]) -> list[str]:
    lines = [
        "## The tuner",
        "",
        "Target: never more than 3 % slower than the best of an exhaustive search, in under a fifth of "
        "its time; at least 3 times as fast as the plain way (geometric mean) within 1 % loss.",
        "",
        "| model | chosen | times as fast | seconds | exhaustive | its time | share of time | slower by |",
        "| --- | --- | ---: | ---: | --- | ---: | ---: | ---: |",
    ]
    gains = []
    for name, row in rows.items():
        chosen, latencies = row["halving"]["chosen"], row["latencies"]
        gain = latencies["plain"]["median_ms"] / latencies[chosen]["median_ms"]
        gains.append(gain)
        cells = [name, chosen, f"{gain:.2f}", f"{row['halving']['seconds']:.0f}"]
        if "exhaustive" in row:
            best = row["exhaustive"]["chosen"]
            share = row["halving"]["seconds"] / row["exhaustive"]["seconds"]
            behind = latencies[chosen]["median_ms"] / latencies[best]["median_ms"] - 1
            cells += [best, f"{row['exhaustive']['seconds']:.0f}", f"{share:.2f}", f"{behind:+.1%}"]
        else:
            cells += ["not searched", "", "", ""]
        lines.append(f"| {' | '.join(cells)} |")
    mean = math.exp(sum(map(math.log, gains)) / len(gains)) if gains else 0.0
    return [*lines, "", f"Geometric mean over {len(gains)} of 9 models: {mean:.2f} times as fast."]


def _latencies(row: dict[str, Any]) -> list[str]:
    plain = row["latencies"]["plain"]["median_ms"]
    known = _candidates(row)
    lines = []
    for name, latency in sorted(row["latencies"].items(), key=lambda item: item[1]["median_ms"]):
        told = known.get(name, {})
        ms = latency["median_ms"]
        cells = [
            row["model"],
            f"**{name}**" if name == row["halving"]["chosen"] else name,
            f"{ms:.2f}", f"{latency['low_ms']:.2f}", f"{latency['high_ms']:.2f}",
            f"{plain / ms:.2f}",
            "" if told.get("loss") is None else f"{max(told['loss'], 0.0):.3%}",
            _millions(told.get("size_bytes")),
            "" if told.get("start_up_ms") is None else f"{told['start_up_ms']:.0f}",
            _millions(told.get("memory_bytes")),
            _share(row, name, ms, told),
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _candidates(row: dict[str, Any]) -> dict[str, dict[str, Any]]:
    both = [*row["halving"]["candidates"], *row.get("exhaustive", {}).get("candidates", [])]
    return {each["name"]: each for each in both if each["tried"]}


def _millions(value: int | None) -> str:
    return "" if value is None else f"{value / 1e6:.1f}"


def _share(row: dict[str, Any], name: str, ms: float, told: dict[str, Any]) -> str:
    """Time that the roof allows, over the time it took."""
    precision = next((p for p in ("int8", "bf16") if p in name), "fp32")
    peak = row["roof"]["operations"][precision] or row["roof"]["operations"]["fp32"]
    computing = 2 * row["multiply_adds"] / peak
    moving = (told.get("size_bytes") or 0) / row["roof"]["bytes_per_s"]
    return f"{max(computing, moving) * 1e3 / ms:.0%}"


def _refusals(row: dict[str, Any]) -> list[str]:
    lines, seen = [], set()
    for name, told in _candidates(row).items():
        if told["latency_ms"] is None and (reason := told["reason"]) not in seen:
            seen.add(reason)
            lines.append(f"- {row['model']}, {name}: {reason.replace('|', '/')[:300]}")
    return lines


def _roofs(rows: dict[str, dict[str, Any]]) -> str:
    best = {
        kind: max(row["roof"]["operations"][kind] for row in rows.values())
        for kind in ("fp32", "bf16", "int8")
    }
    told = [
        f"{kind} {value / 1e9:.0f} G operations/s" if value else f"no {kind}"
        for kind, value in best.items()
    ]
    speed = max(row["roof"]["bytes_per_s"] for row in rows.values())
    return f"Roof of this machine: {', '.join(told)}, copies {speed / 1e9:.1f} GB/s."


def _engines(rows: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {name: version for row in rows.values() for name, version in row["engines"].items()}
