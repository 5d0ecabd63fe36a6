"""Writes what the zoo found to `benchmarks/results`: a page to read, and every row to work with."""

from __future__ import annotations

import csv
import datetime
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zoo_models import GROUPS, cases

RESULTS = Path(__file__).resolve().parents[1] / "results"
SIDES = ("ours", "plain")
TARGET = 0.98
COLUMNS = (
    "group", "model", "side", "status", "converted", "error", "movement", "seconds", "checks",
    "commit", "reason",
)  # fmt: skip
TOOLS = (
    "torch", "torchvision", "timm", "transformers", "onnx", "onnx-ir", "onnxscript", "onnxruntime",
    "numpy",
)  # fmt: skip

Record = dict[str, Any]


def publish(records: Sequence[Record], commit: str) -> None:
    """Takes the last outcome of every model: ours at that commit, the plain one at any."""
    rows = chosen(records, commit)
    RESULTS.mkdir(parents=True, exist_ok=True)
    _write_csv(rows, RESULTS / "zoo.csv")
    text = page(rows)
    (RESULTS / "zoo.md").write_text(text, encoding="utf-8")
    print(text)


def chosen(records: Sequence[Record], commit: str) -> list[Record]:
    last: dict[tuple[str, str, str], Record] = {}
    for record in records:
        if record["side"] == "plain" or record["commit"] == commit:
            last[record["group"], record["model"], record["side"]] = record
    order = list(GROUPS)
    there = {(group, name) for group in GROUPS for name in cases(group)}
    rows = [record for record in last.values() if (record["group"], record["model"]) in there]
    return sorted(rows, key=lambda r: (order.index(r["group"]), r["model"], r["side"]))


def _write_csv(rows: Sequence[Record], path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="", extrasaction="ignore")
        writer.writeheader()
        for row in rows:
            writer.writerow({key: _rounded(row.get(key)) for key in COLUMNS})


def _rounded(value: Any) -> Any:
    return f"{value:.3g}" if isinstance(value, float) else value


def page(rows: Sequence[Record]) -> str:
    lines = [
        "# The zoo",
        "",
        "`modelport.export` beside plain `torch.onnx.export`, default settings both, on the same "
        "machine. A model is *correct* if ONNX Runtime gives what the eager module gives, within "
        "0.1 % of the largest value, for two inputs other than the traced one, and for two more of "
        "a second size, and if the outputs move with the inputs. A *silent error* is a file that "
        "gives other results, and nobody said so.",
        "",
        f"Target: at least {TARGET:.0%} correct, nowhere fewer than the plain exporter, no silent "
        "errors.",
        "",
        *_summary(rows),
        "",
        _compared(rows),
        "",
        *_failures(rows, "ours", "Not correct with modelport"),
        *_failures(rows, "plain", "Not correct with plain torch.onnx.export"),
        _footer(),
        "",
    ]
    return "\n".join(lines)


def _summary(rows: Sequence[Record]) -> list[str]:
    table = [
        "| | run | correct | plain | converted | plain | silent errors | plain | median s | plain |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    groups = [group for group in GROUPS if any(row["group"] == group for row in rows)]
    for group in groups:
        own = [row for row in rows if row["group"] == group]
        table.append(_summary_row(group, own, len(cases(group))))
    if len(groups) > 1:
        table.append(_summary_row("**all**", rows, sum(len(cases(group)) for group in groups)))
    return table


def _compared(rows: Sequence[Record]) -> str:
    """The two sides model by model, over those that both have tried."""
    status = {(row["group"], row["model"], row["side"]): row["status"] for row in rows}
    models = sorted({key[:2] for key in status if all((*key[:2], s) in status for s in SIDES)})
    alone: dict[str, list[str]] = {side: [] for side in SIDES}
    for group, model in models:
        correct = [side for side in SIDES if status[group, model, side] == "correct"]
        if len(correct) == 1:
            alone[correct[0]].append(f"{group}: {model}")
    plain = f" ({', '.join(alone['plain'])})" if alone["plain"] else ""
    return (
        f"Of {len(models)} models that were tried with both, {len(alone['ours'])} are correct with "
        f"modelport alone, {len(alone['plain'])} with the plain exporter alone{plain}."
    )


def _summary_row(title: str, rows: Sequence[Record], total: int) -> str:
    """`total` is how many there are in the zoo; a run that was stopped has not come to all of them."""
    cells = [title, f"{len({(row['group'], row['model']) for row in rows})} of {total}"]
    by_side = {side: [row for row in rows if row["side"] == side] for side in SIDES}
    for count in (_correct, _converted, _wrong, _seconds):
        cells += [count(by_side[side]) for side in SIDES]
    return f"| {' | '.join(cells)} |"


def _correct(rows: Sequence[Record]) -> str:
    count = sum(row["status"] == "correct" for row in rows)
    return f"{count} ({count / len(rows):.1%})" if rows else "-"


def _converted(rows: Sequence[Record]) -> str:
    return str(sum(bool(row["converted"]) for row in rows)) if rows else "-"


def _wrong(rows: Sequence[Record]) -> str:
    return str(sum(row["status"] == "wrong" for row in rows)) if rows else "-"


def _seconds(rows: Sequence[Record]) -> str:
    known = [row["seconds"] for row in rows if row.get("seconds") is not None]
    return f"{statistics.median(known):.1f}" if known else "-"


def _failures(rows: Sequence[Record], side: str, title: str) -> list[str]:
    failed = [row for row in rows if row["side"] == side and row["status"] != "correct"]
    if not failed:
        return []
    lines = [f"## {title}", "", "| model | | reason |", "| --- | --- | --- |"]
    for row in failed:
        reason = row["reason"].replace("|", "\\|").replace("<", "&lt;")
        lines.append(f"| {row['group']}: {row['model']} | {row['status']} | {reason} |")
    return [*lines, ""]


def _footer() -> str:
    from modelport.machine import describe_machine, versions

    machine = describe_machine()
    tools = ", ".join(f"{tool} {version}" for tool, version in versions(TOOLS).items())
    return (
        f"{datetime.date.today().isoformat()}, {machine['processor']}, {machine['cores']} cores, "
        f"{machine['architecture']}, {machine['system']}; 1 thread, processor time.\n{tools}.\n"
        "Every row is in [zoo.csv](zoo.csv). Made by `python benchmarks/zoo.py`; "
        "see [docs/zoo.md](../../docs/zoo.md)."
    )
