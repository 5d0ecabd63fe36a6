"""What is computed twice is computed once, and what only looks so is not."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import apply, graph, tag, weight


def shared(body: str, *, gives: str = "float[2,3] y", by: list[object] | None = None) -> list[str]:
    model = graph(body, takes="float[2,3] x, bool on", gives=gives, w=weight(2, 3),
                  one=np.asarray([1], np.int64), two=np.asarray(2, np.int64))  # fmt: skip
    return apply("share_expressions", model, by=by).operators  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("body", "left"),
    [
        ("a = Relu (x)\nb = Relu (x)\ny = Add (a, b)", ["Relu", "Add"]),
        ("a = Add (x, w)\nb = Add (w, x)\ny = Mul (a, b)", ["Add", "Mul"]),
        ("a = Relu (x)\nb = Relu (x)\nc = Exp (a)\nd = Exp (b)\ny = Sub (c, d)",
         ["Relu", "Exp", "Sub"]),
        ("a = Cast <to = 11> (x)\nb = Cast <to = 11> (x)\nc = Mul (a, b)\ny = Cast <to = 1> (c)",
         ["Cast", "Mul", "Cast"]),
        ("a, b = Split <axis = 0, num_outputs = 2> (x)\nc, d = Split <axis = 0, num_outputs = 2> (x)"
         "\ny = Concat <axis = 0> (a, d)", ["Split", "Concat"]),
        ("s = Shape (x)\nt = Shape (x)\na = ConstantOfShape <value = float[1] {2.0}> (s)\n"
         "b = ConstantOfShape <value = float[1] {2.0}> (t)\ny = Add (a, b)",
         ["Shape", "ConstantOfShape", "Add"]),
        ("a = Clip (x, , low)\nb = Clip (x, , low)\ny = Add (a, b)", ["Clip", "Add"]),
    ],
)  # fmt: skip
def test_equal(body: str, left: list[str]) -> None:
    model = graph(body, takes="float[2,3] x", gives="float[2,3] y", w=weight(2, 3),
                  low=np.float32(0.5))  # fmt: skip
    assert apply("share_expressions", model).operators == left


@pytest.mark.parametrize(
    "body",
    [
        "a = Sub (x, w)\nb = Sub (w, x)\ny = Mul (a, b)",
        "a = Cast <to = 10> (x)\nc = Cast <to = 1> (a)\nb = Cast <to = 16> (x)\nd = Cast <to = 1> (b)"
        "\ny = Add (c, d)",
        "a = LeakyRelu <alpha = 0.1> (x)\nb = LeakyRelu <alpha = 0.2> (x)\ny = Add (a, b)",
        "a = Clip (x, w0)\nb = Clip (x, , w0)\ny = Add (a, b)",
        "a = RandomNormalLike (x)\nb = RandomNormalLike (x)\ny = Sub (a, b)",
        "a = Dropout (x)\nb = Dropout (x)\ny = Sub (a, b)",
        "a = custom.Relu (x)\nb = custom.Relu (x)\ny = Add (a, b)",
        "s = Shape (x)\na = ConstantOfShape <value = float[1] {2.0}> (s)\n"
        "b = ConstantOfShape <value = float[1] {1.0}> (s)\ny = Sub (a, b)",
        "q = QuantizeLinear (x, w0)\na = DequantizeLinear (q, w0)\nb = DequantizeLinear (q, w0)\n"
        "y = Add (a, b)",
    ],
)
def test_unequal(body: str) -> None:
    model = graph(body, takes="float[2,3] x", gives="float[2,3] y", w=weight(2, 3),
                  w0=np.float32(0.5))  # fmt: skip
    odd = any(word in body for word in ("custom", "Random", "to = 16"))
    assert not apply("share_expressions", model, by=[] if odd else None).modified


def test_outputs() -> None:
    assert shared("a = Relu (x)\ny = Relu (x)\nz = Exp (a)",
                  gives="float[2,3] y, float[2,3] z") == ["Relu", "Exp"]  # fmt: skip
    model = graph("y = Relu (x)\nz = Relu (x)", takes="float[2,3] x",
                  gives="float[2,3] y, float[2,3] z")  # fmt: skip
    assert apply("share_expressions", model).reasons == ["both results are outputs"]


def test_provenance_of_both() -> None:
    model = graph(
        "a = Relu (x)\nb = Relu (x)\ny = Add (a, b)", takes="float[2] x", gives="float[2] y"
    )
    apply("share_expressions", tag(model, a="left", b="right"))
    props = model.graph[0].metadata_props
    assert (props["modelport.module"], props["modelport.merged"]) == ("left", "right")


BRANCHES = """
    a = Relu (x)
    y = If (on) <then_branch = inner () => (float[2,3] p) {
        b = Relu (x)
        c = Exp (x)
        d = Exp (x)
        e = Add (c, d)
        p = Add (b, e)
    }, else_branch = other () => (float[2,3] q) {
        f = Exp (x)
        q = Add (f, a)
    }>
"""


def test_subgraphs_know_what_is_around_them() -> None:
    """Not what is in the other branch, which may not have run."""
    model = graph(BRANCHES, takes="float[2,3] x, bool on", gives="float[2,3] y")
    apply("share_expressions", model)
    (_, branch) = model.graph
    inner = branch.attributes["then_branch"].as_graph()
    other = branch.attributes["else_branch"].as_graph()
    assert [node.op_type for node in inner] == ["Exp", "Add", "Add"]
    assert [node.op_type for node in other] == ["Exp", "Add"]


def test_a_result_of_a_branch_is_made_there() -> None:
    model = graph(
        """
        a = Relu (x)
        b = If (on) <then_branch = inner () => (float[2] p) { p = Relu (x) },
                     else_branch = other () => (float[2] q) { q = Exp (a) }>
        y = Add (a, b)
        """,
        takes="float[2] x, bool on",
        gives="float[2] y",
    )
    assert apply("share_expressions", model).reasons == ["its result is an output of a subgraph"]
