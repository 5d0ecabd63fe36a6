"""Passes on quantized graphs: the same numbers in the form that an engine computes fastest."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from helpers import apply, graph, weight
from hypothesis import given, settings
from hypothesis import strategies as st

from modelport.graph.query import constant_of, operator_counts


def scalar(number: float, kind: Any = np.float32) -> Any:
    return np.asarray(number, kind)


def kinds(model: ir.Model) -> set[str]:
    """Element types of the zero points of what Quantize gives."""
    return {
        str(node.inputs[2].dtype)
        for node in model.graph
        if node.op_type == "QuantizeLinear" and node.inputs[2] is not None
    }


BRANCHES = """
q = QuantizeLinear (x, s, z)
d = DequantizeLinear (q, s, z)
e = DequantizeLinear (q, s, z)
a, b = Split <axis = 1, num_outputs = 2> (d)
c = Add (a, b)
f = QuantizeLinear (c, s, t)
g = DequantizeLinear (f, s, t)
h = Concat <axis = 1> (a, g)
y = Sub (h, e)
"""


@pytest.mark.parametrize("zero", [-128, -119, 0, 127])
def test_activations_become_unsigned(zero: int) -> None:
    model = graph(
        BRANCHES,
        takes="float[2,4,3] x",
        gives="float[2,4,3] y",
        s=scalar(0.05),
        z=scalar(zero, np.int8),
        t=scalar(-7, np.int8),
    )
    assert kinds(model) == {"INT8"}
    assert apply("unsigned_activations", model).modified
    assert kinds(model) == {"UINT8"}


def test_activations_with_a_scale_to_each_channel_become_unsigned() -> None:
    model = graph(
        "q = QuantizeLinear <axis = 1> (x, s, z)\ny = DequantizeLinear <axis = 1> (q, s, z)",
        takes="float[2,3] x",
        gives="float[2,3] y",
        s=np.asarray([0.01, 0.1, 1], np.float32),
        z=np.asarray([-128, 0, 5], np.int8),
    )
    assert apply("unsigned_activations", model).modified
    (zero,) = {node.inputs[2] for node in model.graph if node.op_type == "DequantizeLinear"}
    assert constant_of(zero).tolist() == [0, 128, 133]  # type: ignore[union-attr]


@given(
    scale=st.floats(2**-10, 10, width=32),
    zero=st.integers(-128, 127),
    numbers=st.lists(st.floats(-1e3, 1e3, width=32), min_size=4, max_size=4),
)
@settings(max_examples=50, deadline=None)
def test_unsigned_numbers_are_the_same(scale: float, zero: int, numbers: list[float]) -> None:
    """Also where they are cut off at either end."""
    from helpers import by_onnxruntime

    model = graph(
        "q = QuantizeLinear (x, s, z)\ny = DequantizeLinear (q, s, z)",
        takes="float[4] x",
        gives="float[4] y",
        s=scalar(scale),
        z=scalar(zero, np.int8),
    )
    feeds = {"x": np.asarray(numbers, np.float32)}
    before = by_onnxruntime(model, feeds)["y"]
    apply("unsigned_activations", model)
    assert np.array_equal(by_onnxruntime(model, feeds)["y"], before)


def test_unsigned_stays_unsigned_and_weights_stay_signed() -> None:
    body = """
    q = QuantizeLinear (x, s, z)
    d = DequantizeLinear (q, s, z)
    w = DequantizeLinear <axis = 0> (k, r)
    y = Conv (d, w)
    """
    model = graph(
        body,
        takes="float[1,2,3,3] x",
        gives="float[1,4,3,3] y",
        s=scalar(0.05),
        z=scalar(20, np.uint8),
        k=np.arange(-4, 4, dtype=np.int8).reshape(4, 2, 1, 1),
        r=np.asarray([0.1, 0.2, 0.3, 0.4], np.float32),
    )
    assert not apply("unsigned_activations", model, exact=False).modified


@pytest.mark.parametrize(
    ("body", "gives", "reader"),
    [
        ("q = QuantizeLinear (x, s, z)\ny = Identity (q)", "int8[4] y", "Identity"),
        ("y = QuantizeLinear (x, s, z)", "int8[4] y", "the caller"),
    ],
)
def test_integers_that_others_read_are_left(body: str, gives: str, reader: str) -> None:
    model = graph(body, takes="float[4] x", gives=gives, s=scalar(0.1), z=scalar(1, np.int8))
    applied = apply("unsigned_activations", model)
    assert not applied.modified
    assert [refusal.reason for refusal in applied.refusals] == [f"{reader} reads the integers"]


def table(**changes: Any) -> ir.Model:
    given = {
        "k": np.random.default_rng(0).integers(-127, 128, (6, 4)).astype(np.int8),
        "s": np.linspace(0.01, 0.2, 6).astype(np.float32),
        "z": np.zeros(6, np.int8),
        "ids": np.asarray([[0, 5, 2]]),
        **changes,
    }
    axis = given.pop("axis", 0)
    return graph(
        f"t = DequantizeLinear <axis = {axis}> (k, s, z)\nr = Gather (t, ids)\ny = Add (r, x)",
        takes="float[1,3,4] x",
        gives="float[1,3,4] y",
        **given,
    )


def test_rows_are_looked_up_as_integers() -> None:
    model = table()
    assert apply("gather_integers", model).modified
    counts = operator_counts(model)
    assert counts["Gather"] == 2
    assert "DequantizeLinear" not in counts


def test_a_table_that_others_read_stays_for_them() -> None:
    model = graph(
        "t = DequantizeLinear <axis = 0> (k, s)\nr = Gather (t, ids)\n"
        "p = Transpose (t)\ny = MatMul (r, p)",
        takes="int64[2] ids",
        gives="float[2,6] y",
        k=np.random.default_rng(0).integers(-127, 128, (6, 4)).astype(np.int8),
        s=np.linspace(0.01, 0.2, 6).astype(np.float32),
    )
    pass_ = apply("gather_integers", model, by=[by_rows])
    assert pass_.modified
    assert operator_counts(model)["DequantizeLinear"] == 1


def by_rows(model: ir.Model, feeds: Any) -> Any:
    """Random numbers are no places in a table."""
    from helpers import by_onnxruntime

    return by_onnxruntime(model, {"ids": np.abs(feeds["ids"]) % 6})


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"z": np.ones(6, np.int8)}, "the table has zero points"),
        (
            {"axis": 1, "s": np.ones(4, np.float32), "z": np.zeros(4, np.int8)},
            "the table has no constant scale in float32 to each row",
        ),
    ],
)
def test_other_tables_are_left(changes: dict[str, Any], reason: str) -> None:
    applied = apply("gather_integers", table(**changes))
    assert not applied.modified
    assert [refusal.reason for refusal in applied.refusals] == [reason]


def dense(scales: Any = None, **attributes: float) -> ir.Model:
    extra = ", ".join(f"{name} = {value}" for name, value in attributes.items())
    return graph(
        f"""
        q = QuantizeLinear (x, s, z)
        d = DequantizeLinear (q, s, z)
        w = DequantizeLinear <axis = 1> (k, r)
        y = Gemm {"<" + extra + ">" if extra else ""} (d, w, b)
        """,
        takes="float[2,8] x",
        gives="float[2,3] y",
        s=scalar(0.02) if scales is None else scales,
        z=scalar(0, np.int8),
        k=np.random.default_rng(0).integers(-127, 128, (8, 3)).astype(np.int8),
        r=np.asarray([0.01, 0.02, 0.03], np.float32),
        b=weight(3),
    )


def test_the_bias_of_a_gemm_is_rounded_by_less_than_a_step() -> None:
    model = dense()
    before = constant_of(model.graph.initializers["b"])
    assert before is not None
    applied = apply("round_gemm_biases", model, exact=False, by=[])
    assert applied.modified
    (gemm,) = [node for node in model.graph if node.op_type == "Gemm"]
    pair = gemm.inputs[2].producer()  # type: ignore[union-attr]
    assert pair is not None
    integers, scales = (constant_of(each) for each in pair.inputs[:2])
    assert integers is not None
    assert scales is not None
    assert integers.dtype == np.int32
    assert np.allclose(scales, 0.02 * np.asarray([0.01, 0.02, 0.03]))
    assert (np.abs(integers * scales - before) <= scales / 2 + 1e-7).all()


def test_a_gemm_that_scales_is_left() -> None:
    applied = apply("round_gemm_biases", dense(alpha=0.5), by=[])
    assert [refusal.reason for refusal in applied.refusals] == ["it scales what it adds"]


def test_a_bias_too_large_for_integers_is_left() -> None:
    applied = apply("round_gemm_biases", dense(scales=scalar(1e-12)), by=[])
    assert not applied.modified
    assert "more steps than int32 holds" in applied.refusals[0].reason


SMOOTHED = {
    "Gemm": "h = Gemm (d, w, b)",
    "Gemm turned": """t = Transpose (k)
        w2 = DequantizeLinear <axis = 0> (t, r)
        h = Gemm <transB = 1> (d, w2, b)""",
    "MatMul": "h = MatMul (d, w)",
    "MatMul and Add": "p = MatMul (d, w)\nh = Add (b, p)",
    "one number": "p = MatMul (d, w)\nh = Add (p, one)",
    "LayerNormalization": "p = Identity (x)\nh = LayerNormalization <axis = -1> (p, g, c)",
}


def smoothed(lines: str, by: Any, relu: bool = True, rank: int = 2) -> ir.Model:
    rng = np.random.default_rng(0)
    sizes = ",".join(map(str, [2, 3, 8, 8][-rank:]))
    return graph(
        f"""
        q = QuantizeLinear (x, s, z)
        d = DequantizeLinear (q, s, z)
        w = DequantizeLinear <axis = -1> (k, r)
        {lines}
        {"i = Relu (h)" if relu else "i = Identity (h)"}
        y = Mul (i, by)
        """,
        takes=f"float[{sizes}] x",
        gives=f"float[{sizes}] y",
        s=scalar(0.02),
        z=scalar(130, np.uint8),
        k=rng.integers(-127, 128, (8, 8)).astype(np.int8),
        r=np.linspace(0.01, 0.03, 8).astype(np.float32),
        b=weight(8),
        one=np.asarray([0.5], np.float32),
        g=weight(8) + 1,
        c=weight(8),
        g2=weight(8, 8),
        column=weight(8, 1),
        by=by,
    )


FORMS = [(form, rank) for form in SMOOTHED for rank in (2, 3) if rank == 2 or "Gemm" not in form]


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize(("form", "rank"), FORMS)
def test_smoothing_goes_into_what_makes_the_channels(form: str, rank: int, relu: bool) -> None:
    factors = np.linspace(0.2, 3, 8).astype(np.float32).reshape((1,) * (rank - 1) + (8,))
    model = smoothed(SMOOTHED[form], factors, relu, rank)
    for step in ("infer_shapes", "remove_identities", "fold_constants"):
        apply(step, model, exact=False)
    assert apply("fold_smoothing", model, exact=False).modified
    assert "Mul" not in operator_counts(model)


@given(by=st.lists(st.floats(-4, 4, width=32), min_size=8, max_size=8), relu=st.booleans())
@settings(max_examples=40, deadline=None)
def test_smoothing_gives_the_same_numbers_or_stays(by: list[float], relu: bool) -> None:
    """With a Relu between, factors have to be above zero; `apply` compares the results."""
    model = smoothed("h = Gemm (d, w, b)", np.asarray([by], np.float32), relu)
    apply("remove_identities", model)
    applied = apply("fold_smoothing", model, exact=False)
    assert applied.modified or relu or not np.isfinite(by).all() or 0 < np.abs(by).max() < 1e-30


ONES = np.ones((1, 8), np.float32)


@pytest.mark.parametrize(
    ("lines", "by", "reason"),
    [
        (SMOOTHED["Gemm"], -ONES, "a Relu would cut off other numbers"),
        (
            "e = MatMul (x, g2)\nh = Gemm (d, w, e)",
            ONES,
            "the bias of Gemm is no constant of floats",
        ),
        (
            SMOOTHED["Gemm"],
            np.ones((8, 8), np.float32),
            "the constant of Mul is not one number, nor one to a channel",
        ),
        (
            "p = MatMul (d, w)\nh = Add (p, column)",
            ONES,
            "the bias of Add is not one number to a channel",
        ),
        (SMOOTHED["Gemm"] + "\nv = Neg (w)", ONES, "something else reads its weights too"),
        (SMOOTHED["Gemm"] + "\nv = Neg (h)", ONES, "something else reads the result of Gemm too"),
    ],
)
def test_other_products_are_left(lines: str, by: Any, reason: str) -> None:
    model = smoothed(lines, by)
    apply("infer_shapes", model)
    applied = apply("fold_smoothing", model, exact=False)
    assert not applied.modified
    assert [refusal.reason for refusal in applied.refusals] == [reason]
