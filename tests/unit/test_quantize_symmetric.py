"""A quantized graph without zero points is int8 throughout, and close to what it was."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest
from helpers import by_onnxruntime, graph, weight
from hypothesis import given
from hypothesis import strategies as st

from modelport.errors import QuantizationError
from modelport.graph.query import constant_of, operator_counts
from modelport.quantize.float8 import float8
from modelport.quantize.ranges import largest_values
from modelport.quantize.symmetric import FLOAT8, symmetric
from modelport.quantize.typed import typed

BODY = """
xq = QuantizeLinear(x, xs, xz)
xf = DequantizeLinear(xq, xs, xz)
wf = DequantizeLinear<axis = 0>(w, ws, wz)
bf = DequantizeLinear<axis = 0>(b, bs)
c = Conv(xf, wf, bf)
r = Relu(c)
rq = QuantizeLinear(r, rs)
y = DequantizeLinear(rq, rs)
"""


def quantized(**changes: Any) -> ir.Model:
    generator = np.random.default_rng(0)
    numbers: dict[str, Any] = {
        "xs": np.float32(0.02), "xz": np.uint8(100),
        "w": generator.integers(0, 255, (4, 3, 1, 1), dtype=np.uint8),
        "ws": generator.uniform(0.001, 0.01, 4).astype(np.float32), "wz": np.full(4, 128, np.uint8),
        "b": generator.integers(-900, 900, 4).astype(np.int32), "bs": np.full(4, 1e-3, np.float32),
        "rs": np.float32(0.03),
    }  # fmt: skip
    body = changes.pop("body", BODY)
    numbers = {name: value for name, value in {**numbers, **changes}.items() if value is not None}
    return graph(body, takes="float[1, 3, 5, 5] x", gives="float[1, 4, 5, 5] y", **numbers)


def test_zero_points_go_and_results_stay_close() -> None:
    model = quantized()
    made = symmetric(model)
    for node in made.graph:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            zero = constant_of(node.inputs[2])
            assert zero is not None
            assert zero.dtype == np.int8
            assert not zero.any()
    assert operator_counts(made)["DequantizeLinear"] == 3  # that of the bias is a float now
    feeds = {"x": np.random.default_rng(1).uniform(-2, 3, (1, 3, 5, 5)).astype(np.float32)}
    want, got = (by_onnxruntime(each, feeds)["y"] for each in (model, made))
    assert np.abs(want - got).max() < 0.2
    assert np.corrcoef(want.ravel(), got.ravel())[0, 1] > 0.995
    assert operator_counts(model)["DequantizeLinear"] == 4  # and the source is as it was


def test_the_new_grid_reaches_as_far_as_the_old_one() -> None:
    """uint8 without a zero point runs to 255 scales; read as int8 it would be cut at 127."""
    made = symmetric(quantized())
    ends = [node for node in made.graph if node.outputs[0].name in ("rq", "y")]
    scales = [constant_of(node.inputs[1]) for node in ends]
    assert [float(scale) * 127 for scale in scales] == pytest.approx([0.03 * 255] * 2)


def test_a_symmetric_graph_stays_as_it_is() -> None:
    made = symmetric(quantized())
    again = symmetric(made)
    assert ir.to_proto(again).SerializeToString() == ir.to_proto(made).SerializeToString()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"xz": np.uint16(7)}, "works on uint16"),
        (
            {"body": BODY.replace("r = Relu(c)", "r = Relu(c)\nz = Cast<to = 1>(xq)")},
            "gives integers to Cast",
        ),
        (
            {"body": BODY.replace("rq = Q", "ss = Abs(rs)\nrq = Q").replace("(r, rs)", "(r, ss)")},
            "computed while the model runs",
        ),
    ],
)
def test_what_cannot_be_made_symmetric_is_told(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(QuantizationError, match=told):
        symmetric(quantized(**changes))


def test_float8_reaches_as_far_and_stays_close() -> None:
    model = quantized()
    made = float8(model, model)
    kinds = {str(v.dtype) for n in made.graph if n.op_type == "QuantizeLinear" for v in n.outputs}
    assert kinds == {"FLOAT8E4M3FN"}
    ends = [node for node in made.graph if node.outputs[0].name in ("rq", "y")]
    scales = [constant_of(node.inputs[1]) for node in ends]
    assert [float(scale) * 448 for scale in scales] == pytest.approx([0.03 * 255] * 2)
    feeds = {"x": np.random.default_rng(1).uniform(-2, 3, (1, 3, 5, 5)).astype(np.float32)}
    want, got = (by_onnxruntime(each, feeds)["y"] for each in (model, made))
    assert np.corrcoef(want.ravel(), got.ravel())[0, 1] > 0.99
    assert not np.array_equal(want, got)


def test_float8_rounds_the_weights_that_were_there_before() -> None:
    """Small weights keep their three bits, which int8 has lost."""
    before = np.asarray([[1.0, 0.01], [0.5, 0.003]], np.float32)
    original = graph("y = MatMul(x, w)", takes="float[1, 2] x", gives="float[1, 2] y", w=before)
    scale = np.float32(1 / 127)
    coarse = graph(
        "wf = DequantizeLinear(w, ws, wz)\ny = MatMul(x, wf)",
        takes="float[1, 2] x", gives="float[1, 2] y",
        w=np.rint(before / scale).astype(np.int8), ws=scale, wz=np.int8(0),
    )  # fmt: skip
    for model in (original, coarse):
        for node in model.graph:
            node.name = node.op_type
    feeds = {"x": np.asarray([[0.0, 1.0]], np.float32)}
    found = by_onnxruntime(float8(coarse, original), feeds)["y"][0]
    assert found == pytest.approx([0.5, 0.003], rel=1 / 16)
    assert by_onnxruntime(coarse, feeds)["y"][0, 1] == 0
    other = graph("y = MatMul(x, w)", takes="float[1, 2] x", gives="float[1, 2] y", w=before * 3)
    next(iter(other.graph)).name = "MatMul"
    found = by_onnxruntime(float8(coarse, other), feeds)["y"][0]
    assert found == pytest.approx([0.5, 0.0], rel=1 / 16), "a node of that name is not enough"


def test_an_old_opset_has_no_float8() -> None:
    model = quantized()
    model.graph.opset_imports[""] = 18
    with pytest.raises(QuantizationError, match="of opset 18, which has no float8"):
        float8(model, model)


@given(st.lists(st.floats(-448, 448, width=32), min_size=1, max_size=20))
def test_float8_numbers_are_the_nearest_ones(values: list[float]) -> None:
    every = np.arange(256, dtype=np.uint8).view(ml_dtypes.float8_e4m3fn).astype(np.float64)
    every = every[np.isfinite(every)]
    given_values = np.asarray(values)
    found = FLOAT8.stored(given_values).astype(np.float64)
    nearest = np.abs(every[:, None] - given_values).min(axis=0)
    np.testing.assert_array_equal(np.abs(found - given_values), nearest)


def test_constants_of_the_old_grids_are_gone() -> None:
    made = symmetric(quantized())
    read = {value.name for node in made.graph for value in node.inputs if value is not None}
    assert set(made.graph.initializers) <= read


def test_half_precision_is_in_the_graph_and_not_in_its_ends() -> None:
    model = graph("y = MatMul(x, w)", takes="float[2, 4] x", gives="float[2, 3] y", w=weight(4, 3))
    made = typed(model, "fp16")
    kinds = [value.dtype for value in (*made.graph.inputs, *made.graph.outputs)]
    assert kinds == [ir.DataType.FLOAT, ir.DataType.FLOAT]
    (product,) = (node for node in made.graph if node.op_type == "MatMul")
    assert product.outputs[0].dtype == ir.DataType.FLOAT16
    assert typed(model, "fp32") is model


@pytest.mark.parametrize("precision", ["int8", "fp8"])
def test_a_float_graph_does_not_pass_for_a_quantized_one(precision: str) -> None:
    model = graph("y = MatMul(x, w)", takes="float[2, 4] x", gives="float[2, 3] y", w=weight(4, 3))
    with pytest.raises(QuantizationError, match=f"is to be {precision}, and nothing in it is"):
        typed(model, precision)


def test_ranges_are_those_of_all_feeds() -> None:
    model = graph(
        "h = Neg(x)\ny = Mul(h, two)",
        takes="float[1, 2] x", gives="float[1, 2] y", two=np.float32(2),
    )  # fmt: skip
    feeds = [{"x": np.asarray([[1, -3]], np.float32)}, {"x": np.asarray([[2, 0]], np.float32)}]
    assert largest_values(model, feeds) == {"x": 3, "h": 3, "y": 6}
