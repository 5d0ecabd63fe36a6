"""Arithmetic with sizes becomes constants, at every size of what stays free."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from helpers import apply, graph, tag
from sized import apply_at

from modelport.passes import PASSES

INTS: dict[str, Any] = {
    "zero": np.asarray([0], np.int64),
    "one": np.asarray([1], np.int64),
    "two": np.asarray([2], np.int64),
    "three": np.asarray([3], np.int64),
    "minus": np.asarray([-1], np.int64),
    "scalar": np.asarray(0, np.int64),
    "last": np.asarray(2, np.int64),
    "eight": np.asarray([8], np.int64),
}
SIZES = ({"N": 3, "M": 5}, {"N": 0, "M": 4}, {"N": 2, "M": 0})


def shaped(body: str, *, takes: str = "float[N,4,6] x", gives: str = "A,B,C") -> ir.Model:
    model = graph(body, takes=takes, gives=f"float[{gives}] y", **INTS)
    PASSES.get("infer_shapes")(model)
    return model


def target(model: ir.Model) -> list[int]:
    (reshape,) = [node for node in model.graph if node.op_type == "Reshape"]
    tensor = ir.convenience.get_const_tensor(reshape.inputs[1])
    return [] if tensor is None else tensor.numpy().tolist()


def test_exported_view() -> None:
    model = shaped(
        "s = Shape (x)\nn = Gather (s, scalar)\nr = Unsqueeze (n, zero)\n"
        "t = Concat <axis = 0> (r, two, two, minus)\ny = Reshape (x, t)",
        gives="A,B,C,D",
    )
    applied = apply_at("fold_shapes", tag(model, y="block.view"), *SIZES[:1])
    assert target(model) == [0, 2, 2, -1]
    PASSES.get("remove_unused")(model)
    assert [node.op_type for node in model.graph] == ["Reshape"]
    assert model.graph[0].metadata_props["modelport.module"] == "block.view"
    assert applied.modified


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ("n, two, twelve", [0, 2, 12]),
        ("n, minus", [0, -1]),
        ("n, zero, three, two", [0, 0, 3, 2]),
        ("twice, two, six", [-1, 2, 6]),
        ("two, n, twelve", [2, -1, 12]),  # of its place, N would be a copy of 4
        ("four, n, six", [4, -1, 6]),
    ],
)
def test_targets(entries: str, expected: list[int]) -> None:
    """Right at a size of zero too, where the target was."""
    model = graph(
        "s = Shape (x)\nn = Gather (s, zero)\ntwice = Mul (n, two)\n"
        f"t = Concat <axis = 0> ({entries})\ny = Reshape (x, t)",
        takes="float[N,4,6] x",
        gives=f"float[{','.join('ABCDE'[: len(expected)])}] y",
        twelve=np.asarray([12], np.int64),
        six=np.asarray([6], np.int64),
        four=np.asarray([4], np.int64),
        **INTS,
    )
    PASSES.get("infer_shapes")(model)
    others = [{"N": 3}] if -1 in expected[1:] else [{"N": 3}, {"N": 0}]
    apply_at("fold_shapes", model, *others)
    assert target(model) == expected


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (
            "s = Shape (x)\nn, c, m = Split <num_outputs = 3> (s)\nt = Concat <axis = 0> (m, n, c)\n"
            "y = Reshape (x, t)",
            "more than one size is not known",
        ),
        (
            "s = Shape (x)\nn, c, m = Split <num_outputs = 3> (s)\nr = Mul (m, c)\n"
            "t = Concat <axis = 0> (n, r, one)\ny = Reshape (x, t)",
            "one of the other sizes may be zero, and -1 is an error then",
        ),
        ("y = Reshape (x, given)", "more than one size is not known"),
    ],
)
def test_refusals(body: str, reason: str) -> None:
    model = graph(body, takes="float[N,4,M] x, int64[3] given", gives="float[A,B,C] y", **INTS)
    PASSES.get("infer_shapes")(model)
    applied = apply("fold_shapes", model, by=[])
    assert reason in applied.reasons


def test_bounds_allow_what_zero_forbids() -> None:
    model = shaped(
        "s = Shape (x)\nn, c, m = Split <num_outputs = 3> (s)\nr = Mul (m, c)\n"
        "t = Concat <axis = 0> (n, r, one)\ny = Reshape (x, t)",
        takes="float[N,4,M] x",
    )
    model.graph.inputs[0].metadata_props["modelport.range"] = "0:N[1..8]"
    apply_at("fold_shapes", model, *SIZES[:1])
    assert target(model) == [0, -1, 1]


def test_rank_of_the_target_must_be_known() -> None:
    model = graph("y = Reshape (x, given)", takes="float[N,4] x, int64[K] given",
                  gives="float[A,B] y")  # fmt: skip
    assert apply("fold_shapes", model, by=[]).reasons == ["the rank of the result is not known"]


def test_zero_that_means_zero_is_not_copied() -> None:
    model = shaped(
        "s = Shape (x)\nn = Gather (s, zero)\nt = Concat <axis = 0> (zero, n, two)\n"
        "y = Reshape <allowzero = 1> (x, t)"
    )
    assert apply("fold_shapes", model, by=[]).reasons == ["a size of zero is wanted"]


def test_copies_where_zero_would_mean_zero() -> None:
    model = shaped(
        "s = Shape (x)\nn = Gather (s, zero)\nt = Concat <axis = 0> (n, eight, three)\n"
        "y = Reshape <allowzero = 1> (x, t)"
    )
    apply_at("fold_shapes", model, {"N": 3}, {"N": 0})
    assert target(model) == [0, 8, 3]
    assert "allowzero" not in model.graph[-1].attributes


def test_static_sizes_of_a_free_shape() -> None:
    model = shaped(
        "s = Shape (x)\nc = Gather (s, last)\nf = Cast <to = 1> (c)\ny = Div (x, f)",
    )
    apply_at("fold_shapes", model, *SIZES[:1])
    PASSES.get("remove_unused")(model)
    assert [node.op_type for node in model.graph] == ["Cast", "Div"]


def test_comparison_that_comes_out_one_way() -> None:
    """A size is never -1, which exporters ask of each size of an Expand."""
    model = shaped(
        "s = Shape (x)\nn = Gather (s, zero)\np = Equal (n, minus)\nf = Cast <to = 1> (p)\ny = Add (x, f)"
    )
    apply_at("fold_shapes", model, *SIZES[:1])
    assert "Equal" not in [node.op_type for node in model.graph]


def test_outputs_stay() -> None:
    model = graph("s = Shape (x)", takes="float[2,3] x", gives="int64[2] s")
    PASSES.get("infer_shapes")(model)
    assert not apply("fold_shapes", model).modified


def test_resize_to_a_multiple() -> None:
    model = shaped(
        "s = Shape (x)\nn, c, m = Split <num_outputs = 3> (s)\nw = Mul (m, three)\n"
        't = Concat <axis = 0> (n, c, w)\ny = Resize <mode = "linear"> (x, , , t)',
        takes="float[N,4,M] x",
    )
    applied = apply_at("fold_shapes", model, {"N": 3, "M": 5}, {"N": 1, "M": 2})
    assert applied.modified
    resize = model.graph[-1]
    assert len(resize.inputs) == 3
    tensor = ir.convenience.get_const_tensor(resize.inputs[2])
    assert tensor is not None
    assert tensor.numpy().tolist() == [1, 1, 3]


def test_resize_to_something_else_stays() -> None:
    model = shaped(
        "s = Shape (x)\nn, c, m = Split <num_outputs = 3> (s)\nw = Add (m, three)\n"
        't = Concat <axis = 0> (n, c, w)\ny = Resize <mode = "linear"> (x, , , t)',
        takes="float[N,4,M] x",
    )
    applied = apply("fold_shapes", model)
    assert "the sizes are no whole multiples of the input's" in applied.reasons


def test_inside_a_branch() -> None:
    model = graph(
        """
        s = Shape (x)
        y = If (on) <then_branch = inner () => (float[A,B] p) {
            n = Gather (s, zero)
            t = Concat <axis = 0> (n, minus)
            p = Reshape (x, t)
        }, else_branch = other () => (float[A,B] q) { q = Flatten (x) }>
        """,
        takes="float[N,4,6] x, bool on",
        gives="float[A,B] y",
        **INTS,
    )
    PASSES.get("infer_shapes")(model)
    assert apply_at("fold_shapes", model, {"N": 3}).modified


def test_wrapped_numbers_are_not_followed() -> None:
    """int32 arithmetic beyond its range is for the engine to do."""
    model = graph(
        "s = Shape (x)\ni = Cast <to = 6> (s)\nb = Mul (i, large)\nc = Mul (b, large)\n"
        "y = Cast <to = 1> (c)",
        takes="float[2,3] x",
        gives="float[A] y",
        large=np.asarray([2**20], np.int32),
    )
    PASSES.get("infer_shapes")(model)
    applied = apply("fold_shapes", model)
    assert applied.operators == ["Mul", "Cast"]
