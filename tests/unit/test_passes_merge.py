"""Casts, Transposes and reshapes in a row."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from helpers import apply, by_onnxruntime, graph, tag
from sized import apply_at

from modelport.passes import PASSES
from modelport.passes.merge_casts import keeps_values

D = ir.DataType
INTS: dict[str, Any] = {
    "first": np.asarray([0], np.int64),
    "second": np.asarray([1], np.int64),
    "end": np.asarray([-1], np.int64),
    "flat": np.asarray([0, -1], np.int64),
    "split": np.asarray([0, 2, 2, 6], np.int64),
    "back": np.asarray([0, 4, 6], np.int64),
    "lines": np.asarray([-1, 6], np.int64),
}


def typed(body: str, takes: str = "float[N,4,6] x", gives: str = "float[A,B,C] y") -> ir.Model:
    model = graph(body, takes=takes, gives=gives, **INTS)
    PASSES.get("infer_shapes")(model)
    return model


# --- casts ---------------------------------------------------------------------------------------


def test_there_and_back() -> None:
    model = typed(
        "a = Relu (x)\nw = Cast <to = 1> (a)\nb = Cast <to = 10> (w)\nc = Cast <to = 11> (w)\n"
        "d = Cast <to = 10> (c)\ny = Add (b, d)",
        takes="float16[5] x",
        gives="float16[5] y",
    )
    applied = apply("merge_casts", tag(model, a="act"))
    assert PASSES.get("remove_unused")(model).modified
    assert applied.operators == ["Relu", "Add"]


@pytest.mark.parametrize(
    ("before", "after"),
    [(D.FLOAT16, D.FLOAT), (D.BFLOAT16, D.DOUBLE), (D.FLOAT, D.DOUBLE), (D.INT8, D.FLOAT16),
     (D.UINT8, D.BFLOAT16), (D.INT16, D.FLOAT), (D.INT32, D.DOUBLE), (D.BOOL, D.INT8),
     (D.UINT8, D.INT16), (D.UINT32, D.INT64), (D.UINT16, D.UINT32), (D.INT32, D.INT64)],
)  # fmt: skip
def test_wide_enough(before: ir.DataType, after: ir.DataType) -> None:
    assert keeps_values(before, after)
    assert not keeps_values(after, before)


@pytest.mark.parametrize(
    ("before", "after"),
    [(D.FLOAT16, D.BFLOAT16), (D.BFLOAT16, D.FLOAT16), (D.INT32, D.FLOAT), (D.INT64, D.DOUBLE),
     (D.INT16, D.FLOAT16), (D.INT8, D.UINT8), (D.UINT8, D.INT8), (D.UINT8, D.BOOL),
     (D.FLOAT, D.INT64), (D.FLOAT8E4M3FN, D.FLOAT), (D.UINT64, D.INT64), (D.STRING, D.FLOAT)],
)  # fmt: skip
def test_too_narrow(before: ir.DataType, after: ir.DataType) -> None:
    assert not keeps_values(before, after)


@pytest.mark.parametrize(
    ("casts", "takes", "reason"),
    [
        ((6, 7), "int64[3] x", "INT64 does not fit into INT32"),
        ((10, 1), "float[3] x", "FLOAT does not fit into FLOAT16"),
        ((1, 7), "float16[3] x", "FLOAT does not fit into INT64"),  # truncates, maybe otherwise
        ((1, 16), "float16[3] x", "FLOAT does not fit into BFLOAT16"),
    ],
)
def test_lossy_casts_stay(casts: tuple[int, int], takes: str, reason: str) -> None:
    kinds = {1: "float", 7: "int64", 16: "bfloat16"}
    model = graph(
        f"a = Cast <to = {casts[0]}> (x)\ny = Cast <to = {casts[1]}> (a)",
        takes=takes,
        gives=f"{kinds[casts[1]]}[3] y",
    )
    by = [] if 16 in casts else [by_onnxruntime]  # numpy has no bfloat16
    assert apply("merge_casts", model, by=by).reasons == [reason]


def test_casts_between_input_and_output_stay() -> None:
    model = graph("a = Cast <to = 11> (x)\ny = Cast <to = 1> (a)", takes="float[3] x",
                  gives="float[3] y")  # fmt: skip
    assert apply("merge_casts", model).reasons == ["it connects an input or a weight to an output"]


# --- transposes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["[0, 2, 3, 1]", "[3, 0, 1, 2]", None])
@pytest.mark.parametrize("second", ["[0, 3, 1, 2]", "[1, 2, 3, 0]", None])
def test_transposes(first: str | None, second: str | None) -> None:
    one, two = (f"<perm = {perm}>" if perm else "" for perm in (first, second))
    model = typed(
        f"r = Relu (x)\na = Transpose {one} (r)\ny = Transpose {two} (a)\nz = Neg (a)",
        takes="float[2,N,4,5] x",
        gives="float[A,B,C,D] y, float[E,F,G,H] z",
    )
    applied = apply_at("merge_transposes", tag(model, a="p", y="q"), {"N": 3})
    assert applied.modified
    assert applied.operators.count("Transpose") <= 2
    ends = [node for node in model.graph if node.outputs[0].name == "y"]
    if ends[0].op_type == "Transpose":
        assert ends[0].inputs[0] is not None
        assert ends[0].inputs[0].name == "r"
        assert ends[0].metadata_props["modelport.merged"] == "p"


def test_the_second_way_round_is_the_identity() -> None:
    model = typed("r = Relu (x)\na = Transpose <perm = [1, 2, 0]> (r)\n"
                  "b = Transpose <perm = [2, 0, 1]> (a)\ny = Neg (b)")  # fmt: skip
    apply_at("merge_transposes", model, {"N": 3})
    PASSES.get("remove_unused")(model)
    assert [node.op_type for node in model.graph] == ["Relu", "Neg"]


def test_reversal_needs_a_rank() -> None:
    model = graph("m = custom.Mystery (x)\na = Transpose (m)\nb = Transpose (a)\ny = Neg (b)",
                  takes="float[2,3] x", gives="float[A,B] y")  # fmt: skip
    assert apply("merge_transposes", model, by=[]).reasons == ["the rank is not known"]


# --- reshapes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "gives", "left"),
    [
        ("a = Unsqueeze (r, end)\ny = Squeeze (a, end)\n", 3, []),
        ("a = Unsqueeze (r, first)\nb = Squeeze (a, first)\ny = Neg (b)", 3, ["Neg"]),
        ("a = Reshape (r, split)\nb = Reshape (a, back)\ny = Neg (b)", 3, ["Neg"]),
        ("a = Flatten (r)\ny = Reshape (a, back)", 3, []),
        ("a = Reshape (r, split)\ny = Reshape (a, flat)", 2, ["Reshape"]),
        ("a = Unsqueeze (r, second)\ny = Reshape (a, lines)", 2, ["Reshape"]),
        ("a = Reshape (r, split)\ny = Flatten (a)", 2, ["Reshape"]),
        ("a = Reshape (r, lines)\ny = Unsqueeze (a, first)", 3, ["Reshape"]),
        ("a = Unsqueeze (r, first)\ny = Unsqueeze (a, first)", 5, ["Reshape"]),
    ],
)
def test_reshapes(body: str, gives: int, left: list[str]) -> None:
    model = typed(f"r = Relu (x)\n{body}", gives=f"float[{','.join('ABCDE'[:gives])}] y")
    tag(model, a="p", y="q")
    apply_at("merge_reshapes", model, {"N": 3})
    PASSES.get("remove_unused")(model)
    assert [node.op_type for node in model.graph] == ["Relu", *left]
    assert all(name == "Relu" or name == "Neg" for name in left) or all(
        node.metadata_props.get("modelport.module") for node in list(model.graph)[1:]
    )


@pytest.mark.parametrize(
    ("body", "left"),
    [
        ("a = Transpose <perm = [0, 3, 1, 2]> (r)\ny = Reshape (a, lines)", ["Reshape"]),
        ("a = Reshape (r, lines)\ny = Transpose <perm = [1, 0]> (a)", ["Reshape", "Transpose"]),
        ("a = Reshape (r, column)\ny = Transpose <perm = [1, 0]> (a)", ["Reshape"]),
        ("a = Transpose <perm = [0, 2, 1, 3]> (r)\nb = Reshape (a, whole)\ny = Neg (b)", ["Neg"]),
        (
            "a = Transpose <perm = [1, 3, 0, 2]> (r)\ny = Reshape (a, lines)",
            ["Transpose", "Reshape"],
        ),
    ],
)
def test_transposes_that_move_axes_of_one(body: str, left: list[str]) -> None:
    """Of 2 x 1 x 1 x 6 only the last case, which takes the 6 before the 2, moves elements."""
    model = graph(
        f"r = Relu (x)\n{body}", takes="float[2,1,1,6] x",
        gives=f"float[{'A,B,C,D' if 'whole' in body else 'A,B'}] y",
        lines=np.array([3, 4]), column=np.array([12, 1]), whole=np.array([2, 1, 1, 6]),
    )  # fmt: skip
    PASSES.get("infer_shapes")(model)
    apply("merge_reshapes", model)
    PASSES.get("remove_unused")(model)
    assert [node.op_type for node in model.graph] == ["Relu", *left]


def test_a_copied_size_that_is_another_one() -> None:
    """Entry 0 copies N of what is between, but 4 * N of what came before."""
    model = typed(
        "a = Reshape (x, target)\ny = Reshape (a, flat)".replace("target", "lines"),
        gives="float[A,B] y",
    )
    applied = apply("merge_reshapes", model)
    assert applied.reasons == ["the last Reshape may copy a size of what it gets"]


def test_a_target_that_is_given_stays() -> None:
    model = graph("a = Flatten (x)\ny = Reshape (a, target)", gives="float[A,B] y",
                  takes="float[2,3] x, int64[2] target")  # fmt: skip
    assert apply("merge_reshapes", model, by=[]).reasons == [
        "the target of the last Reshape is not known"
    ]


def test_who_else_reads_the_first_one() -> None:
    model = typed("a = Reshape (x, split)\ny = Flatten (a)\nz = Neg (a)",
                  gives="float[A,B] y, float[C,D,E,F] z")  # fmt: skip
    applied = apply("merge_reshapes", model)
    assert applied.reasons == ["something else reads the result of Reshape too"]
