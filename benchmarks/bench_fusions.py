"""Patterns of nodes against the one standard operator that means the same, on each engine.

    python benchmarks/bench_fusions.py [PART OF A NAME ...]

Says which fusions and decompositions belong in which engine's pipeline (`passes/pipelines.py`). One
thread; the forms of a case take turns within one process; a ratio is the median of the ratios of the
rounds. What an engine makes of a form is read from the engine: many patterns it fuses itself.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx  # noqa: TID251 - text of ONNX is parsed by onnx
import onnxruntime as ort
import openvino as ov
from fusion_cases import CASES, Case, Form
from harness import in_turn, publish

from modelport.feeds import random_feeds
from modelport.graph.io import from_proto
from modelport.graph.query import signature_of
from modelport.types import Feeds

ROUNDS = 41
TURN_MS = 8.0
"""Calls of one turn: as many as fit, at least one."""


@dataclass(frozen=True)
class Opened:
    """A form that an engine has compiled: a call, and the operators it was compiled to."""

    call: Callable[[], list[np.ndarray]]
    operators: str


def model_of(case: Case, form: Form) -> onnx.ModelProto:
    text = (
        f'<ir_version: 10, opset_import: ["" : {form.opset}, "com.microsoft" : 1]>\n'
        f"main ({case.takes}) => ({case.gives}) {{\n{form.body}\n}}"
    )
    proto = onnx.parser.parse_model(text)
    for name, array in {**case.weights, **form.weights}.items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return proto


def open_onnxruntime(proto: onnx.ModelProto, feeds: Feeds) -> Opened:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder) / "optimized.onnx")
        session = ort.InferenceSession(
            proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        optimized = onnx.load(options.optimized_model_filepath)
    return Opened(
        lambda: session.run(None, feeds), _counted([n.op_type for n in optimized.graph.node])
    )


def open_openvino(proto: onnx.ModelProto, feeds: Feeds) -> Opened:
    core = ov.Core()
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": 1,
    }
    compiled = core.compile_model(core.read_model(proto.SerializeToString()), "CPU", settings)
    request = compiled.create_infer_request()
    kinds = [
        node.rt_info["layerType"].astype(str) for node in compiled.get_runtime_model().get_ops()
    ]
    kinds = [kind for kind in kinds if kind not in ("Input", "Output", "Const", "Constant")]
    return Opened(lambda: list(request.infer(feeds, share_inputs=True).values()), _counted(kinds))


ENGINES = {"onnxruntime": open_onnxruntime, "openvino": open_openvino}


def _counted(kinds: list[str]) -> str:
    counts = Counter(kinds)
    return ", ".join(k if n == 1 else f"{n} {k}" for k, n in counts.items())


def measured(case: Case, engine: str) -> list[str]:
    """Rows of the table, one for each form after the first, which is what exporters write."""
    protos = {name: model_of(case, form) for name, form in case.forms.items()}
    feeds = random_feeds(signature_of(from_proto(next(iter(protos.values())))), 1)
    opened, failed = {}, {}
    for name, proto in protos.items():
        try:
            opened[name] = ENGINES[engine](proto, feeds)
            opened[name].call()
        except Exception as error:
            opened.pop(name, None)
            failed[name] = " ".join(str(error).split())[-80:]
    base = next(iter(protos))
    if base not in opened:
        return [f"| {case.name} | {engine} | {base} | | | refused: {failed[base]} |"]
    expected = opened[base].call()
    times = in_turn(
        {name: each.call for name, each in opened.items()},
        rounds=ROUNDS, warm=1, counted=_calls(opened[base].call), pause_s=0.0,
    )  # fmt: skip
    rows = []
    for name in protos:
        if name in failed:
            rows.append(f"| {case.name} | {engine} | {name} | | | refused: {failed[name]} |")
            continue
        ratio = statistics.median(a / b for a, b in zip(times[base], times[name], strict=True))
        away = max(
            float(np.abs(a.astype(np.float64) - b).max())
            for a, b in zip(expected, opened[name].call(), strict=True)
        )
        wrong = "" if away < 1e-3 else f" (differs by {away:.1e})"
        rows.append(
            f"| {case.name} | {engine} | {name} | {statistics.median(times[name]):.3f} | "
            f"{'' if name == base else f'{ratio:.2f}'}{wrong} | {opened[name].operators} |"
        )
    return rows


def _calls(call: Callable[[], object]) -> int:
    spent = in_turn({"": call}, rounds=1, warm=2, counted=3, pause_s=0.0)[""][0]
    return max(1, min(40, int(TURN_MS / spent)))


def noise(lines: Sequence[str]) -> float:
    """By how much forms of one case differ that an engine made the same operators of."""
    base, most = [""] * 6, 0.0
    for line in lines[2:]:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not cells[4]:
            base = cells
        elif cells[5] == base[5]:
            most = max(most, abs(float(cells[4].split()[0]) - 1))
    return most


def main() -> None:
    wanted = sys.argv[1:]
    chosen = [case for case in CASES if not wanted or any(part in case.name for part in wanted)]
    lines = [
        "| case | engine | form | median ms | times as fast | becomes |",
        "| --- | --- | --- | ---: | ---: | --- |",
    ]
    for case in chosen:
        for engine in ENGINES:
            rows = measured(case, engine)
            print("\n".join(rows), flush=True)
            lines += rows
    if not wanted:
        publish(
            "fusions",
            "One standard operator against the nodes it stands for",
            [
                "*Times as fast* compares each form with the first one of its case, which is what exporters "
                "write. *Becomes* is what the engine's own optimiser made of the form, so it shows which "
                "patterns the engine fuses itself. Forms that became the same operators differ by up to "
                f"{noise(lines):.0%}: read no less than that into a ratio.",
                "",
                *lines,
            ],
            threads=1,
        )


if __name__ == "__main__":
    main()
