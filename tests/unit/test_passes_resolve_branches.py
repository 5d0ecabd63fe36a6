"""Branches that are always taken, and loops of one turn."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from helpers import apply, by_onnxruntime, graph, tag
from sized import apply_at

from modelport.passes import PASSES

WEIGHTS: dict[str, Any] = {
    "true": np.asarray(True),
    "false": np.asarray(False),
    "no": np.asarray(0, np.int64),
    "once": np.asarray(1, np.int64),
    "twice": np.asarray(2, np.int64),
    "zero": np.asarray([0], np.int64),
    "minus": np.asarray([-1], np.int64),
}

BRANCH = """
    y = If ({}) <then_branch = inner () => (float[2] p) {{ a = Relu (x)
        p = Neg (a) }}, else_branch = other () => (float[2] q) {{ a = Exp (x)
        q = Sqrt (a) }}>
"""


def test_if() -> None:
    for condition, left in (("true", ["Relu", "Neg"]), ("false", ["Exp", "Sqrt"])):
        model = graph(BRANCH.format(condition), takes="float[2] x", gives="float[2] y", **WEIGHTS)
        applied = apply("resolve_branches", tag(model, y="gate", a="act"))
        assert applied.operators == left
        assert [node.metadata_props["modelport.module"] for node in model.graph] == ["act", "gate"]


def test_a_condition_on_sizes() -> None:
    model = graph(
        "s = Shape (x)\nn = Gather (s, zero)\nc = Equal (n, minus)\nd = Squeeze (c, zero)\n"
        + BRANCH.format("d").replace("float[2]", "float[N]"),
        takes="float[N] x",
        gives="float[N] y",
        **WEIGHTS,
    )
    PASSES.get("infer_shapes")(model)
    apply_at("resolve_branches", model, {"N": 4})
    assert [node.op_type for node in model.graph][-2:] == ["Exp", "Sqrt"]


def test_a_condition_that_is_given_stays() -> None:
    model = graph(BRANCH.format("on"), takes="float[2] x, bool on", gives="float[2] y")
    assert apply("resolve_branches", model).reasons == ["its condition depends on the feeds"]


def test_names_of_two_branches_of_two_nodes() -> None:
    """Both have an `a` inside; and weights of their own."""
    body = """
        b = If ({0}) <then_branch = inner () => (float[2] p) <float[2] u = {{1, 2}}> {{ a = Add (x, u)
            p = Neg (a) }}, else_branch = other () => (float[2] q) {{ q = Exp (x) }}>
        c = If ({1}) <then_branch = inner2 () => (float[2] p) <float[2] u = {{3, 4}}> {{ a = Add (x, u)
            p = Neg (a) }}, else_branch = other2 () => (float[2] q) {{ q = Exp (x) }}>
        y = Add (b, c)
    """
    model = graph(body.format("true", "true"), takes="float[2] x", gives="float[2] y", **WEIGHTS)
    assert apply("resolve_branches", model).operators == ["Add", "Neg", "Add", "Neg", "Add"]
    model = graph(body.format("true", "on"), takes="float[2] x, bool on", gives="float[2] y",
                  **WEIGHTS)  # fmt: skip
    assert apply("resolve_branches", model).operators == ["Add", "Neg", "If", "Add"]


def test_branches_in_branches() -> None:
    model = graph(
        """
        y = If (true) <then_branch = inner () => (float[2] p) {
            p = If (false) <then_branch = deep () => (float[2] r) { r = Exp (x) },
                            else_branch = deeper () => (float[2] t) { t = Relu (x) }>
        }, else_branch = other () => (float[2] q) { q = Neg (x) }>
        """,
        takes="float[2] x",
        gives="float[2] y",
        **WEIGHTS,
    )
    assert apply("resolve_branches", model).operators == ["Relu"]


def test_two_outputs_of_one_value() -> None:
    model = graph(
        """
        y, z = If (true) <then_branch = inner () => (float[2] p, float[2] p2) { p = Relu (x)
            p2 = Identity (p) }, else_branch = other () => (float[2] q, float[2] q2) { q = Neg (x)
            q2 = Exp (x) }>
        """,
        takes="float[2] x",
        gives="float[2] y, float[2] z",
        **WEIGHTS,
    )
    inner = model.graph[0].attributes["then_branch"].as_graph()
    inner.outputs[1] = inner.outputs[0]
    assert apply("resolve_branches", model, by=[]).operators == [
        "Relu",
        "Identity",
        "Identity",
    ]


ON, OFF = "Identity (on)", "Constant <value = bool {0}> ()"
LOOP = """
    y, z = Loop ({}, {}, x) <body = turn (int64 i, bool on, float[2] v) => (bool again, float[2] w, float[2] out) {{
        again = {}
        f = Cast <to = 1> (i)
        u = Add (v, f)
        w = Add (u, x)
        out = Neg (v)
    }}>
"""  # noqa: E501


@pytest.mark.parametrize(
    ("count", "condition", "again", "opset"),
    [("once", "", ON, 20), ("once", "true", ON, 11), ("twice", "true", OFF, 20),
     ("", "true", OFF, 13)],
)  # fmt: skip
def test_one_turn(count: str, condition: str, again: str, opset: int) -> None:
    model = graph(LOOP.format(count, condition, again), takes="float[2] x", opset=opset,
                  gives="float[2] y, float[K,2] z", **WEIGHTS)  # fmt: skip
    applied = apply("resolve_branches", tag(model, y="loop"), by=[by_onnxruntime])
    assert all("modelport.module" in node.metadata_props for node in model.graph)
    assert "Loop" not in applied.operators


@pytest.mark.parametrize(("count", "condition"), [("no", ""), ("no", "true"), ("twice", "false")])
def test_no_turn(count: str, condition: str) -> None:
    model = graph(LOOP.format(count, condition, ON), takes="float[2] x", gives="float[2] y",
                  **WEIGHTS)  # fmt: skip
    assert apply("resolve_branches", model, by=[by_onnxruntime]).operators == ["Identity"]
    model = graph(LOOP.format(count, condition, ON), takes="float[2] x",
                  gives="float[2] y, float[K,2] z", **WEIGHTS)  # fmt: skip
    assert apply("resolve_branches", model, by=[]).reasons == [
        "it never runs, and what it stacks up is read"
    ]


@pytest.mark.parametrize(
    ("count", "condition"), [("twice", ""), ("n", ""), ("once", "start"), ("", "true")]
)
def test_other_loops_stay(count: str, condition: str) -> None:
    model = graph(LOOP.format(count, condition, "Identity (go)"),
                  takes="float[2] x, int64 n, bool start, bool go",
                  gives="float[2] y", **WEIGHTS)  # fmt: skip
    assert apply("resolve_branches", model, by=[]).reasons == [
        "it is not known to run once or never"
    ]


def test_nothing_is_left_behind() -> None:
    """The branch that is dropped must let go of what it read."""
    model = graph("big = Exp (x)\n" + BRANCH.format("true").replace("Exp (x)", "Exp (big)"),
                  takes="float[2] x", gives="float[2] y", **WEIGHTS)  # fmt: skip
    apply("resolve_branches", model)
    PASSES.get("remove_unused")(model)
    assert [node.op_type for node in model.graph] == ["Relu", "Neg"]
    assert isinstance(model, ir.Model)
    assert "true" not in model.graph.initializers
