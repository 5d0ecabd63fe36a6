"""What is done to a quantized graph for ONNX Runtime and OpenVINO, measured: time and closeness.

    pip install -c constraints.txt -e ".[bench]"
    python benchmarks/bench_integers.py [PART OF A NAME ...]

Of each model of the engines' benchmark, in turn and in one process: the float graph, the graph as NNCF
quantizes it, and what modelport makes of that for the engine; for ONNX Runtime also what its own
`quantize_static` makes of the float graph. Sessions are the engines' own ones but for the latter, which
has a session as its user opens one. SQNR is that of the first output, over feeds of which the
calibration knew nothing.
"""

from __future__ import annotations

import logging
import statistics
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
from engine_runs.subjects import FEEDS, SUBJECTS, Subject
from harness import THREADS, in_turn, publish

from modelport.engines import ENGINES
from modelport.frontends import ExportOptions, open_source
from modelport.graph.io import save_with_weights
from modelport.optimization import optimize, probe_with
from modelport.quantize import SCHEMES
from modelport.quantize.nncf import quantize
from modelport.tailoring import Tailor
from modelport.types import Array, Feeds, Target
from modelport.variants import Compiler, Plan

UNSEEN = range(FEEDS, FEEDS + 4)
ROUNDS = 15

Call = Callable[[Feeds], Mapping[str, Array]]


def main() -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)  # what ONNX Runtime's tool would have its users do before
    rows = {}
    for name, subject in SUBJECTS.items():
        if not sys.argv[1:] or any(part in name for part in sys.argv[1:]):
            rows[name] = measured(subject)
            print(name, rows[name]["sqnr_db"], flush=True)
    command = "python benchmarks/bench_integers.py"
    publish("integers", "Graphs in int8, engine by engine", table(rows), command=command)


def measured(subject: Subject) -> dict[str, Any]:
    """Of each contender the times of each round, and how close it is to the float graph."""
    source = open_source(subject.module(), inputs=subject.inputs, options=ExportOptions())
    model = optimize(source.to_graph()).model
    calibration = [subject.feeds(seed) for seed in range(FEEDS)]
    with tempfile.TemporaryDirectory(prefix="modelport-") as scratch, ExitStack() as opened:
        calls = contenders(model, calibration, Path(scratch), opened)
        unseen = [subject.feeds(seed) for seed in UNSEEN]
        want = [first(calls["onnxruntime fp32"](feeds)) for feeds in unseen]
        close = {
            name: sqnr_db(want, [first(call(feeds)) for feeds in unseen])
            for name, call in calls.items()
        }
        times = in_turn(
            {name: partial(call, unseen[0]) for name, call in calls.items()},
            rounds=ROUNDS,
            warm=2,
            counted=3,
        )
    return {"times": times, "sqnr_db": close}


def contenders(
    model: ir.Model, calibration: Sequence[Feeds], folder: Path, opened: ExitStack
) -> dict[str, Call]:
    int8 = SCHEMES.get("int8")
    quantized = quantize(model, int8, calibration)
    tailor = Tailor(probe_with(calibration[:2]))
    compiler = Compiler(model, calibration, folder / "ours", tailor)
    calls: dict[str, Call] = {}
    for name in ("onnxruntime", "openvino"):
        engine = ENGINES.get(name)
        for kind, scheme in (("fp32", None), ("int8", int8)):
            target = Target(precision=kind, threads=THREADS)
            compiled = compiler.compile(Plan(name, target, scheme))
            assert compiled.artifact is not None, compiled.problem
            session = opened.enter_context(engine.load(compiled.artifact, threads=THREADS))
            calls[f"{name} {kind}"] = session.run
        place = folder / f"{name}-nncf"
        place.mkdir()
        left = engine.compile(quantized, Target(precision="int8", threads=THREADS), place)
        calls[f"{name} NNCF"] = opened.enter_context(engine.load(left, threads=THREADS)).run
    calls["onnxruntime own"] = by_its_own_tool(model, calibration, folder)
    return calls


def by_its_own_tool(model: ir.Model, calibration: Sequence[Feeds], folder: Path) -> Call:
    """ONNX Runtime's `quantize_static`: pairs in the graph, uint8 activations, a scale to each channel."""
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._left = iter(calibration)

        def get_next(self) -> Any:
            return next(self._left, None)

    floats = save_with_weights(model, folder, name="floats")["model"]
    made = folder / "own.onnx"
    quantize_static(
        floats, made, Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
    )  # fmt: skip
    options = ort.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.log_severity_level = 4
    session = ort.InferenceSession(made, options, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_outputs()]

    def call(feeds: Feeds) -> Mapping[str, Array]:
        return dict(zip(names, session.run(None, dict(feeds)), strict=True))

    return call


def first(outputs: Mapping[str, Array]) -> Array:
    """A copy: sessions may own what they give."""
    return np.array(next(iter(outputs.values())), np.float64)


def sqnr_db(want: Sequence[Array], got: Sequence[Array]) -> float:
    signal = sum(float(np.square(array).sum()) for array in want)
    noise = sum(float(np.square(a - b).sum()) for a, b in zip(want, got, strict=True))
    return float(10 * np.log10(signal / max(noise, signal * 1e-15)))


COLUMNS = {
    "onnxruntime": ("fp32", "NNCF", "own", "int8"),
    "openvino": ("fp32", "NNCF", "int8"),
}
TITLES = {
    "fp32": "fp32",
    "NNCF": "as NNCF leaves it",
    "own": "`quantize_static`",
    "int8": "modelport",
}


def table(rows: dict[str, dict[str, Any]]) -> list[str]:
    lines = [
        "Milliseconds, median of the rounds, with the 10 % and 90 % marks; SQNR in dB over "
        f"{len(UNSEEN)} feeds that the calibration has not seen, against ONNX Runtime fp32. Random "
        "weights but for the first model. `as NNCF leaves it` has modelport's scheme and session, and none "
        "of its passes for the engine.",
    ]
    for engine, kinds in COLUMNS.items():
        heads = [TITLES[kind] for kind in kinds]
        lines += [
            "",
            f"## {engine}",
            "",
            f"| model | {' | '.join(heads)} | times as fast as fp32 | as NNCF |",
        ]
        lines.append("| --- |" + " ---: |" * (len(heads) + 2))
        gains: list[tuple[float, float]] = []
        for name, row in rows.items():
            medians = {kind: statistics.median(row["times"][f"{engine} {kind}"]) for kind in kinds}
            gains.append((medians["fp32"] / medians["int8"], medians["NNCF"] / medians["int8"]))
            cells = [cell(row, f"{engine} {kind}") for kind in kinds]
            lines.append(
                f"| {name} | {' | '.join(cells)} | {gains[-1][0]:.2f} | {gains[-1][1]:.2f} |"
            )
        means = [statistics.geometric_mean(each) for each in zip(*gains, strict=True)]
        lines.append(f"| geometric mean |{' |' * len(heads)} {means[0]:.2f} | {means[1]:.2f} |")
    return lines


def cell(row: dict[str, Any], name: str) -> str:
    cuts = statistics.quantiles(row["times"][name], n=10)
    told = f"{statistics.median(row['times'][name]):.2f} ({cuts[0]:.2f} to {cuts[-1]:.2f})"
    return told if name.endswith("fp32") else f"{told}, {row['sqnr_db'][name]:.1f} dB"


if __name__ == "__main__":
    main()
