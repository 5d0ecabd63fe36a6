"""onnx's own backend tests through the default pipeline: results stay those that onnx expects.

Every node test runs three times: as it is; with every input but the first one a weight, as in networks;
and with all inputs weights, where everything may fold away.
"""

from __future__ import annotations

import string
import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx  # noqa: TID251 - its tests are protos
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx.backend.test.case.node import collect_testcases  # noqa: TID251
from onnx.reference import ReferenceEvaluator  # noqa: TID251

from modelport.graph import invariants, io
from modelport.optimization import run_unverified
from modelport.passes.pipelines import portable

NEWEST_IR = 11
"""Of the file format, as far as ONNX Runtime reads it; operators do not depend on it."""

RANDOM = ("bernoulli", "dropout", "randomuniform", "randomnormal", "multinomial")
LEAST_RUN = 0.4
"""Share of the cases that some engine must run as they are, so that the suite cannot pass empty. Least of
all run among casts, between kinds of numbers that no processor has."""

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"


@cache
def cases() -> dict[str, list[Any]]:
    """The node tests by the first letter of their operator."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they divide by zero on purpose
        found = [case for case in collect_testcases(None) if case.model is not None]
    groups: dict[str, list[Any]] = {}
    for case in found:
        name = case.name.removeprefix("test_").lower()
        if not name.startswith(RANDOM) and "training" not in name:
            groups.setdefault(name[0], []).append(case)
    return groups


@pytest.mark.parametrize("constant", ["none", "parameters", "all"])
@pytest.mark.parametrize(
    "letters", ["ab", "c", "d", "efgh", "ijkl", "mno", "pq", "r", "s", "tuvwxyz"]
)
def test_node_tests(letters: str, constant: str) -> None:
    wrong, ran, total = [], 0, 0
    for case in (case for letter in letters for case in cases().get(letter, ())):
        for inputs, wanted in case.data_sets:
            total += 1
            outcome = tried(case, inputs, wanted, constant)
            ran += outcome is not None
            if outcome:
                wrong.append(f"{case.name}: {outcome}")
    assert not wrong, "\n".join(wrong)
    assert ran > LEAST_RUN * total * (0.8 if constant != "none" else 1)


def test_every_letter_is_there() -> None:
    assert set(cases()) <= set(string.ascii_lowercase)
    assert sum(len(group) for group in cases().values()) > 1500


def tried(case: Any, inputs: Sequence[Any], wanted: Sequence[Any], constant: str) -> str | None:
    """What is wrong after the pipeline, empty where nothing is; None where no engine runs the case."""
    proto = onnx.ModelProto()
    proto.CopyFrom(case.model)
    proto.ir_version = min(proto.ir_version, NEWEST_IR)
    feeds = {
        value.name: given
        for value, given in zip(proto.graph.input, inputs, strict=False)
        if given is not None
    }
    kept = {"none": list(feeds), "parameters": list(feeds)[:1], "all": []}[constant]
    if any(not isinstance(feeds[name], np.ndarray) for name in feeds if name not in kept):
        return None
    for name, array in feeds.items():
        if name not in kept:
            proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    _drop_inputs(proto, kept)
    feeds = {name: feeds[name] for name in kept}
    runner = next((run for run in RUNNERS if is_right(run, proto, feeds, wanted)), None)
    if runner is None:
        return None
    try:
        model = ir.from_proto(proto)
        made = run_unverified(model, portable()).model
        invariants.check(made)
        got = runner(io.to_proto(made), feeds)
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return difference(wanted, got)


def _drop_inputs(proto: Any, kept: Sequence[str]) -> None:
    inputs = [value for value in proto.graph.input if value.name in kept]
    del proto.graph.input[:]
    proto.graph.input.extend(inputs)


def by_onnxruntime(proto: Any, feeds: dict[str, Any]) -> list[Any]:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    content = proto.SerializeToString()
    session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return list(session.run(None, feeds))


def by_reference(proto: Any, feeds: dict[str, Any]) -> list[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return list(ReferenceEvaluator(proto).run(None, feeds))


RUNNERS = (by_onnxruntime, by_reference)


def is_right(run: Any, proto: Any, feeds: dict[str, Any], wanted: Sequence[Any]) -> bool:
    try:
        return difference(wanted, run(proto, feeds)) == ""
    except Exception:  # whatever an engine raises for what it does not know
        return False


def difference(wanted: Sequence[Any], got: Sequence[Any]) -> str:
    if len(wanted) != len(got):
        return f"{len(got)} outputs for {len(wanted)}"
    return next(filter(None, map(_difference, wanted, got)), "")


def _difference(want: Any, got: Any) -> str:
    if isinstance(want, list) and isinstance(got, list):
        return difference(want, got)
    if want is None or got is None:
        return "" if want is got else "a result is missing"
    one, other = np.asarray(want), np.asarray(got)
    if one.dtype != other.dtype or one.shape != other.shape:
        return f"{other.dtype}{list(other.shape)} for {one.dtype}{list(one.shape)}"
    if one.dtype.kind in "OUS":
        return "" if (one == other).all() else "other words"
    wide = [
        array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)
        for array in (one, other)
    ]
    same = np.allclose(*wide, rtol=2e-3, atol=2e-5, equal_nan=True)
    return "" if same else "other numbers"


@pytest.mark.parametrize("path", sorted(LIGHT.glob("*.onnx")), ids=lambda path: path.stem)
def test_light_models(path: Path) -> None:
    """Real networks whose weights are computed in the graph, from ConstantOfShape."""
    proto = onnx.load(path)
    feeds = {}
    known = {value.name for value in proto.graph.initializer}
    generator = np.random.default_rng(1)
    for value in proto.graph.input:
        if value.name not in known:
            shape = [size.dim_value or 1 for size in value.type.tensor_type.shape.dim]
            feeds[value.name] = generator.random(shape, dtype=np.float32)
    model = ir.from_proto(proto)
    made = run_unverified(model, portable()).model
    invariants.check(made)
    assert made.graph.num_nodes() < model.graph.num_nodes()
    want, got = by_onnxruntime(proto, feeds), by_onnxruntime(io.to_proto(made), feeds)
    assert difference(want, got) == ""
