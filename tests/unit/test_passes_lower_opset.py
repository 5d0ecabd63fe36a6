"""Models written for an older opset mean the same, and say what holds them back where they cannot be."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from helpers import apply, by_onnxruntime, by_reference, graph, tag, weight
from sized import apply_at

from modelport.graph.schemas import means_the_same, operator, operators
from modelport.passes import PASSES
from modelport.passes.lower_forms import LOWERED

WEIGHTS: dict[str, Any] = {
    "w": weight(6),
    "b": weight(6, seed=1),
    "norm": np.asarray([0.5, 1, 2, 3], np.float32),
    "one": np.asarray([1], np.int64),
    "last": np.asarray([-1], np.int64),
    "parts": np.asarray([1, 3], np.int64),
    "pads": np.asarray([1, 2], np.int64),
    "sizes": np.asarray([7], np.int64),
    "scales": np.asarray([2.0], np.float32),
    "all_scales": np.asarray([1, 1, 2], np.float32),
    "all_sizes": np.asarray([3, 4, 9], np.int64),
    "all_sizes_r": np.asarray([4, 3, -1], np.int64),
    "empty": np.asarray([0, 3, 6], np.int64),
    "step": np.asarray(0.5, np.float32),
    "zero": np.asarray(0, np.uint8),
    "untrained": np.asarray(False),
    "half": np.asarray(0.5, np.float32),
    "six": np.asarray([0, 0, 1, 0, 0, 1], np.int64),
}


def new(body: str, *, takes: str = "float[3,4,6] x", gives: str = "float[A,B,C] y") -> ir.Model:
    used = {name: array for name, array in WEIGHTS.items() if name in re.findall(r"\w+", body)}
    model = graph(body, takes=takes, gives=gives, opset=20, **used)
    PASSES.get("infer_shapes")(model)
    return model


@pytest.mark.parametrize(
    "body",
    [
        "y = ReduceMean <keepdims = 1> (x, last)",
        "y = ReduceMax (x)",
        "y = ReduceSum <keepdims = 1> (x, one)",
        "a = Unsqueeze (x, last)\nr = Relu (a)\ny = Squeeze (r, last)",
        "y = Softmax (x)",
        "y = Softmax <axis = 1> (x)",
        "y = LogSoftmax <axis = -3> (x)",
        "p, q = Split <axis = 1> (x, parts)\ny = Concat <axis = 1> (q, p)",
        "p, q = Split <axis = 1, num_outputs = 2> (x)\ny = Sub (p, q)",
        "p, q = Split <axis = 0, num_outputs = 2> (x)\ny = Concat <axis = 0> (q, p)",
        "y = Pad (x, pads, step, last)",
        "y = Resize <axes = [2], mode = \"linear\"> (x, , , sizes)",
        "y = Resize <axes = [-1], mode = \"nearest\"> (x, , scales)",
        "y = Resize <mode = \"linear\"> (x, , all_scales)",
        "y = Resize <mode = \"linear\"> (x, , , all_sizes)",
        "y = LayerNormalization <axis = -1> (x, w, b)",
        "y = LayerNormalization <epsilon = 0.01> (x, w)",
        "y = Gelu (x)",
        "y = Gelu <approximate = \"tanh\"> (x)",
        "y = HardSwish (x)",
        "y = Mish (x)",
        "y = Celu <alpha = 0.5> (x)",
        "y = CastLike (x, half)",
        "a = GreaterOrEqual (x, half)\nc = LessOrEqual (x, half)\nd = Or (a, c)\ny = Where (d, x, half)",
        "y = BatchNormalization <training_mode = 0> (x, norm, norm, norm, norm)",
        "y = Dropout (x, half, untrained)",
        "s = Shape <start = 1, end = 3> (x)\nz = Shape <start = 0, end = 1> (x)\n"
        "t = Concat <axis = 0> (z, s)\ny = Reshape <allowzero = 0> (x, t)",
        "y = Reshape <allowzero = 1> (x, all_sizes_r)",
        "c = Constant <value_float = 0.25> ()\ny = Mul (x, c)",
        "y = AveragePool <kernel_shape = [2], dilations = [1]> (x)",
        "q = QuantizeLinear <axis = 1> (x, step, zero)\ny = DequantizeLinear <axis = 1> (q, step, zero)",
        "y = Clip (x, , half)",
    ],
)  # fmt: skip
def test_means_the_same_in_opset_11(body: str) -> None:
    model = tag(new(body), y="head")
    applied = apply("lower_opset_11", model, exact=False, by=[by_onnxruntime])
    assert applied.modified
    assert applied.refusals == []
    assert model.opset_imports[""] == 11
    assert model.ir_version == 6
    for node in model.graph.all_nodes():
        old = operator(node.op_type, 11)
        assert old is not None
        assert set(node.attributes) <= set(old.attributes)


def test_free_sizes_stay_free() -> None:
    model = new("s = Softmax <axis = 1> (x)\ny = HardSwish (s)", takes="float[N,4,6] x")
    assert apply_at("lower_opset_11", model, {"N": 5}, exact=False, by=[by_reference]).modified


def test_opset_18_keeps_what_it_has() -> None:
    model = new("a = Gelu (x)\nc = ReduceMean (a, last)\ny = HardSwish (c)")
    applied = apply("lower_opset_18", model, exact=False, by=[by_onnxruntime])
    assert applied.modified
    assert model.ir_version == 8
    assert "HardSwish" in applied.operators
    assert "Gelu" not in applied.operators
    (mean,) = [node for node in model.graph if node.op_type == "ReduceMean"]
    assert len(mean.inputs) == 2


@pytest.mark.parametrize(
    ("mode", "old"), [("linear", "bilinear"), ("cubic", "bicubic"), ("nearest", "nearest")]
)
def test_grid_samples(mode: str, old: str) -> None:
    model = new(
        f'y = GridSample <mode = "{mode}"> (x, g)',
        takes="float[1,3,4,5] x, float[1,2,2,2] g",
        gives="float[A,B,C,D] y",
    )
    apply("lower_opset_18", model, exact=False, by=[by_onnxruntime])
    (node,) = model.graph
    assert node.attributes.get_string("mode") == old


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ('y = Einsum <equation = "abc->acb"> (x)', "Einsum: opset 11 has no such operator"),
        ("y = Trilu (x)", "Trilu: opset 11 has no such operator"),
        ("a = Shape (x)\ng = Gather (a, one)\nc = ReduceSum (x, g)\ny = Add (c, x)",
         "ReduceSum: its axes are computed"),
        ('y = Resize <antialias = 1, mode = "linear"> (x, , all_scales)',
         "Resize: opset 11 has no antialias"),
        ("y = Reshape <allowzero = 1> (x, empty)",
         "Reshape: opset 11 makes no empty tensors of it"),
        ("y = ReduceSum <noop_with_empty_axes = 1> (x)", "ReduceSum: it has no axes and does nothing"),
        ("y = AveragePool <kernel_shape = [2], dilations = [2]> (x)",
         "AveragePool: opset 11 has no dilations for it"),
        ('y = Pad <mode = "wrap"> (x, six)', "Pad: opset 11 pads no copies of the other side"),
        ("i = ArgMax <axis = 1, select_last_index = 1> (x)\nf = Cast <to = 1> (i)\ny = Add (f, x)",
         "ArgMax: opset 11 has no select_last_index for it"),
        ("h = Cast <to = 16> (x)\nr = Relu (h)\ny = Cast <to = 1> (r)",
         "Relu: its form of opset 6 takes no bfloat16"),
        ("h = Cast <to = 10> (x)\np = Pow (x, h)\ny = Relu (p)",
         "Pow: its form of opset 7 wants one element type"),
    ],
)  # fmt: skip
def test_what_cannot_be_written_is_told_and_nothing_changes(body: str, reason: str) -> None:
    model = new(body)
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    step = PASSES.get("lower_opset_11")
    assert not step(model).modified
    assert [f"{each.reason}" for each in step.refusals][:1] == [reason]
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before


def test_functions_must_be_inlined_first() -> None:
    model = new("y = Relu (x)")
    function = ir.Function("custom", "Twice", graph=ir.Graph([], [], nodes=[]), attributes=[])
    model.functions[function.identifier()] = function
    step = PASSES.get("lower_opset_11")
    assert not step(model).modified
    assert step.refusals[0].reason == "it calls functions, which inline_functions replaces"


def test_every_operator_whose_form_has_changed_is_listed_or_only_gained_options() -> None:
    """New options show as attributes or inputs that opset 11 lacks, which each node is asked about."""
    gained = {"ArgMax", "ArgMin", "GRU", "GatherND", "LSTM", "LpPool", "RNN"}
    gained |= {"ScatterElements", "ScatterND"}
    changed = {
        name
        for name in operators(20)
        if operator(name, 11) is not None and not means_the_same(name, 20, 11)
    }
    assert changed - set(LOWERED) == gained
