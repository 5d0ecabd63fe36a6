"""Folding of what is large: foreseen, put off, and linear in the number of nodes."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from helpers import apply, by_onnxruntime, graph, weight

from modelport.graph import evaluate
from modelport.passes import PASSES, fold_constants
from modelport.passes.fold_constants import LAZY_BYTES

HUGE = 2**40


@pytest.mark.parametrize(
    "body",
    [
        "a = ConstantOfShape (size)\ny = Gather (a, i)",
        "a = ConstantOfShape <value = int8[1] {1}> (size)\nb = Gather (a, i)\ny = Cast <to = 1> (b)",
        "a = Expand (one, size)\ny = Gather (a, i)",
        "a = Tile (row, size)\ny = Gather (a, i)",
        "a = Range (zero, most, step)\nb = Gather (a, i)\ny = Cast <to = 1> (b)",
    ],
)
def test_growth_is_foreseen(body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A constant of gigabytes is not computed to find out that it is too large."""
    model = graph(
        body,
        takes="int64[1] i",
        gives="float[A] y",
        size=np.asarray([HUGE], np.int64),
        one=np.ones(1, np.float32),
        row=np.ones(4, np.float32),
        zero=np.asarray(0, np.int64),
        most=np.asarray(HUGE, np.int64),
        step=np.asarray(1, np.int64),
    )
    PASSES.get("infer_shapes")(model)

    def forbidden(*arguments: Any) -> Any:
        raise AssertionError("it was computed")

    monkeypatch.setattr(fold_constants, "evaluate", forbidden)
    applied = apply("fold_constants", model, by=[])
    assert len(applied.reasons) == 1
    assert "bytes, more than" in applied.reasons[0]


@pytest.mark.parametrize(
    ("body", "steps"), [("a = Transpose (w)", 1), ("b = Cast <to = 10> (w)\na = Transpose (b)", 2)]
)
def test_large_weights_wait(body: str, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are transposed and cast when somebody asks for them."""
    large, kind = weight(LAZY_BYTES // 2, 3), "float" if steps == 1 else "float16"
    model = graph(f"{body}\ny = MatMul (x, a)", takes=f"{kind}[1,3] x",
                  gives=f"{kind}[1,{len(large)}] y", w=large)  # fmt: skip
    before = model.clone()
    calls = []
    real = evaluate.evaluate

    def counting(node: ir.Node, *rest: Any) -> Any:
        calls.append(node.op_type)
        return real(node, *rest)

    monkeypatch.setattr(fold_constants, "evaluate", counting)
    for name in ("infer_shapes", "fold_constants", "remove_unused", "share_initializers"):
        PASSES.get(name)(model)
    assert calls == []
    (matmul,) = model.graph
    assert matmul.inputs[1] is not None
    assert isinstance(matmul.inputs[1].const_value, ir.LazyTensor)
    feeds = {"x": weight(1, 3, seed=1).astype(np.float16 if steps == 2 else np.float32)}
    expected, found = by_onnxruntime(before, feeds), by_onnxruntime(model, feeds)
    np.testing.assert_allclose(found["y"], expected["y"], rtol=1e-3, atol=1e-3)
    assert len(calls) == steps


def chain(length: int, foldable: bool) -> ir.Model:
    """x + w + w + w ..., or w + w + w ... + x."""
    kind, shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape([2])
    x, w = (ir.Value(name=name, type=kind, shape=shape) for name in "xw")
    w.const_value = ir.tensor(np.ones(2, np.float32), name="w")
    value, nodes = w if foldable else x, []
    for number in range(length):
        nodes.append(ir.Node("", "Add", [value, x if number == length - 1 else w]))
        value = nodes[-1].outputs[0]
        value.name, value.type, value.shape = f"v{number}", kind, shape
    graph = ir.Graph([x], [value], nodes=nodes, initializers=[w], opset_imports={"": 20}, name="g")
    return ir.Model(graph, ir_version=10)


@pytest.mark.parametrize(
    "name",
    ["fold_constants", "fold_shapes", "remove_noops", "remove_identities", "merge_casts",
     "merge_reshapes", "merge_transposes", "push_transposes", "share_expressions",
     "resolve_branches"],
)  # fmt: skip
def test_time_is_linear_in_nodes(name: str) -> None:
    """Ten thousand nodes take seconds on the slowest machine; a scan for each node would take minutes.

    Of the processor: what else runs here is not counted.
    """
    model = chain(10_000, foldable=False)
    start = time.thread_time()
    PASSES.get(name)(model)
    assert time.thread_time() - start < 10


def test_time_of_folding_is_linear() -> None:
    seconds = []
    for length in (500, 2000):
        model = chain(length, foldable=True)
        start = time.thread_time()
        PASSES.get("fold_constants")(model)
        seconds.append(time.thread_time() - start)
        assert len(model.graph) == 1
    assert seconds[1] < 16 * seconds[0] + 1


@pytest.mark.parametrize(
    ("body", "takes"),
    [
        ("a = Div (w, v)", "int32"),
        ("a = Mod (w, v)", "int32"),
        ("a = Mod <fmod = 1> (w, v)", "int32"),
        ("a = Div (w, v)", "int64"),
        ("f = Cast <to = 1> (w)\ng = Div (f, third)\na = Cast <to = 6> (g)", "int32"),
        ("f = Cast <to = 1> (w)\ng = Mul (f, third)\nh = Floor (g)\na = Cast <to = 6> (h)", "int32"),
        ("f = Cast <to = 10> (w)\ng = Sqrt (f)\na = Cast <to = 6> (g)", "int32"),
        ("b = Cast <to = 9> (w)\nc = Cast <to = 1> (b)\na = Cast <to = 6> (c)", "int32"),
        ("b = Cast <to = 2> (w)\na = Cast <to = 6> (b)", "int32"),
        ("a = Pow (w, v)", "int32"),
        ("a = Sub (w, v)\nb = Abs (a)", "int32"),
        ("f = Cast <to = 1> (w)\ng = Div (f, third)\nh = Round (g)\na = Cast <to = 6> (h)", "int32"),
    ],
)  # fmt: skip
def test_numbers_are_those_of_an_engine(body: str, takes: str) -> None:
    """Division of negative integers, truncation, rounding to even, wrapped casts."""
    kind = np.dtype(takes)
    w = np.asarray([-7, -5, -1, 0, 1, 5, 7, 300], kind)
    v = np.asarray([2, -2, 3, 3, -3, 3, 2, 7], kind)
    if "Sqrt" in body or "Pow" in body:
        w, v = np.abs(w), np.abs(v) % 3 + 1
    last = body.rpartition("\n")[2].split(" ")[0]
    cast = {"int32": 6, "int64": 7}[takes]
    model = graph(f"{body}\nz = Cast <to = {cast}> ({last})\ny = Add (x, z)",
                  takes=f"{takes}[8] x", gives=f"{takes}[8] y", w=w, v=v,
                  third=np.float32(2.5))  # fmt: skip
    assert apply("fold_constants", model, by=[by_onnxruntime]).operators == ["Add"]
