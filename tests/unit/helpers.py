"""Graphs from ONNX text, and the checks that every pass must survive."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx  # noqa: TID251 - the checker takes protos
import onnx_ir as ir
import onnxruntime as ort
from onnx.reference import ReferenceEvaluator  # noqa: TID251

from modelport.feeds import random_feeds
from modelport.graph import invariants, io
from modelport.graph.query import constant_of, signature_of
from modelport.passes import PASSES
from modelport.passes.base import Refusal

Array = np.ndarray[Any, Any]
Runner = Callable[[ir.Model, Any], dict[str, Array]]


def graph(
    body: str, *, takes: str, gives: str, opset: int = 20, ir_version: int = 10, **weights: Array
) -> ir.Model:
    """A model from the text of its nodes; `weights` become its initializers."""
    text = (
        f'<ir_version: {ir_version}, opset_import: ["" : {opset}, "custom" : 1]>\n'
        f"main ({takes}) => ({gives}) {{\n{body}\n}}"
    )
    proto = onnx.parser.parse_model(text)
    for name, array in weights.items():
        proto.graph.initializer.append(ir.to_proto(ir.tensor(np.asarray(array), name=name)))
    return ir.from_proto(proto)


def weight(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def spread(*shape: int, seed: int = 0) -> Array:
    """Positive numbers away from zero, for variances and scales."""
    return np.random.default_rng(seed).uniform(0.5, 2.0, shape).astype(np.float32)


def by_reference(model: ir.Model, feeds: Any) -> dict[str, Array]:
    names = [value.name for value in model.graph.outputs]
    results = ReferenceEvaluator(io.to_proto(model)).run(names, dict(feeds))
    return {name: np.asarray(array) for name, array in zip(names, results, strict=True)}


def by_onnxruntime(model: ir.Model, feeds: Any) -> dict[str, Array]:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(
        io.to_proto(model).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [value.name for value in model.graph.outputs]
    return dict(zip(names, session.run(names, dict(feeds)), strict=True))


@dataclass
class Applied:
    model: ir.Model
    modified: bool
    refusals: list[Refusal]

    @property
    def operators(self) -> list[str]:
        return [node.op_type for node in self.model.graph]

    @property
    def reasons(self) -> list[str]:
        return [refusal.reason for refusal in self.refusals]

    def constant(self, name: str) -> Array:
        array = constant_of(self.model.graph.initializers[name])
        assert array is not None
        return array


def apply(
    name: str, model: ir.Model, *, exact: bool = True, by: Sequence[Runner] | None = None
) -> Applied:
    """Runs one pass and checks what holds of every pass: same names, same results, idempotent.

    `by` says what runs the graphs before and after: by default onnx's reference and ONNX Runtime.
    """
    before = model.clone()
    result = PASSES.get(name)(model)
    applied = Applied(result.model, result.modified, list(PASSES.get(name).refusals))
    assert result.model is model
    assert_well_formed(before, model)
    assert_same_results(before, model, exact=exact, by=by)
    after = io.to_proto(model).SerializeToString(deterministic=True)
    assert not PASSES.get(name)(model).modified, "a second application changes the graph"
    assert io.to_proto(model).SerializeToString(deterministic=True) == after
    assert [refusal.reason for refusal in PASSES.get(name).refusals] == applied.reasons
    if not applied.modified and name != "infer_shapes":
        assert after == io.to_proto(before).SerializeToString(deterministic=True)
    return applied


def assert_well_formed(before: ir.Model, after: ir.Model) -> None:
    invariants.check(after)
    onnx.checker.check_model(io.to_proto(after), full_check=True)
    assert signature_of(after) == signature_of(before)


def assert_same_results(
    before: ir.Model,
    after: ir.Model,
    *,
    exact: bool = False,
    by: Sequence[Runner] | None = None,
) -> None:
    """Equal results on two random inputs; `exact` to the bit, else up to rounding."""
    runners = (by_reference, by_onnxruntime) if by is None else by
    for seed in (1, 2):
        feeds = random_feeds(signature_of(before), seed)
        for run in runners:
            expected, found = run(before, feeds), run(after, feeds)
            assert list(found) == list(expected)
            for name, array in expected.items():
                assert found[name].dtype == array.dtype, name
                assert found[name].shape == array.shape, name
                if exact:
                    np.testing.assert_array_equal(found[name], array)
                else:
                    scale = max(1.0, float(np.abs(array).max(initial=0)))
                    np.testing.assert_allclose(found[name], array, rtol=1e-4, atol=1e-5 * scale)


def tag(model: ir.Model, **modules: str) -> ir.Model:
    """Gives the producer of each named value a module path."""
    for node in model.graph.all_nodes():
        for value in node.outputs:
            if value.name in modules:
                node.metadata_props["modelport.module"] = modules[value.name]
    return model


def rename(model: ir.Model, **names: str) -> ir.Model:
    """ONNX text knows no dots in names; this brings them in afterwards."""
    for old, new in names.items():
        model.graph.initializers[old].name = new
    return model
