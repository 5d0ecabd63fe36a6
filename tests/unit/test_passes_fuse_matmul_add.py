"""MatMul and its bias as one Gemm, and the scales of Gemm folded into its constants."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import apply, graph, tag, weight


@pytest.mark.parametrize("shape", [(), (6,), (1, 6), (1, 1)])
@pytest.mark.parametrize("add", ["Add (a, b)", "Add (b, a)"])
def test_two_axes(add: str, shape: tuple[int, ...]) -> None:
    model = graph(
        f"a = MatMul (x, w)\ny = {add}",
        takes="float[N,4] x",
        gives="float[N,6] y",
        w=weight(4, 6),
        b=weight(*shape, seed=1),
    )
    applied = apply("fuse_matmul_add", tag(model, a="head", y="head"), exact=False)
    assert applied.operators == ["Gemm"]
    (gemm,) = model.graph
    assert [value.name for value in gemm.inputs] == ["x", "w", "b"]
    assert gemm.metadata_props["modelport.module"] == "head"


@pytest.mark.parametrize(
    ("takes", "gives", "bias", "reason"),
    [
        ("float[2,3,4] x", "float[2,3,6] y", (6,), "the product is not known to have two axes"),
        ("float[4] x", "float[6] y", (6,), "the product is not known to have two axes"),
        ("float[3,4] x", "float[3,6] y", (3, 1),
         "the constant of Add is not one number, nor one to a channel"),
        ("float[3,4] x", "float[1,3,6] y", (1, 1, 6),
         "the constant of Add is not one number, nor one to a channel"),
    ],
)  # fmt: skip
def test_refusals(takes: str, gives: str, bias: tuple[int, ...], reason: str) -> None:
    model = graph(
        "a = MatMul (x, w)\ny = Add (a, b)", takes=takes, gives=gives,
        w=weight(4, 6), b=weight(*bias),
    )  # fmt: skip
    assert apply("fuse_matmul_add", model).reasons == [reason]


def test_another_reader() -> None:
    model = graph(
        "a = MatMul (x, w)\ny = Add (a, b)",
        takes="float[3,4] x",
        gives="float[3,6] y, float[3,6] a",
        w=weight(4, 6),
        b=weight(6),
    )
    assert apply("fuse_matmul_add", model).reasons == [
        "something else reads the result of MatMul too"
    ]


@pytest.mark.parametrize("inputs", ["x, w", "x, w, b"])
@pytest.mark.parametrize(
    "attributes", ["alpha = 0.3", "beta = -2.5", "alpha = 1.7, beta = 0.0, transB = 0"]
)
def test_scales(attributes: str, inputs: str) -> None:
    given: dict[str, Any] = {"w": weight(4, 6), "b": weight(6, seed=1)}
    model = graph(
        f"y = Gemm <{attributes}> ({inputs})",
        takes="float[3,4] x",
        gives="float[3,6] y",
        **{name: array for name, array in given.items() if name in inputs},
    )
    apply("fold_gemm_scales", model, exact=False)
    (gemm,) = model.graph
    assert not {"alpha", "beta"} & set(gemm.attributes)
    assert [value.name for value in gemm.inputs] == inputs.split(", ")


def test_scales_of_a_computed_weight_stay() -> None:
    model = graph(
        "y = Gemm <alpha = 0.3> (x, w)", takes="float[3,4] x, float[4,6] w", gives="float[3,6] y"
    )
    assert apply("fold_gemm_scales", model).reasons == ["the weight of Gemm is not a constant"]


def test_scales_that_float16_cannot_hold_stay() -> None:
    model = graph(
        "y = Gemm <alpha = 1e-6> (x, w)",
        takes="float16[3,4] x",
        gives="float16[3,6] y",
        w=weight(4, 6).astype(np.float16),
    )
    assert apply("fold_gemm_scales", model, by=[]).reasons == [
        "the folded weights are too small for float16"
    ]
