"""Branches of convolutions merged into one, block by block, and where that must not happen."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from helpers import (
    apply,
    assert_same_results,
    assert_well_formed,
    by_onnxruntime,
    graph,
    spread,
    tag,
    weight,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from modelport.passes import PASSES

MORE = "the merged convolution would multiply more often than its branches"
PADS = "the pads of the branches do not line up"
ONE = "pads = [1, 1, 1, 1]"


def norm(channels: int, suffix: str = "") -> dict[str, Any]:
    names = {"scale": spread, "shift": weight, "mean": weight, "var": spread}
    return {
        f"{name}{suffix}": make(channels, seed=seed)
        for seed, (name, make) in enumerate(names.items(), start=20)
    }


def block(body: str, channels: int = 4, **weights: Any) -> ir.Model:
    """A graph from x to y over pictures of free size, with those weights that it names."""
    used = {name: array for name, array in weights.items() if name in body}
    return graph(body, takes=f"float[2,{channels},H,W] x", gives="float[2,C,A,B] y", **used)


def merged(model: ir.Model, by: Any = None) -> ir.Node:
    """The one Conv that the pass leaves."""
    applied = apply("merge_branches", model, exact=False, by=by)
    assert applied.operators == ["Conv"]
    assert applied.refusals == []
    return applied.model.graph[0]


@pytest.mark.parametrize("group", [1, 2, 4])
@pytest.mark.parametrize("stride", [1, 2])
def test_repvgg(stride: int, group: int) -> None:
    skip = "n = BatchNormalization (x, scale, shift, mean, var)\ny = Add (s, n)"
    conv = merged(
        block(
            f"""
            a = Conv <{ONE}, strides = [{stride}, {stride}], group = {group}> (x, w3, b3)
            b = Conv <strides = [{stride}, {stride}], group = {group}> (x, w1, b1)
            {"s" if stride == 1 else "y"} = Add (a, b)
            {skip if stride == 1 else ""}
            """,
            w3=weight(4, 4 // group, 3, 3),
            b3=weight(4, seed=1),
            w1=weight(4, 4 // group, 1, 1, seed=2),
            b1=weight(4, seed=3),
            **(norm(4) if stride == 1 else {}),
        )
    )
    assert list(conv.inputs[1].shape) == [4, 4 // group, 3, 3]
    assert [value.name for value in conv.inputs] == ["x", "w3", "b3"]
    assert conv.outputs[0].name == "y"


def test_mobileone() -> None:
    """Several depthwise branches, a 1x1 scale branch and a BatchNormalization."""
    conv = merged(
        block(
            f"""
            a = Conv <{ONE}, group = 4> (x, wa, ba)
            b = Conv <{ONE}, group = 4> (x, wb, bb)
            c = Conv <group = 4> (x, wc, bc)
            n = BatchNormalization (x, scale, shift, mean, var)
            p = Add (n, c)
            q = Add (p, a)
            y = Add (q, b)
            """,
            **{f"w{name}": weight(4, 1, 3, 3, seed=i) for i, name in enumerate("ab")},
            **{f"b{name}": weight(4, seed=i + 5) for i, name in enumerate("abc")},
            wc=weight(4, 1, 1, 1, seed=4),
            **norm(4),
        )
    )
    assert list(conv.inputs[1].shape) == [4, 1, 3, 3]


def test_replknet() -> None:
    body = (
        "a = Conv <pads = [4, 4, 4, 4], group = 4> (x, w9)\n"
        "b = Conv <pads = [2, 2, 2, 2], group = 4> (x, w5)\n"
        "c = Conv <pads = [4, 4, 4, 4], dilations = [4, 4], group = 4> (x, w3)\n"
        "y = Sum (a, b, c)"
    )
    conv = merged(block(body, w9=weight(4, 1, 9, 9), w5=weight(4, 1, 5, 5), w3=weight(4, 1, 3, 3)))
    assert list(conv.inputs[1].shape) == [4, 1, 9, 9]


def test_acnet() -> None:
    body = f"""
        a = Conv <{ONE}> (x, w33, b)
        b1 = Conv <pads = [0, 1, 0, 1]> (x, w13)
        c = Conv <pads = [1, 0, 1, 0]> (x, w31)
        s = Add (b1, c)
        y = Add (a, s)
    """
    merged(block(body, w33=weight(6, 4, 3, 3), b=weight(6), w13=weight(6, 4, 1, 3),
                 w31=weight(6, 4, 3, 1)))  # fmt: skip


def test_layer_scale_and_differences() -> None:
    """FastViT: x + scale * (mixer(x) - norm(x))."""
    body = f"""
        m = Conv <{ONE}, group = 4> (x, w, b)
        n = BatchNormalization (x, scale, shift, mean, var)
        d = Sub (m, n)
        l = Mul (gamma, d)
        y = Add (x, l)
    """
    merged(block(body, w=weight(4, 1, 3, 3), b=weight(4), gamma=weight(4, 1, 1), **norm(4)))


def test_diverse_branches() -> None:
    """DBB: 1x1 before 3x3, 1x1 before a pool, beside 3x3 and 1x1."""
    body = f"""
        a = Conv <{ONE}> (x, w3, b)
        p = Conv (x, w1)
        q = Conv <{ONE}> (p, v3)
        r = Conv (x, u1)
        t = AveragePool <kernel_shape = [3, 3], {ONE}, count_include_pad = 1> (r)
        s = Sum (a, q, t)
        i = Conv (x, t1)
        y = Add (i, s)
    """
    conv = merged(
        block(
            body,
            w3=weight(4, 4, 3, 3),
            b=weight(4),
            w1=weight(6, 4, 1, 1),
            v3=weight(4, 6, 3, 3),
            u1=weight(4, 4, 1, 1),
            t1=weight(4, 4, 1, 1),
        )
    )
    assert list(conv.inputs[1].shape) == [4, 4, 3, 3]


def test_conditional_positions() -> None:
    """x + depthwise(x); the sum is no work of its own any more."""
    body = f"a = Conv <{ONE}, group = 4> (x, w)\ny = Add (a, x)"
    assert len(merged(block(body, w=weight(4, 1, 3, 3))).inputs) == 2


@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER"])
def test_auto_pad_and_even_kernels(mode: str) -> None:
    body = f'a = Conv <auto_pad = "{mode}"> (x, w)\nb = Conv (x, v)\ny = Add (a, b)'
    conv = merged(block(body, w=weight(3, 4, 2, 4), v=weight(3, 4, 1, 1)), by=[by_onnxruntime])
    assert "auto_pad" not in conv.attributes


@pytest.mark.parametrize("rank", [3, 5])
def test_other_ranks(rank: int) -> None:
    axes = rank - 2
    sizes, free = ",".join(["6"] * axes), ",".join("ABC"[:axes])
    model = graph(
        f"a = Conv <pads = {[1] * 2 * axes}> (x, w)\nb = Conv (x, v)\ny = Add (a, b)",
        takes=f"float[1,2,{sizes}] x",
        gives=f"float[1,3,{free}] y",
        w=weight(3, 2, *[3] * axes),
        v=weight(3, 2, *[1] * axes),
    )
    merged(model)


def test_in_a_row_without_pads() -> None:
    """Nothing of a border lies between them, so any kernels compose, biases too."""
    body = "a = Conv <pads = [1, 1, 1, 1], strides = [2, 1]> (x, w, b)\ny = Conv (a, v, c)"
    conv = merged(block(body, w=weight(64, 4, 3, 3), b=weight(64), v=weight(6, 64, 1, 1),
                        c=weight(6)))  # fmt: skip
    assert list(conv.attributes["strides"].as_ints()) == [2, 1]


def test_pointwise_first_under_pads() -> None:
    body = f"a = Conv <strides = [2, 2]> (x, w)\ny = Conv <{ONE}, strides = [1, 2]> (a, v, c)"
    merged(block(body, w=weight(8, 4, 1, 1), v=weight(6, 8, 3, 3), c=weight(6)))


def test_pointwise_with_a_bias_under_pads_stays() -> None:
    """Padding puts zeros where the bias would be."""
    body = f"a = Conv (x, w, b)\ny = Conv <{ONE}> (a, v)"
    model = block(body, w=weight(8, 4, 1, 1), b=weight(8), v=weight(6, 8, 3, 3))
    assert not apply("merge_branches", model).modified


def test_provenance() -> None:
    model = block(
        f"a = Conv (x, w1)\nb = Conv <{ONE}> (x, w3)\ny = Add (a, b)",
        w1=weight(4, 4, 1, 1),
        w3=weight(4, 4, 3, 3),
    )
    conv = merged(tag(model, a="stem.scale", b="stem.kxk", y="stem"))
    assert conv.metadata_props["modelport.module"] == "stem.kxk"
    assert conv.metadata_props["modelport.merged"] == "stem.scale stem"


def test_in_a_subgraph_of_outer_values() -> None:
    model = graph(
        """
        y = If (flag) <
            then_branch = yes () => (float[1,4,A,B] yes_out) {
                a = Conv <pads = [1, 1, 1, 1]> (x, w)
                yes_out = Add (x, a)
            },
            else_branch = no () => (float[1,4,A,B] no_out) { no_out = Relu (x) }
        >
        """,
        takes="float[1,4,5,5] x, bool flag",
        gives="float[1,4,A,B] y",
        w=weight(4, 4, 3, 3),
    )
    assert apply("merge_branches", model, exact=False).modified


def test_half_precision_stays_half() -> None:
    model = graph(
        "a = Conv (x, w)\ny = Add (x, a)",
        takes="float16[1,4,5,5] x",
        gives="float16[1,4,A,B] y",
        w=weight(4, 4, 1, 1).astype(np.float16),
    )
    apply("merge_branches", model, by=[])
    assert model.graph[0].inputs[1].dtype == ir.DataType.FLOAT16


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("a = Conv <pads = [1, 0, 1, 0]> (x, w31)\nb = Conv <pads = [0, 1, 0, 1]> (x, w13)\n"
         "y = Add (a, b)", MORE),
        (f"d = Conv <{ONE}, group = 4> (x, dw)\np = Conv (d, w1)\ny = Add (p, x)", MORE),
        (f"a = Conv <{ONE}> (x, w3)\nb = Conv (x, v3)\ny = Add (a, b)", PADS),
        (f"a = Conv <{ONE}> (x, w3)\nb = Conv <pads = [1, 1, 0, 2]> (x, w1)\n"
         "y = Add (a, b)", PADS),
        (f"a = Conv <{ONE}, strides = [2, 1]> (x, w3)\nb = Conv (x, w1)\ny = Add (a, b)",
         "the strides of the branches differ"),
        (f"a = Conv <{ONE}> (x, w3)\nb = Conv (x, w1)\nc = Mul (b, huge)\ny = Add (a, c)",
         "the folded weights leave the range of float32"),
    ],
)  # fmt: skip
def test_refusals(body: str, reason: str) -> None:
    model = block(
        body,
        w31=weight(4, 4, 3, 1),
        w13=weight(4, 4, 1, 3),
        w3=weight(4, 4, 3, 3),
        v3=weight(4, 4, 3, 3, seed=1),
        w1=weight(4, 4, 1, 1) * 50,
        dw=weight(4, 1, 3, 3),
        huge=np.float32(3e38),
    )
    applied = apply("merge_branches", model, by=[])
    assert not applied.modified
    assert reason in applied.reasons


@pytest.mark.parametrize(
    "body",
    [
        # another reader, a result that callers see, another value, a pool that leaves pads out
        f"a = Conv <{ONE}> (x, w3)\nr = Relu (a)\ns = Add (a, x)\ny = Mul (s, r)",
        f"r = Relu (x)\na = Conv <{ONE}> (x, w3)\nb = Conv (r, w1)\ny = Add (a, b)",
        f"a = AveragePool <kernel_shape = [3, 3], {ONE}> (x)\nb = Conv <{ONE}> (x, w3)\n"
        "y = Add (a, b)",
        f"a = Conv <{ONE}> (x, w3)\nb = Relu (w1)\nc = Conv (x, b)\ny = Add (a, c)",
        "n = BatchNormalization (x, scale, shift, mean, var)\ny = Add (x, n)",
        f"a = Conv <{ONE}> (x, w3)\nb = Conv (x, w1)\nc = Mul (b, row)\ny = Add (a, c)",
    ],
)
def test_what_is_no_sum_of_linear_maps_of_one_value(body: str) -> None:
    model = block(
        body,
        w3=weight(4, 4, 3, 3),
        w1=weight(4, 4, 1, 1),
        row=np.ones((1, 1, 1, 1, 1), np.float32)[0, :, :, :, [0] * 7][..., 0, 0],
        **norm(4),
    )
    if "row" in body:
        model.graph.initializers["row"].const_value = ir.tensor(weight(7), name="row")
        model.graph.initializers["row"].shape = ir.Shape([7])
    assert not apply("merge_branches", model, by=[]).modified


def test_a_marked_branch_output_stays() -> None:
    """What callers read cannot be merged away, though the rest can."""
    model = graph(
        f"a = Conv <{ONE}> (x, w3)\nb = Conv (x, w1)\nc = Conv (x, v1)\ns = Add (b, c)\ny = Add (a, s)",
        takes="float[1,4,5,5] x",
        gives="float[1,4,5,5] y, float[1,4,5,5] a",
        w3=weight(4, 4, 3, 3),
        w1=weight(4, 4, 1, 1),
        v1=weight(4, 4, 1, 1, seed=3),
    )
    assert apply("merge_branches", model, exact=False).operators == ["Conv", "Conv", "Add"]


@st.composite
def sums(draw: st.DrawFn) -> ir.Model:
    """Branches of any kernel, pads, dilation and group over one value, with a common stride."""
    number = lambda low, high: draw(st.integers(low, high))  # noqa: E731
    stride = [number(1, 2), number(1, 3)]
    rows, weights, names = [], {}, []
    for index in range(number(2, 4)):
        group = draw(st.sampled_from([1, 2, 4]))
        taps, steps, pads = [], [], [[], []]
        for _ in range(2):
            taps.append(number(1, 4))
            steps.append(number(1, 2))
            begin = number(0, 3)
            pads[0].append(begin)
            # Odd ones out are drawn too: then the counts differ, and the sum is no valid graph.
            pads[1].append(max(0, (taps[-1] - 1) * steps[-1] - begin))
        weights[f"w{index}"] = weight(4, 4 // group, *taps, seed=index)
        names.append(f"a{index}")
        rows.append(
            f"a{index} = Conv <group = {group}, strides = {stride}, dilations = {steps}, "
            f"pads = {pads[0] + pads[1]}> (x, w{index})"
        )
    return graph(
        "\n".join([*rows, f"y = Sum ({', '.join(names)})"]),
        takes="float[1,4,11,12] x",
        gives="float[1,4,A,B] y",
        **weights,
    )


@settings(max_examples=60, deadline=None, derandomize=True)
@given(model=sums())
def test_any_sum(model: ir.Model) -> None:
    before = model.clone()
    try:
        by_onnxruntime(before, {"x": np.zeros((1, 4, 11, 12), np.float32)})
    except Exception:  # the branches have other sizes: no model
        return
    PASSES.get("merge_branches")(model)
    assert_well_formed(before, model)
    assert_same_results(before, model, by=[by_onnxruntime])
