"""The result table of the engines' benchmark."""

from __future__ import annotations

import math
from typing import Any

from harness import publish as write

BUDGET = 0.01

TOOLS_NOTE = (
    "Random weights that let the outputs move, synthetic feeds; the loss is one minus the mean cosine to "
    "PyTorch's outputs. `times as fast` is over plain `torch.onnx.export` with ONNX Runtime fp32 as it "
    "comes, timed in turn with the rest in one process. `roof` is the share of the fastest matrix "
    "product this machine does in that arithmetic, or of its memory for what moves more than it computes."
)


def publish(rows: dict[str, dict[str, Any]]) -> None:
    rows = {name: row for name, row in rows.items() if "latencies" in row}
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
        "its time; at least 3 times as fast as the plain way (geometric mean) within 1 % loss. The search "
        "knows what the exhaustive searches of the *other* models found, as on a machine that has tuned "
        "them. `slower by` is how far a choice was behind the fastest entry of the race below within the "
        "budget; a few percent are noise here. Where only the search was run, the race has its entries "
        "alone.",
        "",
        "| model | chosen | times as fast | fastest of the race | slower by | seconds | exhaustive: seconds "
        "| share of time | its choice | slower by |",
        "| --- | --- | ---: | --- | ---: | ---: | ---: | ---: | --- | ---: |",
    ]
    gains, shares = [], []
    for name, row in rows.items():
        gains.append(_times(row, row["halving"]["chosen"]))
        if "exhaustive" in row:
            shares.append(row["halving"]["seconds"] / row["exhaustive"]["seconds"])
        lines.append(f"| {' | '.join(_tuned(name, row))} |")
    return [
        *lines,
        "",
        f"Geometric means: {_mean(gains):.2f} times as fast over {len(gains)} of 9 models, in "
        f"{_mean(shares):.2f} of an exhaustive search's time over {len(shares)}. {_possible(rows)}",
    ]


def _mean(values: list[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values)) if values else 0.0


def _tuned(name: str, row: dict[str, Any]) -> list[str]:
    found, best = row["halving"], _fastest(row)
    chosen = found["chosen"]
    cells = [name, chosen, f"{_times(row, chosen):.2f}", best, _behind(row, chosen, best)]
    cells.append(f"{found['seconds']:.0f}")
    if "exhaustive" not in row:
        return [*cells, "not searched", "", "", ""]
    whole = row["exhaustive"]
    share = f"{found['seconds'] / whole['seconds']:.2f}"
    behind = _behind(row, whole["chosen"], best)
    return [*cells, f"{whole['seconds']:.0f}", share, whole["chosen"], behind]


def _fastest(row: dict[str, Any]) -> str:
    """Of the race, within the budget; the plain way is no entry."""
    known, latencies = _candidates(row), row["latencies"]
    good = [name for name in latencies if name in known and (known[name]["loss"] or 0) <= BUDGET]
    return min(good, key=lambda name: latencies[name]["median_ms"])


def _behind(row: dict[str, Any], name: str, best: str) -> str:
    latencies = row["latencies"]
    return f"{latencies[name]['median_ms'] / latencies[best]['median_ms'] - 1:+.1%}"


def _times(row: dict[str, Any], name: str) -> float:
    found: float = row["latencies"]["plain"]["median_ms"] / row["latencies"][name]["median_ms"]
    return found


def _possible(rows: dict[str, dict[str, Any]]) -> str:
    """What the arithmetic of this machine leaves room for."""
    gains = []
    for row in rows.values():
        peak = max(row["roof"]["operations"].values())
        least = 2 * row["multiply_adds"] / peak * 1e3
        gains.append(row["latencies"]["plain"]["median_ms"] / least)
    if not gains:
        return ""
    return f"At the roof of this machine's fastest arithmetic it would be {_mean(gains):.2f}."


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
    searches = [row[how] for how in ("halving", "cold", "exhaustive") if how in row]
    return {
        each["name"]: each for found in searches for each in found["candidates"] if each["tried"]
    }


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
