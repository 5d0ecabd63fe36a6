"""Arithmetic with constants folded into the linear operator before it, and where it must stay."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest
from helpers import Array, apply, by_onnxruntime, graph, spread, tag, weight

NUMBERS = {
    "number": np.float32(1.5),
    "one": np.asarray([1.5], np.float32),
    "one of four axes": np.full((1, 1, 1, 1), 1.5, np.float32),
    "channels": spread(6, 1, 1, seed=3),
    "channels of four axes": spread(1, 6, 1, 1, seed=3),
}
STEPS = {
    "Mul": "y = Mul (a, c)",
    "Mul from the left": "y = Mul (c, a)",
    "Div": "y = Div (a, c)",
    "Add": "y = Add (a, c)",
    "Sub": "y = Sub (a, c)",
    "Sub from the left": "y = Sub (c, a)",
}


def conv(step: str, inputs: str = "x, w, b", **weights: Any) -> ir.Model:
    given = {"w": weight(6, 4, 3, 3), "b": weight(6, seed=9), **weights}
    if "b" not in inputs:
        given.pop("b")
    return graph(
        f"a = Conv <pads = [1, 1, 1, 1]> ({inputs})\n{step}",
        takes="float[2,4,5,4] x",
        gives="float[2,6,A,B] y",
        **given,
    )


@pytest.mark.parametrize("inputs", ["x, w", "x, w, b"])
@pytest.mark.parametrize("numbers", NUMBERS)
@pytest.mark.parametrize("step", STEPS)
def test_conv(step: str, numbers: str, inputs: str) -> None:
    applied = apply("fold_affine", conv(STEPS[step], inputs, c=NUMBERS[numbers]), exact=False)
    assert applied.operators == ["Conv"]
    assert applied.model.graph[0].inputs[1].name == "w"


def test_a_chain() -> None:
    model = conv(
        "p = Mul (a, c)\nq = Add (d, p)\nr = Neg (q)\ny = Div (r, e)",
        c=spread(6, 1, 1),
        d=weight(1, 6, 1, 1),
        e=np.float32(0.3),
    )
    applied = apply("fold_affine", tag(model, a="conv", p="gamma", r="minus"), exact=False)
    assert applied.operators == ["Conv"]
    assert model.graph[0].metadata_props["modelport.merged"] == "gamma minus"
    assert model.graph[0].inputs[2].name == "b"


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("group", [1, 2])
def test_conv_transpose(step: str, group: int) -> None:
    model = graph(
        f"a = ConvTranspose <group = {group}, strides = [2, 1], pads = [1, 0, 0, 1]> (x, w)\n"
        f"{STEPS[step]}",
        takes="float[1,4,5,4] x",
        gives="float[1,6,A,B] y",
        w=weight(4, 6 // group, 3, 3),
        c=spread(6, 1, 1),
    )
    applied = apply("fold_affine", model, exact=False, by=[by_onnxruntime])
    assert applied.operators == ["ConvTranspose"]


@pytest.mark.parametrize("shape", [(), (6,), (1, 6), (1, 1)])
@pytest.mark.parametrize("attributes", ["", "<transB = 1>", "<alpha = 0.5, beta = 3.0>"])
@pytest.mark.parametrize("step", STEPS)
def test_gemm(step: str, attributes: str, shape: tuple[int, ...]) -> None:
    model = graph(
        f"a = Gemm {attributes} (x, w, b)\n{STEPS[step]}",
        takes="float[3,4] x",
        gives="float[3,6] y",
        w=weight(6, 4) if "transB" in attributes else weight(4, 6),
        b=weight(6, seed=2),
        c=spread(*shape, seed=3),
    )
    assert apply("fold_affine", model, exact=False).operators == ["Gemm"]


@pytest.mark.parametrize("free", ["2,N", "N"])
@pytest.mark.parametrize("step", ["Mul", "Mul from the left", "Div"])
def test_matmul_without_a_bias(step: str, free: str) -> None:
    model = graph(
        f"a = MatMul (x, w)\n{STEPS[step]}",
        takes=f"float[{free},4] x",
        gives=f"float[{free},6] y",
        w=weight(4, 6),
        c=spread(6),
    )
    assert apply("fold_affine", model, exact=False).operators == ["MatMul"]


@pytest.mark.parametrize("shape", [(), (6,), (1, 1, 6)])
@pytest.mark.parametrize("bias", [(), (6,), (1, 6)])
@pytest.mark.parametrize("step", STEPS)
def test_matmul_with_a_bias(step: str, bias: tuple[int, ...], shape: tuple[int, ...]) -> None:
    """Layer scale: MatMul, its bias, and a number to a channel."""
    model = graph(
        f"m = MatMul (x, w)\na = Add (b, m)\n{STEPS[step]}",
        takes="float[2,3,4] x",
        gives="float[2,3,6] y",
        w=weight(4, 6),
        b=weight(*bias, seed=2),
        c=spread(*shape, seed=3),
    )
    applied = apply("fold_affine", model, exact=False)
    assert applied.operators == ["MatMul", "Add"]
    assert [value.name for value in model.graph.node(1).outputs] == ["y"]


def test_the_bias_of_a_matmul_stays() -> None:
    model = graph(
        "a = MatMul (x, w)\ny = Add (a, b)",
        takes="float[2,3,4] x",
        gives="float[2,3,6] y",
        w=weight(4, 6),
        b=weight(6),
    )
    assert not apply("fold_affine", model).modified


def test_shared_weights_are_parted() -> None:
    model = graph(
        "a = Conv (x, w)\ny = Mul (a, c)\nz = Conv (x, w)",
        takes="float[1,4,5,4] x",
        gives="float[1,6,A,B] y, float[1,6,A,B] z",
        w=weight(6, 4, 3, 3),
        c=np.float32(2.5),
    )
    applied = apply("fold_affine", model, exact=False)
    assert applied.modified
    np.testing.assert_array_equal(applied.constant("w"), weight(6, 4, 3, 3))


def test_large_shared_weights_are_not_copied() -> None:
    model = graph(
        "a = MatMul (x, w)\ny = Mul (a, c)\nz = MatMul (x, w)",
        takes="float[1,1024] x",
        gives="float[1,1025] y, float[1,1025] z",
        w=weight(1024, 1025),
        c=np.float32(2.5),
    )
    applied = apply("fold_affine", model)
    assert applied.reasons == ["something else reads its weight, which is too large for a copy"]


@pytest.mark.parametrize(
    ("numbers", "reason"),
    [
        (weight(4), "the constant of Mul is not one number, nor one to a channel"),
        (weight(5, 1), "the constant of Mul is not one number, nor one to a channel"),
        (weight(2, 1, 1, 1), "the constant of Mul is not one number, nor one to a channel"),
        (weight(1, 1, 1, 1, 1), "the constant of Mul is not one number, nor one to a channel"),
        (np.float32(np.inf), "the folded weights are not finite"),
        (np.float32(3e38), "the folded weights leave the range of float32"),
    ],
)
def test_constants_that_do_not_fit(numbers: Array, reason: str) -> None:
    """A constant with more axes than the result would add axes, and none may be lost."""
    model = conv("y = Mul (a, c)", c=numbers, w=weight(6, 4, 3, 3) * 10)
    if numbers.ndim > 4:
        model.graph.outputs[0].shape = ir.Shape([1, 2, 6, 5, 4])
    applied = apply("fold_affine", model, by=[])
    assert not applied.modified
    assert applied.reasons == [reason]


def test_one_output_channel_is_not_made_many() -> None:
    model = graph(
        "a = Conv (x, w)\ny = Mul (a, c)",
        takes="float[1,4,5,4] x",
        gives="float[1,6,5,4] y",
        w=weight(1, 4, 1, 1),
        c=weight(6, 1, 1),
    )
    assert not apply("fold_affine", model).modified


@pytest.mark.parametrize(
    ("body", "gives", "reason"),
    [
        ("a = Conv (x, w)\ny = Mul (a, c)\nz = Relu (a)", "float[1,6,A,B] y, float[1,6,A,B] z",
         "something else reads the result of Conv too"),
        ("a = Conv (x, w)\ny = Mul (a, c)", "float[1,6,A,B] y, float[1,6,A,B] a",
         "something else reads the result of Conv too"),
        ("a = Conv (x, w)\nd = Div (a, o)\ny = Relu (d)", "float[1,6,A,B] y",
         "it divides by zero"),
        ("a = Conv (x, w)\nd = Add (a, c)\ny = Clip (d, o, c)", "float[1,6,A,B] y",
         "with the Clip behind it, it is the begin of a hard sigmoid"),
        ("s = Relu (w)\na = Conv (x, s)\ny = Mul (a, c)", "float[1,6,A,B] y",
         "the weight of Conv is not a constant"),
    ],
)  # fmt: skip
def test_refusals(body: str, gives: str, reason: str) -> None:
    given = {"w": weight(6, 4, 1, 1), "c": np.float32(3), "o": np.float32(0)}
    used = {
        name: array for name, array in given.items() if f"{name})" in body or f" {name}," in body
    }
    model = graph(body, takes="float[1,4,5,4] x", gives=gives, **used)
    applied = apply("fold_affine", model, by=[])
    assert not applied.modified
    assert applied.reasons == [reason]


def test_division_of_a_constant_is_not_affine() -> None:
    assert not apply("fold_affine", conv("y = Div (c, a)", c=np.float32(2))).modified


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ml_dtypes.bfloat16])
def test_other_element_types(dtype: Any) -> None:
    name = {"float64": "double"}.get(np.dtype(dtype).name, np.dtype(dtype).name)
    model = graph(
        "a = Conv (x, w)\ny = Mul (a, c)",
        takes=f"{name}[1,4,5,4] x",
        gives=f"{name}[1,6,A,B] y",
        opset=22,
        w=weight(6, 4, 1, 1).astype(dtype),
        c=spread(6, 1, 1).astype(dtype),
    )
    applied = apply("fold_affine", model, by=[], exact=False)
    assert applied.operators == ["Conv"]
    assert applied.constant("w").dtype == dtype


def test_in_a_subgraph_but_not_across_its_border() -> None:
    model = graph(
        """
        a = Conv (x, w)
        y = If (flag) <
            then_branch = yes () => (float[1,6,A,B] yes_out) { yes_out = Mul (a, c) },
            else_branch = no () => (float[1,6,A,B] no_out) {
                i = Conv (x, v)
                no_out = Mul (i, c)
            }
        >
        """,
        takes="float[1,4,5,5] x, bool flag",
        gives="float[1,6,A,B] y",
        w=weight(6, 4, 3, 3),
        v=weight(6, 4, 3, 3),
        c=spread(6, 1, 1),
    )
    apply("fold_affine", model, exact=False)
    assert sorted(node.op_type for node in model.graph.all_nodes()) == ["Conv", "Conv", "If", "Mul"]
