"""Transposes move to where they cancel, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import apply, graph, tag, weight

TO_LAST = "Transpose <perm = [0, 2, 3, 1]>"
TO_FIRST = "Transpose <perm = [0, 3, 1, 2]>"


@pytest.mark.parametrize(
    "between",
    [
        "b = Relu (a)",
        "b = Mul (a, row)",
        "b = Add (number, a)",
        "b = PRelu (a, row)",
        "b = Where (mask, a, number)",
        "b = Clip (a, number)",
        "b = Cast <to = 1> (a)",
        "b = Softmax (a)",
        "b = LogSoftmax <axis = 1> (a)",
        "b = Slice (a, starts, ends)",
        "b = Slice (a, starts, ends, axes)",
        "b = Slice (a, starts, ends, axes, starts)",
        "b = Pad (a, pads)",
        "b = ReduceMax <keepdims = 1> (a, axes)",
        "b = ReduceMean (a)",
        "b = Concat <axis = -1> (a, a)",
        "b = Concat <axis = 3> (whole, a)",
        "c = Relu (a)\nd = Neg (a)\nb = Add (d, c)",
        "c, d = Split <num_outputs = 2, axis = 2> (a)\nb = Concat <axis = 1> (d, c)",
        f"z = {TO_LAST} (x)\nb = Sub (a, z)",
    ],
)
def test_what_lies_between(between: str) -> None:
    model = graph(
        f"a = {TO_LAST} (x)\n{between}\ny = {TO_FIRST} (b)",
        takes="float[2,3,4,6] x",
        gives="float[A,B,C,D] y",
        row=weight(3),
        number=np.float32(0.5),
        mask=np.asarray([[True], [False], [True], [True], [False], [True]]),
        whole=weight(2, 4, 6, 5),
        starts=np.asarray([1, 1], np.int64),
        ends=np.asarray([2, -1], np.int64),
        axes=np.asarray([2, -1], np.int64),
        pads=np.asarray([0, 1, 0, 2, 1, 0, 3, 0], np.int64),
    )
    applied = apply("push_transposes", tag(model, a="first", b="act"), exact=False)
    assert "Transpose" not in applied.operators
    assert model.graph[-1].metadata_props["modelport.module"]


def test_residual_blocks() -> None:
    """What runs beside is kept in the same order, and no Transpose is left between blocks."""
    model = graph(
        f"""
        a = {TO_LAST} (x)
        b = Relu (a)
        c = {TO_FIRST} (b)
        d = Conv (c, w)
        e = {TO_LAST} (d)
        f = Add (e, b)
        y = {TO_FIRST} (f)
        """,
        takes="float[N,3,4,4] x",
        gives="float[N,3,A,B] y",
        w=weight(3, 3, 1, 1),
    )
    applied = apply("push_transposes", model, exact=False)
    assert sorted(applied.operators) == ["Add", "Conv", "Relu"]


def test_two_become_one() -> None:
    model = graph(
        f"a = {TO_LAST} (x)\nb = {TO_LAST} (z)\nc = Add (a, b)\nd = MatMul (c, w)\ny = Relu (d)",
        takes="float[2,3,4,6] x, float[2,3,4,6] z",
        gives="float[A,B,C,D] y",
        w=weight(3, 5),
    )
    applied = apply("push_transposes", model, exact=False)
    assert applied.operators == ["Add", "Transpose", "MatMul", "Relu"]


@pytest.mark.parametrize(
    "body",
    [
        f"a = {TO_LAST} (x)\nb = Relu (a)\ny = MatMul (b, w)",  # nothing to cancel with
        f"a = {TO_LAST} (x)\nb = Relu (a)\nc = MatMul (b, w)\ny = {TO_FIRST} (c)",
        f"a = {TO_LAST} (x)\nb = Add (a, u)\ny = {TO_FIRST} (b)",  # u would need one of its own
        f"a = {TO_LAST} (x)\nb = ReduceSum <keepdims = 0> (a, last)\ny = Unsqueeze (b, last)",
        f"a = {TO_LAST} (x)\nb = CumSum (a, one)\ny = {TO_FIRST} (b)",
        f"a = {TO_LAST} (x)\nb = custom.Relu (a)\ny = {TO_FIRST} (b)",
        f"a = {TO_LAST} (x)\nb = Relu (a)\nc = {TO_FIRST} (b)\nd = MatMul (a, w)\ne = MatMul (b, w)"
        "\nf = Add (d, e)\ng = ReduceSum (f, last)\ny = Mul (c, g)",  # as many as before
    ],
)
def test_stays(body: str) -> None:
    model = graph(
        body,
        takes="float[3,3,3,3] x, float[3,3,3,3] u",
        gives="float[A,B,C,D] y",
        w=weight(3, 3),
        last=np.asarray([-1], np.int64),
        one=np.asarray(1, np.int64),
    )
    assert not apply("push_transposes", model, by=[] if "custom" in body else None).modified


def test_outputs_between_keep_their_order() -> None:
    model = graph(
        f"a = {TO_LAST} (x)\nb = Relu (a)\nc = Neg (b)\ny = {TO_FIRST} (c)\nz = {TO_FIRST} (c)",
        takes="float[2,3,4,6] x",
        gives="float[2,4,6,3] b, float[2,3,4,6] y, float[2,3,4,6] z",
    )
    applied = apply("push_transposes", model, exact=False)
    assert sorted(applied.operators) == ["Identity", "Neg", "Relu", "Transpose"]


def test_inside_a_branch() -> None:
    model = graph(
        f"""
        y = If (on) <then_branch = inner () => (float[A,B,C,D] p) {{
            a = {TO_LAST} (x)
            b = Relu (a)
            p = {TO_FIRST} (b)
        }}, else_branch = other () => (float[A,B,C,D] q) {{ q = Neg (x) }}>
        """,
        takes="float[2,3,4,6] x, bool on",
        gives="float[A,B,C,D] y",
    )
    applied = apply("push_transposes", model, exact=False)
    inner = applied.model.graph[0].attributes["then_branch"].as_graph()
    assert [node.op_type for node in inner] == ["Relu"]
