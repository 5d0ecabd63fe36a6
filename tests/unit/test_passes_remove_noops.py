"""Nodes that do nothing go; those that almost do nothing stay."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from helpers import apply, by_onnxruntime, graph, tag
from sized import apply_at

from modelport.passes import PASSES

WEIGHTS: dict[str, Any] = {
    "zero": np.float32(0),
    "minus_zero": np.float32(-0.0),
    "one": np.float32(1),
    "ones": np.ones(6, np.float32),
    "wide": np.ones((2, 1, 1, 1), np.float32),
    "izero": np.asarray(0, np.int64),
    "first": np.asarray([0], np.int64),
    "starts": np.asarray([0, 0], np.int64),
    "ends": np.asarray([2**62, 4], np.int64),
    "axes": np.asarray([2, 1], np.int64),
    "backwards": np.asarray([-1], np.int64),
    "lowest": np.asarray([-(2**62)], np.int64),
    "kept": np.asarray([0, 4, 6], np.int64),
    "grow": np.asarray([1, 4, 1], np.int64),
    "pads": np.zeros(6, np.int64),
    "shift": np.asarray([0, 1, 0, 0, -1, 0], np.int64),
    "once": np.ones(3, np.int64),
    "order": np.arange(4, dtype=np.int64),
    "swapped": np.asarray([0, 2, 1, 3], np.int64),
    "scales": np.ones(3, np.float32),
    "nearly": np.asarray([1, 1, 1.01], np.float32),
    "all": np.ones((4, 1), bool),
    "none": np.zeros((), bool),
    "some": np.asarray([True, False, True, True, True, True]),
    "axis": np.asarray([1], np.int64),
    "nothing": np.zeros(0, np.int64),
}


def between(body: str, takes: str = "float[N,4,6] x", gives: str = "float[A,B,C] y") -> ir.Model:
    """`body` makes b of a; there is a node before and one behind."""
    model = graph(f"a = Neg (x)\n{body}\ny = Tanh (b)", takes=takes, gives=gives, **WEIGHTS)
    PASSES.get("infer_shapes")(model)
    return tag(model, a="before", b="noop", y="behind")


@pytest.mark.parametrize(
    "body",
    [
        "b = Reshape (a, kept)",
        "s = Shape (x)\nb = Reshape (a, s)",
        "s = Shape (x)\nb = Expand (a, s)",
        "b = Expand (a, grow)",
        "b = Slice (a, starts, ends)",
        "b = Slice (a, starts, ends, axes)",
        "b = Pad (a, pads)",
        "b = Tile (a, once)",
        "b = Transpose <perm = [0, 1, 2]> (a)",
        "b = Gather <axis = 1> (a, order)",
        'b = Resize <mode = "linear"> (a, , scales)',
        's = Shape (x)\nb = Resize <mode = "linear"> (a, , , s)',
        "b = ReduceMax <noop_with_empty_axes = 1> (a, nothing)",
        "c = Unsqueeze (a, axis)\nd = ReduceMean (c, axis)\nb = Squeeze (d, axis)",
        "b = Concat <axis = 0> (a)",
        "b = Sum (a)",
        "b = Max (a)",
        "b = Split <num_outputs = 1, axis = 1> (a)",
        "b = Mul (a, one)",
        "b = Mul (ones, a)",
        "b = Div (a, ones)",
        "b = Sub (a, zero)",
        "b = Add (minus_zero, a)",
        "b = Where (all, a, x)",
        "b = Where (none, x, a)",
        "b = Clip (a)",
        "b = MaxPool <kernel_shape = [1]> (a)",
        "b = AveragePool <kernel_shape = [1], strides = [1]> (a)",
        "c = Tanh (a)\nd = Neg (c)\ne = Neg (d)\nb = Mul (e, one)",
    ],
)
def test_goes(body: str) -> None:
    model = between(body)
    apply_at("remove_noops", model, {"N": 3}, by=[by_onnxruntime])
    PASSES.get("remove_unused")(model)
    left = [node.op_type for node in model.graph]
    assert left in (
        ["Neg", "Tanh"],
        ["Neg", "Tanh", "Tanh"],
        ["Neg", "Unsqueeze", "Squeeze", "Tanh"],
    )
    assert model.graph[0].metadata_props["modelport.module"] == "before"


@pytest.mark.parametrize("operator", ["Relu", "Abs", "Floor", "Ceil", "Round", "Sign"])
def test_again(operator: str) -> None:
    model = between(f"c = {operator} (a)\nb = {operator} (c)")
    assert apply("remove_noops", model).operators == ["Neg", operator, "Tanh"]


@pytest.mark.parametrize(
    ("body", "takes"),
    [
        ("b = Add (a, izero)", "int64[3] x"),
        ("b = Sub (a, izero)", "int64[3] x"),
        ("c = Cast <to = 9> (a)\nd = Not (c)\ne = Not (d)\nf = And (e, true)\n"
         "g = Or (false, f)\nb = Cast <to = 7> (g)", "int64[3] x"),
    ],
)  # fmt: skip
def test_whole_numbers_and_truth(body: str, takes: str) -> None:
    model = graph(f"a = Neg (x)\n{body}\ny = Abs (b)", takes=takes, gives="int64[3] y",
                  true=np.asarray(True), false=np.asarray(False), **WEIGHTS)  # fmt: skip
    PASSES.get("infer_shapes")(model)
    apply("remove_noops", model)
    PASSES.get("remove_unused")(model)
    assert not {"Add", "Sub", "Not", "And", "Or"} & {node.op_type for node in model.graph}


@pytest.mark.parametrize(
    "body",
    [
        "b = Reshape (a, other)",
        "b = Slice (a, first, backwards, axis)",
        "b = Slice (a, backwards, lowest, axis, backwards)",  # the same shape, in reverse
        "b = Pad (a, shift)",  # the same shape, moved
        "b = Gather <axis = 1> (a, swapped)",
        'b = Resize <mode = "linear"> (a, , nearly)',
        "b = Mul (a, some_numbers)",
        "b = Where (some, a, x)",
        "b = Clip (a, zero)",
        "b = MaxPool <kernel_shape = [1], strides = [2]> (a)",
        "b = ReduceMean (a, axis)",
        "b = ReduceL1 <noop_with_empty_axes = 1> (a, nothing)",
        "c = Relu (a)\nb = Neg (c)",
        "b = custom.Reshape (a, kept)",
        "b = Transpose (a)",
        "b = Squeeze (a, nothing)",  # ONNX Runtime squeezes all then, the reference nothing
    ],
)
def test_stays(body: str) -> None:
    model = graph(f"a = Neg (x)\n{body}\ny = Tanh (b)", takes="float[N,4,6] x",
                  gives="float[A,B,C] y", some_numbers=np.asarray([1, 2], np.float32).repeat(3),
                  other=np.asarray([4, -1, 6], np.int64), **WEIGHTS)  # fmt: skip
    PASSES.get("infer_shapes")(model)
    by = [] if any(word in body for word in ("custom", "ReduceL1", "Squeeze")) else [by_onnxruntime]
    assert not apply("remove_noops", model, by=by).modified


def test_broadcasting_changes_the_shape() -> None:
    model = between("b = Mul (a, wide)", gives="float[A,B,C,D] y")
    assert not apply("remove_noops", model).modified
    unknown = graph("a = custom.Mystery (x)\nb = Mul (a, ones)\ny = Neg (b)",
                    takes="float[2] x", gives="float[A] y", **WEIGHTS)  # fmt: skip
    assert not apply("remove_noops", unknown, by=[]).modified


@pytest.mark.parametrize(
    ("body", "reason"),
    [("b = Add (a, zero)", "-0.0 + 0.0 is 0.0"), ("b = Sub (a, minus_zero)", "-0.0 - -0.0 is 0.0")],
)
def test_the_sign_of_zero(body: str, reason: str) -> None:
    assert apply("remove_noops", between(body)).reasons == [reason]


def test_a_batch_that_is_only_called_so() -> None:
    """An output's `N` is a label: the Expand may make 8 rows of 2."""
    model = graph("a = Neg (x)\ny = Expand (a, size)",
                  takes="float[N,1] x, int64[2] size", gives="float[N,1] y")  # fmt: skip
    assert not apply("remove_noops", model, by=[]).modified


def test_unequal_free_sizes() -> None:
    model = graph(
        "s = Shape (z)\na = Neg (x)\nb = Expand (a, s)\ny = Tanh (b)",
        takes="float[N,4] x, float[M,4] z",
        gives="float[A,B] y",
    )
    PASSES.get("infer_shapes")(model)
    assert not apply_at("remove_noops", model, {"N": 1, "M": 3}).modified


@pytest.mark.parametrize(
    ("body", "gives", "reason"),
    [
        ("y = Mul (x, one)", "float[N,4,6] y", "it connects an input or a weight to an output"),
        ("a = Neg (x)\ny = Mul (a, one)", "float[N,4,6] a, float[N,4,6] y",
         "its input is an output under another name"),
    ],
)  # fmt: skip
def test_what_callers_see(body: str, gives: str, reason: str) -> None:
    model = graph(body, takes="float[N,4,6] x", gives=gives, **WEIGHTS)
    assert apply("remove_noops", model).reasons == [reason]


def test_outputs_keep_their_names() -> None:
    model = graph("a = Neg (x)\ny = Mul (a, one)", takes="float[N,4,6] x", gives="float[N,4,6] y",
                  **WEIGHTS)  # fmt: skip
    assert apply("remove_noops", model).operators == ["Neg"]


def test_inside_a_branch() -> None:
    model = graph(
        """
        a = Neg (x)
        y = If (on) <then_branch = inner () => (float[N] p) { b = Mul (a, one)  p = Exp (b) },
                     else_branch = other () => (float[N] q) { q = Mul (a, one) }>
        """.replace("  p =", "\n p ="),
        takes="float[N] x, bool on",
        gives="float[N] y",
        **WEIGHTS,
    )
    applied = apply("remove_noops", model)
    assert applied.modified
    assert applied.reasons == ["its input belongs to an enclosing graph"]


@pytest.mark.parametrize("dtype", ["float16", "double", "bfloat16"])
def test_element_types(dtype: str) -> None:
    kind = ir.DataType[dtype.upper()].numpy()
    model = graph("a = Neg (x)\nb = Mul (a, w)\nc = Add (b, z)\ny = Neg (c)",
                  takes=f"{dtype}[3] x", gives=f"{dtype}[3] y",
                  w=np.ones(3).astype(kind), z=np.asarray(0.0).astype(kind))  # fmt: skip
    applied = apply("remove_noops", model, by=[] if dtype == "bfloat16" else [by_onnxruntime])
    assert applied.operators == ["Neg", "Add", "Neg"]
