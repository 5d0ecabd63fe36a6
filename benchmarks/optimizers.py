"""Optimisers of ONNX graphs side by side: ours, onnxsim, onnxslim, onnxoptimizer, onnxscript, ONNX Runtime.

    pip install -c constraints.txt -e ".[bench]"
    python benchmarks/optimizers.py run [--only resnet18]
    python benchmarks/optimizers.py table

Every subject is exported once, without any optimisation, by each of PyTorch's exporters; then every
contender gets the same file, in turn. Rows go to `benchmarks/.optimizers/rows.jsonl`, so a run goes on
where the last one stopped.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from optimizer_runs.subjects import exported, names
from rich.console import Console

FOLDER = Path(__file__).resolve().parent / ".optimizers"
ROWS = FOLDER / "rows.jsonl"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=["run", "table"])
    parser.add_argument("--only", default="", help="subjects whose name contains this")
    parser.add_argument("--again", action="store_true", help="also what has rows already")
    arguments = parser.parse_args()
    if arguments.command == "table":
        from optimizer_runs.table import publish

        publish(rows())
        return
    done = set() if arguments.again else {row["subject"] for row in rows()}
    for name in names():
        if arguments.only in name and name not in done:
            _run(name)


def rows() -> list[dict[str, Any]]:
    """The last row of every subject and contender."""
    if not ROWS.exists():
        return []
    read = [json.loads(line) for line in ROWS.read_text(encoding="utf-8").splitlines()]
    return list({(row["subject"], row["contender"]): row for row in read}.values())


def _run(name: str) -> None:
    """The export runs in a child, so that torch and its threads are gone when latencies are measured."""
    from optimizer_runs.measure import measured

    child = multiprocessing.get_context("spawn").Process(
        target=exported, args=(name, FOLDER / "models")
    )
    child.start()
    child.join()
    source = exported(name, FOLDER / "models")
    with tempfile.TemporaryDirectory() as scratch:
        found = measured(name, source, Path(scratch))
    with ROWS.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(row.as_dict()) + "\n" for row in found)
    console = Console(width=140)
    for row in found:
        console.print(_line(row.as_dict()), highlight=False)


def _line(row: dict[str, Any]) -> str:
    def shown(key: str, style: str) -> str:
        return "-" if row[key] is None else format(row[key], style)

    return (
        f"{row['subject']:48} {row['contender']:20} {shown('nodes', 'd'):>5} nodes "
        f"{shown('wall_s', '.2f'):>6} s {shown('peak_mib', '.0f'):>5} MiB "
        f"ORT {shown('ort_ms', '.2f'):>7} OV {shown('openvino_ms', '.2f'):>7} "
        f"error {shown('error', '.1e')} {row['problem']}"
    )


if __name__ == "__main__":
    main()
