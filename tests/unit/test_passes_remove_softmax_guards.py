"""The test for NaN goes where a row cannot be -inf all along, and stays elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from helpers import apply, by_onnxruntime, by_reference, graph

from modelport.passes import PASSES

NAME = "remove_softmax_guards"
LOWEST = np.finfo(np.float32).min
GUARD = """
s = Softmax<axis = -1>(t)
n = IsNaN(s)
g = Where(n, zero, s)
y = MatMul(g, v)
"""
WEIGHTS: dict[str, Any] = {
    "zero": np.float32(0),
    "lowest": np.float32(LOWEST),
    "infinite": np.float32(-np.inf),
    "bias": np.linspace(-9, 9, 5, dtype=np.float32),
    "causal": np.triu(np.full((5, 5), LOWEST, np.float32), 1),
    "holes": np.triu(np.full((5, 5), -np.inf, np.float32), 1),
    "scale": np.float32(0.25),
    "nothing": np.float32(0),
    "three": np.asarray([3, 5, 5], np.int64),
}
TAKES = "float[3,5,4] q, float[3,4,5] k, float[3,5,4] v, bool[3,1,5] mask, float[3,5,5] given"


def attention(body: str) -> ir.Model:
    model = graph(body + GUARD, takes=TAKES, gives="float[3,5,4] y", **WEIGHTS)
    return PASSES.get("infer_shapes")(model).model


REMOVED = {
    "mask of booleans": "m = Where(mask, zero, lowest)\np = MatMul(q, k)\nt = Add(p, m)",
    "filled": "p = MatMul(q, k)\nt = Where(mask, p, lowest)",
    "constant": "p = MatMul(q, k)\nt = Add(causal, p)",
    "no mask": "t = MatMul(q, k)",
    "scaled and biased": "p = MatMul(q, k)\no = Mul(scale, p)\nb = Add(o, bias)\n"
    "m = Where(mask, zero, lowest)\nt = Add(b, m)",
    "divided": "p = MatMul(q, k)\no = Div(p, scale)\nt = Where(mask, o, lowest)",
    "through views": "p = MatMul(q, k)\nm = Where(mask, zero, lowest)\nw = Expand(m, three)\nt = Sub(p, w)",
}


@pytest.mark.parametrize("form", REMOVED)
def test_it_goes(form: str) -> None:
    applied = apply(NAME, attention(REMOVED[form]))
    assert applied.modified
    assert not {"IsNaN"} & {node.op_type for node in applied.model.graph}


@pytest.mark.parametrize("form", ["mask of booleans", "filled"])
def test_rows_that_are_masked_whole_stay_the_same(form: str) -> None:
    before = attention(REMOVED[form])
    after = before.clone()
    PASSES.get(NAME)(after)
    generator = np.random.default_rng(3)
    feeds = {
        "q": generator.standard_normal((3, 5, 4)).astype(np.float32),
        "k": 30 * generator.standard_normal((3, 4, 5)).astype(np.float32),
        "v": generator.standard_normal((3, 5, 4)).astype(np.float32),
        "mask": np.array([[[0, 0, 0, 0, 0]], [[1, 0, 0, 0, 0]], [[1, 1, 1, 1, 1]]], bool),
        "given": np.zeros((3, 5, 5), np.float32),
    }
    for run in (by_reference, by_onnxruntime):
        expected, found = run(before, feeds)["y"], run(after, feeds)["y"]
        assert np.isfinite(expected).all()
        np.testing.assert_array_equal(found, expected)


STAYS = {
    "m = Where(mask, zero, infinite)\np = MatMul(q, k)\nt = Add(p, m)": "may be -inf",
    "p = MatMul(q, k)\nt = Add(p, given)": "may be -inf",
    "p = MatMul(q, k)\nt = Add(p, holes)": "may be -inf",
    "p = MatMul(q, k)\ne = Exp(p)\nt = Add(e, causal)": "may be -inf",
    "p = MatMul(q, k)\no = Div(p, nothing)\nt = Add(o, causal)": "may be -inf",
    "p = MatMul(q, k)\nm = Where(mask, zero, lowest)\na = Add(p, m)\nt = Add(a, m)": "add up",
    "p = MatMul(q, k)\na = Add(p, causal)\nt = Div(a, scale)": "add up",
}


@pytest.mark.parametrize("body", STAYS)
def test_it_stays(body: str) -> None:
    model = attention(body)
    found = PASSES.get(NAME)(model)
    assert not found.modified
    (refusal,) = PASSES.get(NAME).refusals
    assert STAYS[body] in refusal.reason


def test_two_masks_that_add_up_need_it() -> None:
    """All rows would be NaN without it."""
    model = attention(next(body for body in STAYS if "t = Add(a, m)" in body))
    shapes = {"q": (3, 5, 4), "k": (3, 4, 5), "v": (3, 5, 4), "given": (3, 5, 5)}
    feeds = {name: np.ones(shape, np.float32) for name, shape in shapes.items()}
    outputs = by_onnxruntime(model, {**feeds, "mask": np.zeros((3, 1, 5), bool)})
    assert not outputs["y"].any()


def test_a_product_with_a_bias_may_hold_a_mask() -> None:
    """In two axes a Gemm adds it, as fusions of others write it."""
    weights = {"zero": np.float32(0), "mask": np.full((5, 5), -np.inf, np.float32)}
    takes, gives = "float[5,4] q, float[4,5] k, float[5,4] v", "float[5,4] y"
    for body, goes in (("t = Gemm(q, k, mask)", False), ("t = Gemm(q, k)", True)):
        used = weights if not goes else {"zero": weights["zero"]}
        model = graph(body + GUARD, takes=takes, gives=gives, **used)
        PASSES.get("infer_shapes")(model)
        assert PASSES.get(NAME)(model).modified is goes


def test_float16_stays() -> None:
    body = "t = MatMul(q, k)" + GUARD
    takes = "float16[3,5,4] q, float16[3,4,5] k, float16[3,5,4] v"
    model = graph(body, takes=takes, gives="float16[3,5,4] y", zero=np.asarray(0, np.float16))
    PASSES.get("infer_shapes")(model)
    assert not PASSES.get(NAME)(model).modified
    (refusal,) = PASSES.get(NAME).refusals
    assert refusal.reason == "its scores may overflow their type"


def test_other_tests_are_left_alone() -> None:
    body = (
        "t = MatMul(q, k)\nother = Softmax(given)\ns = Softmax(t)\nn = IsNaN(other)\n"
        "g = Where(n, zero, s)\ny = MatMul(g, v)"
    )
    model = graph(body, takes=TAKES, gives="float[3,5,4] y", **WEIGHTS)
    assert not PASSES.get(NAME)(model).modified
    assert PASSES.get(NAME).refusals == []


def test_long_chains_end() -> None:
    sums = "\n".join(f"a{n + 1} = Add(a{n}, a{n})" for n in range(2000))
    body = f"a0 = MatMul(q, k)\n{sums}\nt = Identity(a2000)"
    assert not PASSES.get(NAME)(attention(body)).modified
