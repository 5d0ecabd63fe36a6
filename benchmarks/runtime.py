"""From a file to a result, in production: the predictor against scripts and against original libraries.

    python benchmarks/runtime.py [--only detection] [--rounds 25] [--passes 3] [--print]

Each contender runs in a process of its own, and all take turns, so that a slow minute of the machine hits
all of them. Ratios are those of the medians over turns. The contenders' results are compared, too.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from harness import demo_bundle, in_turn, photos, publish, summary
from runtime_runs import cases, dense, process
from runtime_runs.table import case_table, starts_table
from runtime_runs.turns import measured

COMMAND = "python benchmarks/runtime.py"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--rounds", type=int, default=25, help="turns of each contender")
    parser.add_argument("--passes", type=int, default=3, help="times over all files in a turn")
    parser.add_argument("--calls", type=int, default=10_000, help="for the growth of memory")
    parser.add_argument("--print", action="store_true", help="print the tables, and write none")
    asked = parser.parse_args()
    lines = [
        "Targets: file to result at least 1.5 times as fast as the script and 5 times as fast as the "
        "original library, for classification and detection; import under 0.2 s; no growth of memory.",
        "",
    ]
    for case in cases(asked.only):
        lines += case_table(case, measured(case, rounds=asked.rounds, passes=asked.passes))
    if not asked.only:
        lines += _around(asked.rounds, asked.calls)
    if asked.print or asked.only:
        print("\n".join(lines))
    else:
        publish("runtime", "The runtime: file in, result out", lines, command=COMMAND)


def _around(rounds: int, calls: int) -> list[str]:
    """Everything that belongs to no one model."""
    bundle, photo = demo_bundle(), photos()[0]
    single, mapped = process.growth(bundle, photo, calls)
    times, kept = dense.boxes(rounds)
    return [
        "## A process that only runs bundles",
        "",
        *starts_table(process.starts(bundle, photo, max(5, rounds // 3))),
        "",
        f"Memory after {calls} more calls: {single:+.1f} MB one by one, {mapped:+.1f} MB by `map`.",
        "",
        "## What a call adds to the engine's own",
        "",
        _overhead(bundle, rounds),
        "",
        "## Decoding alone",
        "",
        f"{dense.ROWS} rows of {5 + dense.CLASSES} numbers, {dense.CANDIDATES} over the threshold, {kept} "
        "kept:",
        "",
        *summary(times, "numpy + OpenCV's NMS"),
        "",
    ]


def _overhead(bundle: Path, rounds: int) -> str:
    import modelport

    predictor = modelport.load(bundle, threads=1, variant="onnxruntime-fp32")
    assert isinstance(predictor, modelport.Predictor)
    assert predictor.preprocessor is not None
    session: Any = predictor.session
    tensor = predictor.preprocessor(photos()[0])
    feeds = {predictor.bundle.signature.inputs[0].name: tensor}
    calls: dict[str, Callable[[], object]] = {
        "bare": lambda: session._session.run(None, feeds),
        "predictor": lambda: predictor.infer(tensor),
    }
    times = in_turn(calls, rounds=2 * rounds, warm=3, counted=20, pause_s=0)
    paired = [b - a for a, b in zip(times["bare"], times["predictor"], strict=True)]
    return (
        f"Median over {2 * rounds} rounds: {statistics.median(paired) * 1e3:.0f} µs, five best classes "
        "included."
    )


if __name__ == "__main__":
    main()
