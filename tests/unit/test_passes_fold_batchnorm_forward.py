"""Normalisation folded into the linear operators behind it, and where that must not happen."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from helpers import Array, apply, by_onnxruntime, graph, spread, tag, weight

from modelport.passes import PASSES

PADDED = "its shift does not reach into the padding behind it"


def norm(channels: int) -> dict[str, Array]:
    return {
        "scale": spread(channels, seed=5),
        "shift": weight(channels, seed=6),
        "mean": weight(channels, seed=7),
        "var": spread(channels, seed=8),
    }


def before_conv(
    chain: str,
    conv: str = "y = Conv (a, w, b)",
    *,
    takes: str = "float[2,4,7,6] x",
    gives: str = "float[2,6,A,B] y",
    **weights: Any,
) -> ir.Model:
    given = {
        "w": weight(6, 4, 3, 3),
        "b": weight(6, seed=1),
        "c": spread(4, 1, 1, seed=2),
        "d": weight(1, 4, 1, 1, seed=3),
        **norm(4),
        **weights,
    }
    text = f"{chain}\n{conv}"
    used = {name: array for name, array in given.items() if name in _words(text)}
    return graph(text, takes=takes, gives=gives, **used)


def with_shapes(model: ir.Model) -> ir.Model:
    """The pipeline infers shapes first."""
    PASSES.get("infer_shapes")(model)
    return model


def _words(text: str) -> set[str]:
    return set(text.replace(",", " ").replace("(", " ").replace(")", " ").split())


CHAINS = {
    "norm": "a = BatchNormalization (x, scale, shift, mean, var)",
    "mul": "a = Mul (x, c)",
    "mul from the left": "a = Mul (c, x)",
    "div": "a = Div (x, c)",
    "sub": "a = Sub (x, c)",
    "sub from the left": "a = Sub (c, x)",
    "neg": "a = Neg (x)",
    "mean and deviation": "m = Sub (x, d)\na = Div (m, c)",
    "all": "m = Div (x, k)\nn = Sub (m, d)\no = Div (n, c)\n"
    "a = BatchNormalization (o, scale, shift, mean, var)",
}


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("chain", CHAINS)
def test_without_pads(chain: str, bias: bool) -> None:
    conv = f"y = Conv <strides = [2, 1]> (a, w{', b' if bias else ''})"
    applied = apply(
        "fold_batchnorm_forward",
        before_conv(CHAINS[chain], conv, k=np.float32(255)),
        exact=False,
    )
    assert applied.operators == ["Conv"]
    assert applied.refusals == []


@pytest.mark.parametrize("shape", [(6, 2, 3, 3), (8, 1, 1, 1)])
def test_groups(shape: tuple[int, ...]) -> None:
    group = 4 // shape[1]
    model = before_conv(
        CHAINS["norm"],
        f"y = Conv <group = {group}> (a, w)",
        gives=f"float[2,{shape[0]},A,B] y",
        w=weight(*shape),
    )
    assert apply("fold_batchnorm_forward", model, exact=False).operators == ["Conv"]


@pytest.mark.parametrize("chain", ["mul", "div", "neg"])
@pytest.mark.parametrize("pads", ["pads = [1, 1, 1, 1]", 'auto_pad = "SAME_UPPER"'])
def test_a_factor_alone_does_not_mind_pads(chain: str, pads: str) -> None:
    model = before_conv(CHAINS[chain], f"y = Conv <{pads}> (a, w, b)")
    assert apply("fold_batchnorm_forward", model, exact=False).operators == ["Conv"]


@pytest.mark.parametrize(
    "attributes",
    [
        "pads = [1, 1, 1, 1], strides = [2, 2]",
        "pads = [2, 0, 1, 3], strides = [2, 3]",
        "pads = [2, 2, 2, 2], dilations = [2, 2], strides = [2, 1]",
        'auto_pad = "SAME_UPPER", strides = [2, 2]',
        'auto_pad = "SAME_LOWER", strides = [3, 2]',
    ],
)
def test_the_border_gets_a_bias_of_its_own(attributes: str) -> None:
    """A shift is missing where the window meets padding: at corners twice."""
    model = before_conv(CHAINS["norm"], f"y = Conv <{attributes}> (a, w, b)")
    applied = apply("fold_batchnorm_forward", with_shapes(model), exact=False)
    assert applied.operators == ["Conv", "Add"]
    assert [value.name for value in model.graph.node(1).outputs] == ["y"]


def test_the_border_of_groups() -> None:
    model = before_conv(
        CHAINS["norm"], "y = Conv <pads = [1, 1, 1, 1], group = 2, strides = [2, 2]> (a, w)",
        w=weight(6, 2, 3, 3),
    )  # fmt: skip
    applied = apply("fold_batchnorm_forward", with_shapes(model), exact=False)
    assert applied.operators == ["Conv", "Add"]


def test_a_border_larger_than_the_input_is_refused() -> None:
    model = before_conv(CHAINS["norm"], "y = Conv <pads = [1, 1, 1, 1]> (a, w)")
    applied = apply("fold_batchnorm_forward", with_shapes(model))
    assert applied.reasons == [PADDED]


def test_one_add_is_left_of_a_longer_chain() -> None:
    model = before_conv(
        CHAINS["all"],
        "y = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (a, w, b)",
        takes="float[N,4,H,W] x",
        gives="float[N,6,A,B] y",
        k=np.float32(255),
    )
    applied = apply("fold_batchnorm_forward", tag(model, a="norm", y="stem"), exact=False)
    assert applied.operators == ["Add", "Conv"]
    assert applied.reasons == [PADDED]
    assert model.graph[0].metadata_props["modelport.module"] == "norm"


@pytest.mark.parametrize("across", [0, 1])
@pytest.mark.parametrize("attributes", ["", ", alpha = 0.5, beta = 2.0"])
def test_gemm(across: int, attributes: str) -> None:
    model = graph(
        f"m = Sub (x, c)\nn = Mul (m, d)\ny = Gemm <transB = {across}{attributes}> (n, w, b)",
        takes="float[3,4] x",
        gives="float[3,6] y",
        w=weight(6, 4) if across else weight(4, 6),
        b=weight(6),
        c=weight(4, seed=2),
        d=weight(1, 4, seed=3),
    )
    assert apply("fold_batchnorm_forward", model, exact=False).operators == ["Gemm"]


@pytest.mark.parametrize("group", [1, 2])
def test_conv_transpose_takes_a_factor(group: int) -> None:
    model = before_conv(
        "a = Mul (x, c)",
        f"y = ConvTranspose <group = {group}, strides = [2, 2]> (a, w)",
        gives=f"float[2,{3 * group},A,B] y",
        w=weight(4, 3, 3, 3),
    )
    applied = apply("fold_batchnorm_forward", model, exact=False, by=[by_onnxruntime])
    assert applied.operators == ["ConvTranspose"]


def test_matmul_takes_a_factor_of_any_rank() -> None:
    model = graph(
        "a = Mul (x, c)\ny = MatMul (a, w)",
        takes="float[2,N,4] x",
        gives="float[2,N,6] y",
        w=weight(4, 6),
        c=weight(4, seed=2),
    )
    assert apply("fold_batchnorm_forward", model, exact=False).operators == ["MatMul"]


def test_several_readers() -> None:
    model = graph(
        "a = BatchNormalization (x, scale, shift, mean, var)\ny = Conv (a, w)\nz = Conv (a, v, b)",
        takes="float[1,4,5,5] x",
        gives="float[1,6,A,B] y, float[1,2,C,D] z",
        w=weight(6, 4, 3, 3),
        v=weight(2, 4, 1, 1),
        b=weight(2),
        **norm(4),
    )
    tagged = tag(model, a="norm", y="left", z="right")
    assert apply("fold_batchnorm_forward", tagged, exact=False).operators == ["Conv", "Conv"]
    assert {node.metadata_props["modelport.merged"] for node in model.graph} == {"norm"}


def test_channels_last_before_a_transpose() -> None:
    model = graph(
        """
        f = Cast <to = 1> (x)
        m = Sub (f, mean)
        n = Div (m, std)
        t = Transpose <perm = [0, 3, 1, 2]> (n)
        y = Conv (t, w)
        """,
        takes="uint8[1,6,5,3] x",
        gives="float[1,4,A,B] y",
        w=weight(4, 3, 3, 3),
        mean=spread(3),
        std=spread(1, 1, 3, seed=4),
    )
    applied = apply("fold_batchnorm_forward", model, exact=False)
    assert applied.operators == ["Cast", "Transpose", "Conv"]


def test_channels_last_under_pads() -> None:
    model = graph(
        """
        m = Sub (x, mean)
        n = Div (m, std)
        t = Transpose <perm = [0, 3, 1, 2]> (n)
        y = Conv <pads = [1, 1, 1, 1]> (t, w)
        """,
        takes="float[1,H,W,3] x",
        gives="float[1,4,H,W] y",
        w=weight(4, 3, 3, 3),
        mean=spread(3),
        std=spread(3, seed=4),
    )
    applied = apply("fold_batchnorm_forward", model, exact=False)
    assert applied.operators == ["Add", "Transpose", "Conv"]


def test_in_a_subgraph() -> None:
    model = graph(
        """
        y = If (flag) <
            then_branch = yes () => (float[1,6,A,B] yes_out) {
                a = Mul (x, c)
                yes_out = Conv (a, w)
            },
            else_branch = no () => (float[1,6,A,B] no_out) { no_out = Conv (x, w) }
        >
        """,
        takes="float[1,4,5,5] x, bool flag",
        gives="float[1,6,A,B] y",
        w=weight(6, 4, 3, 3),
        c=weight(4, 1, 1, seed=2),
    )
    assert apply("fold_batchnorm_forward", model, exact=False).modified
    assert model.graph.num_nodes() == 1


@pytest.mark.parametrize("opset", [8, 13])
def test_half_precision_keeps_its_worth(opset: int) -> None:
    """Weights divided by 255 would have a few bits left in float16."""
    model = before_conv(
        "a = Div (x, k)",
        "y = Conv (a, w)",
        takes="float16[2,4,7,6] x",
        gives="float16[2,6,A,B] y",
        w=(weight(6, 4, 3, 3) * 1e-3).astype(np.float16),
        k=np.float16(255),
    )
    applied = apply("fold_batchnorm_forward", model)
    assert applied.reasons == ["the folded weights are too small for float16"]


@pytest.mark.parametrize(
    ("chain", "conv", "gives", "reason"),
    [
        ("a = Mul (x, c)", "y = Conv (a, w)", "float[2,6,A,B] y, float[2,4,7,6] a",
         "its result is an output"),
        ("a = Mul (x, row)", "y = Conv (a, w)", "float[2,6,A,B] y",
         "the constant of Mul is not one number, nor one to a channel"),
        ("a = Div (x, nought)", "y = Conv (a, w)", "float[2,6,A,B] y", "it divides by zero"),
        ("r = Mul (x, x)\na = Mul (r, c)", "y = Conv (a, w)", "float[2,6,A,B] y",
         "it ends a normalisation or activation that engines know as a whole"),
        ("a = Mul (x, c)\nv = Relu (x)", "y = Conv (a, v)", "float[2,2,A,B] y",
         "the weight of Conv is not a constant"),
        ("a = Add (x, c)", "y = ConvTranspose (a, v)", "float[2,6,A,B] y",
         "ConvTranspose would spread its shift unevenly"),
        ("a = Mul (x, huge)", "y = Conv (a, w)", "float[2,6,A,B] y",
         "the folded weights leave the range of float32"),
    ],
)  # fmt: skip
def test_refusals(chain: str, conv: str, gives: str, reason: str) -> None:
    given = {
        "row": weight(6),
        "nought": np.float32(0),
        "v": weight(4, 6, 3, 3),
        "huge": np.float32(3e38),
    }
    used = {name: array for name, array in given.items() if f" {name})" in chain + conv}
    if "v = " in chain:
        used.pop("v")
    if "huge" in used:
        used["w"] = weight(6, 4, 3, 3) * 100
    model = before_conv(chain, conv, gives=gives, **used)
    applied = apply("fold_batchnorm_forward", model, by=[])
    assert not applied.modified
    assert applied.reasons == [reason]


def test_another_reader_keeps_the_chain() -> None:
    model = before_conv("a = Mul (x, c)\nz = Relu (a)", gives="float[2,6,A,B] y, float[2,4,7,6] z")
    assert not apply("fold_batchnorm_forward", model).modified
