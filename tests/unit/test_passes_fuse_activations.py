"""Gelu, HardSwish and HardSigmoid found in the nodes that exporters write for them."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest
from helpers import Applied, apply, by_onnxruntime, by_reference, graph, tag
from hypothesis import given, settings
from hypothesis import strategies as st

ERF = {
    "divided": "d = Div (x, root)\ne = Erf (d)\na = Add (e, one)",
    "multiplied": "d = Mul (root, x)\ne = Erf (d)\na = Add (one, e)",
}
ORDERS = {
    "half last": "m = Mul (x, a)\ny = Mul (m, half)",
    "half first": "m = Mul (half, x)\ny = Mul (m, a)",
    "half in the middle": "m = Mul (a, half)\ny = Mul (x, m)",
    "by two": "m = Mul (x, a)\ny = Div (m, two)",
    "x by two": "m = Div (x, two)\ny = Mul (a, m)",
}
TANH = {
    "power": "q = Pow (x, three)\nc = Mul (q, cubic)\ns = Add (x, c)\nt0 = Mul (s, slope)",
    "products": "p = Mul (x, x)\nq = Mul (p, x)\nc = Mul (cubic, q)\ns = Add (c, x)\nt0 = Mul (slope, s)",
    "factored out": "p = Mul (x, x)\nc = Mul (p, cubic)\ns = Add (c, one)\nk = Mul (x, slope)\n"
    "t0 = Mul (k, s)",
    "scaled x": "k = Mul (x, slope)\nc0 = Mul (x, cubic)\nc = Mul (c0, x)\ns = Add (one, c)\n"
    "t0 = Mul (k, s)",
}  # fmt: skip
NUMPY = {"float": np.float32, "float16": np.float16, "double": np.float64}


def numbers(dtype: Any = np.float32, shape: tuple[int, ...] = (), **more: float) -> dict[str, Any]:
    values = {
        "one": 1.0, "half": 0.5, "two": 2.0, "three": 3.0, "six": 6.0, "zero": 0.0,
        "cubic": 0.044715, "slope": math.sqrt(2 / math.pi), "sixth": 1 / 6, **more,
    }  # fmt: skip
    return {name: np.full(shape, value, dtype) for name, value in values.items()}


def used(body: str, weights: dict[str, Any]) -> dict[str, Any]:
    words = set(body.replace("(", " ").replace(")", " ").replace(",", " ").split())
    return {name: array for name, array in weights.items() if name in words}


def fused(
    name: str, body: str, *, kind: str = "float", shape: tuple[int, ...] = (), opset: int = 20,
    takes: str = "2,3", gives: str = "y", by: Any = None, **more: float,
) -> Applied:  # fmt: skip
    model = graph(
        body,
        takes=f"{kind}[{takes}] x",
        gives=", ".join(f"{kind}[{takes}] {each}" for each in gives.split()),
        opset=opset,
        **used(body, numbers(NUMPY[kind], shape, **more)),
    )
    return apply(name, model, exact=False, by=by)


def gelu(scaling: str = "divided", order: str = "half last", **options: Any) -> Applied:
    root = math.sqrt(2) if scaling == "divided" else math.sqrt(0.5)
    return fused("fuse_gelu", f"{ERF[scaling]}\n{ORDERS[order]}", **{"root": root, **options})


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("scaling", ERF)
def test_gelu_in_every_order(scaling: str, order: str) -> None:
    applied = gelu(scaling, order)
    assert applied.operators == ["Gelu"]
    assert applied.refusals == []
    assert applied.model.graph[0].attributes.get_string("approximate", "none") == "none"


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
@pytest.mark.parametrize("takes", ["2,3", "N,T"])
def test_gelu_with_numbers_of_any_shape_and_free_sizes(takes: str, shape: tuple[int, ...]) -> None:
    assert gelu(takes=takes, shape=shape).operators == ["Gelu"]


def test_numbers_that_would_raise_the_rank_are_refused() -> None:
    body = f"{ERF['divided']}\n{ORDERS['half last']}"
    weights = used(body, numbers(shape=(1, 1), root=math.sqrt(2)))
    model = graph(body, takes="float[3] x", gives="float[1,3] y", **weights)
    applied = apply("fuse_gelu", model)
    assert applied.reasons == ["a constant of rank 2 meets a value of rank 1"]


def test_gelu_of_half_precision_is_closer_than_the_nodes_were() -> None:
    """Its constants are those of the definition, rounded to half precision."""
    assert gelu(kind="float16", by=[]).operators == ["Gelu"]
    assert tanh_gelu("power", kind="float16", by=[]).operators == ["Gelu"]


def test_gelu_of_doubles() -> None:
    assert gelu(kind="double", by=[by_reference]).operators == ["Gelu"]


def test_gelu_of_bfloat16() -> None:
    body = f"{ERF['divided']}\n{ORDERS['half last']}"
    weights = used(body, numbers(ml_dtypes.bfloat16, root=math.sqrt(2)))
    model = graph(body, takes="bfloat16[4] x", gives="bfloat16[4] y", **weights)
    assert apply("fuse_gelu", model, by=[]).operators == ["Gelu"]


def tanh_gelu(spelling: str, order: str = "half last", **options: Any) -> Applied:
    body = f"{TANH[spelling]}\ne = Tanh (t0)\na = Add (e, one)\n{ORDERS[order]}"
    return fused("fuse_gelu", body, **options)


@pytest.mark.parametrize("order", ["half last", "half first"])
@pytest.mark.parametrize("spelling", TANH)
def test_gelu_by_tanh(spelling: str, order: str) -> None:
    applied = tanh_gelu(spelling, order)
    assert applied.operators == ["Gelu"]
    assert applied.model.graph[0].attributes.get_string("approximate") == "tanh"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"root": 1.41}, "its factor of x in Erf is 0.709219875, not 0.707106781"),
        ({"half": 0.25}, "its factor is 0.25, not 0.5"),
        ({"one": 1.5}, "its sum is 1.5, not 1"),
        ({"opset": 19}, "Gelu is of opset 20, and the model of opset 19"),
        ({"gives": "y e"}, "something else reads the result of its Erf too"),
        ({"gives": "y m"}, "something else reads the result of its Mul too"),
    ],
)
def test_refusals_of_gelu(options: dict[str, Any], reason: str) -> None:
    applied = gelu(**options)
    assert not applied.modified
    assert applied.reasons == [reason]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"cubic": 0.0447}, "its factor of x³ is 0.0447000004, not 0.044715"),
        ({"slope": 0.8}, "its factor of Tanh is 0.800000012, not 0.797884561"),
    ],
)
def test_refusals_of_gelu_by_tanh(options: dict[str, Any], reason: str) -> None:
    assert tanh_gelu("power", **options).reasons == [reason]


def test_a_number_behind_the_formula_stays() -> None:
    """Half of the formula's own, then three times the result."""
    body = f"{ERF['divided']}\nm = Mul (x, a)\nh = Mul (m, half)\ny = Mul (h, three)"
    applied = fused("fuse_gelu", body, root=math.sqrt(2))
    assert applied.operators == ["Gelu", "Mul"]
    assert applied.refusals == []


def test_x_that_is_a_sum_or_a_product_itself() -> None:
    """The formula's own sum must not be taken for that before it."""
    for before in ("x = Add (x0, x0)", "x = Mul (x0, half)", "x = Add (x0, one)"):
        body = f"{before}\n{ERF['divided']}\n{ORDERS['half first']}"
        model = graph(
            body, takes="float[2,3] x0", gives="float[2,3] y",
            **used(body, numbers(root=math.sqrt(2))),
        )  # fmt: skip
        model.graph[0].outputs[0].shape = ir.Shape([2, 3])
        assert apply("fuse_gelu", model, exact=False).operators == [before.split()[2], "Gelu"]


def test_products_that_are_no_gelu_are_let_be() -> None:
    body = "e = Erf (x)\na = Add (e, one)\nb = Mul (z, a)\ny = Mul (b, half)"
    model = graph(body, takes="float[2] x, float[2] z", gives="float[2] y", **used(body, numbers()))
    applied = apply("fuse_gelu", model)
    assert (applied.modified, applied.refusals) == (False, [])


def test_gelu_in_a_subgraph_keeps_its_module() -> None:
    model = graph(
        f"""
        y = If (flag) <
            then_branch = yes () => (float[2,3] yes_out) {{
                {ERF["divided"]}
                m = Mul (x, a)
                yes_out = Mul (m, half)
            }},
            else_branch = no () => (float[2,3] no_out) {{ no_out = Neg (x) }}
        >
        """,
        takes="float[2,3] x, bool flag",
        gives="float[2,3] y",
        **used("root one half", numbers(root=math.sqrt(2))),
    )
    tag(model, d="act", e="act", yes_out="block")
    assert apply("fuse_gelu", model, exact=False).modified
    (new,) = model.graph[0].attributes["then_branch"].as_graph()
    assert new.op_type == "Gelu"
    assert dict(new.metadata_props) == {"modelport.module": "act", "modelport.merged": "block"}


HARD = {
    "Clip": "b = Add (x, three)\nc = Clip (b, zero, six)",
    "Min of Max": "b = Add (three, x)\nc0 = Max (b, zero)\nc = Min (c0, six)",
    "Max of Min": "b = Add (x, three)\nc0 = Min (six, b)\nc = Max (zero, c0)",
    "Relu, Min": "b = Add (x, three)\nc0 = Relu (b)\nc = Min (c0, six)",
}
SWISH_ORDERS = {
    "divided last": "m = Mul (x, c)\ny = Div (m, six)",
    "sigmoid first": "m = Div (c, six)\ny = Mul (x, m)",
    "sixth": "m = Mul (x, sixth)\ny = Mul (m, c)",
}


@pytest.mark.parametrize("order", SWISH_ORDERS)
@pytest.mark.parametrize("cut", HARD)
def test_hardswish(cut: str, order: str) -> None:
    applied = fused("fuse_hardswish", f"{HARD[cut]}\n{SWISH_ORDERS[order]}")
    assert applied.operators == ["HardSwish"]
    assert applied.refusals == []


@pytest.mark.parametrize("kind", ["float16", "double"])
def test_hardswish_of_other_types(kind: str) -> None:
    body = f"{HARD['Clip']}\n{SWISH_ORDERS['divided last']}"
    by = [] if kind == "float16" else [by_reference]
    assert fused("fuse_hardswish", body, kind=kind, by=by).operators == ["HardSwish"]


@pytest.mark.parametrize("alpha", ["0.16666667", "0.1666666716337204"])
def test_hardswish_of_hardsigmoid(alpha: str) -> None:
    body = f"c = HardSigmoid <alpha = {alpha}, beta = 0.5> (x)\ny = Mul (c, x)"
    assert fused("fuse_hardswish", body).operators == ["HardSwish"]


LAST = HARD["Clip"] + "\n" + SWISH_ORDERS["divided last"]
SIXTH = HARD["Clip"] + "\n" + SWISH_ORDERS["sixth"]
FIFTH = "c = HardSigmoid (x)\ny = Mul (c, x)"


@pytest.mark.parametrize(
    ("body", "options", "reason"),
    [
        (LAST, {"three": 2.9}, "its offset is 0.483333349 of its height, not 0.5"),
        (SIXTH, {"sixth": 0.2}, "it rises to 1.20000002 times x, not to x"),
        (LAST, {"opset": 13}, "HardSwish is of opset 14, and the model of opset 13"),
        (LAST, {"gives": "y c"}, "something else reads the result of its Clip too"),
        (FIFTH, {}, "its slope is 0.2 of its height, not 0.166666667"),
    ],
)
def test_refusals_of_hardswish(body: str, options: dict[str, Any], reason: str) -> None:
    applied = fused("fuse_hardswish", body, **options)
    assert not applied.modified
    assert applied.reasons == [reason]


@pytest.mark.parametrize("last", ["y = Div (c, six)", "y = Mul (sixth, c)"])
@pytest.mark.parametrize("cut", HARD)
def test_hardsigmoid(cut: str, last: str) -> None:
    applied = fused("fuse_hardsigmoid", f"{HARD[cut]}\n{last}")
    assert applied.operators == ["HardSigmoid"]
    assert applied.model.graph[0].attributes.get_float("beta") == pytest.approx(0.5)


def test_clip_with_bounds_as_attributes() -> None:
    body = "b = Add (x, three)\nc = Clip <min = 0.0, max = 6.0> (b)\ny = Div (c, six)"
    applied = fused("fuse_hardsigmoid", body, opset=10, by=[by_onnxruntime])
    assert applied.operators == ["HardSigmoid"]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"six": 5.0, "sixth": 1 / 6}, "it rises to 0.833333358, not to 1"),
        (
            {"kind": "double", "by": [by_reference]},
            "the attributes of HardSigmoid are float32, and the values are double",
        ),
        ({"gives": "y b"}, "something else reads the result of its Add too"),
    ],
)
def test_refusals_of_hardsigmoid(options: dict[str, Any], reason: str) -> None:
    applied = fused("fuse_hardsigmoid", f"{HARD['Clip']}\ny = Mul (c, sixth)", **options)
    assert applied.reasons == [reason]


STEPS = ("Mul ({}, {})", "Div ({}, {})", "Add ({}, {})", "Erf ({})", "Tanh ({})", "Sigmoid ({})")


@settings(max_examples=150, deadline=None, derandomize=True)
@given(data=st.data())
def test_nothing_but_the_formulas_is_fused(data: st.DataObject) -> None:
    """Graphs near a Gelu or HardSwish: whatever a pass makes of them, the results stay."""
    lines, known = [], ["x"]
    constants = numbers(root=math.sqrt(2))
    for index in range(data.draw(st.integers(3, 7))):
        step = data.draw(st.sampled_from([*STEPS, "Clip ({}, zero, six)"]))
        left = data.draw(st.sampled_from(known[-3:]))
        # Divisors away from zero: a formula that blows up proves nothing.
        right = data.draw(st.sampled_from([*constants] if "Div" in step else [*constants, *known]))
        right = "two" if right == "zero" else right
        lines.append(f"v{index} = {step.format(left, right)}")
        known.append(f"v{index}")
    body = "\n".join(lines)
    model = graph(body, takes="float[5] x", gives=f"float[5] {known[-1]}", **used(body, constants))
    for name in ("fuse_gelu", "fuse_hardswish", "fuse_hardsigmoid"):
        apply(name, model, exact=False, by=[by_onnxruntime])
