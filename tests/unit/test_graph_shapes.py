"""What is said of shapes and of whole numbers holds at every size, and says enough."""

from __future__ import annotations

import re
import time
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from helpers import apply, by_reference, graph, weight
from sized import feeds_at

from modelport.graph import sizes
from modelport.graph.shapes import Shapes, record
from modelport.graph.sizes import Call, Entry, Symbol
from modelport.passes import PASSES


def assert_true(model: ir.Model, **free: int) -> Shapes:
    """Runs the model with all its values as outputs, and compares each with what is known of it."""
    shapes = Shapes(model)
    everything = model.clone()
    values = [value for node in everything.graph for value in node.outputs if value.name]
    listed = [value.name for value in everything.graph.outputs]
    everything.graph.outputs.extend(value for value in values if value.name not in listed)
    found = by_reference(everything, feeds_at(model, **free))
    bound: dict[Any, int] = dict(free)
    for node in model.graph:
        for value in node.outputs:
            array = found[value.name or ""]
            known = shapes.of(value)
            if known is not None:
                assert len(known) == array.ndim, value
                for entry, size in zip(known, array.shape, strict=True):
                    check(entry, size, bound)
            contents = shapes.contents(value)
            if contents is not None:
                assert contents.shape == array.shape, value
                for entry, number in zip(contents.flat, array.flat, strict=True):
                    check(entry, int(number), bound)
    return shapes


def check(entry: Entry, number: int, bound: dict[Any, int]) -> None:
    """Sizes without a name are bound to what they are the first time, and must stay that."""
    if isinstance(entry, int):
        assert int(entry) == number
    elif entry is not None:
        atoms = [atom for monomial, _ in entry.terms for atom in monomial]
        if len(atoms) == 1 and isinstance(atoms[0], Symbol) and len(entry.terms) == 1:
            bound.setdefault(key(atoms[0]), number)
        if all(known(atom, bound) for atom in atoms):
            assert evaluated(entry, bound) == number, str(entry)


def key(symbol: Symbol) -> Any:
    return symbol.name or symbol.number


def known(atom: Any, bound: dict[Any, int]) -> bool:
    if isinstance(atom, Symbol):
        return key(atom) in bound
    if isinstance(atom, Call):
        return known(atom.left, bound) and known(atom.right, bound)
    return isinstance(atom, int) or all(
        known(each, bound) for monomial, _ in atom.terms for each in monomial
    )


def evaluated(entry: Any, bound: dict[Any, int]) -> int:
    if isinstance(entry, int):
        return entry
    total = 0
    for monomial, factor in entry.terms:
        for atom in monomial:
            if isinstance(atom, Symbol):
                factor *= bound[key(atom)]
            else:
                one, two = evaluated(atom.left, bound), evaluated(atom.right, bound)
                factor *= {"//": lambda a, b: a // b, "%": lambda a, b: a % b, "Max": max,
                           "Min": min}[atom.operator](one, two)  # fmt: skip
        total += factor
    return total


def shape_of(model: ir.Model, name: str = "y") -> list[str]:
    shapes = Shapes(model)
    (value,) = [v for node in model.graph for v in node.outputs if v.name == name]
    return [str(size) for size in shapes.of(value) or ()]


WEIGHTS: dict[str, Any] = {
    "zero": np.asarray([0], np.int64),
    "one": np.asarray([1], np.int64),
    "two": np.asarray([2], np.int64),
    "minus": np.asarray([-1], np.int64),
    "three": np.asarray([3], np.int64),
    "scalar": np.asarray(1, np.int64),
    "ends": np.asarray([2**63 - 1], np.int64),
    "order": np.asarray([2, 0], np.int64),
    "kernel": weight(5, 4, 3, 3),
    "pads": np.asarray([0, 1, 0, 0, 2, 0], np.int64),
    "scales": np.asarray([1, 1, 2], np.float32),
    "parts": np.asarray([1, 3], np.int64),
    "same": np.asarray([0, 0, 0], np.int64),
    "rest": np.asarray([0, -1], np.int64),
}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("y = Relu (x)", "N 4 M"),
        ("y = Add (x, x)", "N 4 M"),
        ("y = Transpose (x)", "M 4 N"),
        ("y = Transpose <perm = [2, 0, 1]> (x)", "M N 4"),
        ("y = Reshape (x, rest)", "N 4*M"),
        ("y = Reshape (x, minus)", "4*M*N"),
        ("y = Reshape (x, same)", "N 4 M"),
        ("y = Flatten <axis = 2> (x)", "4*N M"),
        ("y = Flatten <axis = -2> (x)", "N 4*M"),
        ("y = Concat <axis = 2> (x, x, x)", "N 4 3*M"),
        ("y = Slice (x, one, ends, two)", "N 4 Max(0, M - 1)"),
        ("y = Slice (x, zero, minus, zero)", "Max(0, N - 1) 4 M"),
        ("y = Slice (x, minus, ends, two)", "N 4 Min(1, M)"),
        ("y = Slice (x, zero, ends, two, two)", "N 4 ((M + 1) // (2))"),
        ("y = Slice (x, zero, two, one)", "N 2 M"),
        ("a, y = Split <axis = 1> (x, parts)", "N 3 M"),
        ("a, y = Split <axis = 1, num_outputs = 2> (x)", "N 2 M"),
        ("y = Gather <axis = 2> (x, order)", "N 4 2"),
        ("y = Gather (x, scalar)", "4 M"),
        ("y = Unsqueeze (x, one)", "N 1 4 M"),
        ("a = Unsqueeze (x, minus)\ny = Squeeze (a, three)", "N 4 M"),
        ("y = Pad (x, pads)", "N 7 M"),
        ("y = Resize <mode = 'nearest'> (x, , scales)".replace("'", '"'), "N 4 2*M"),
        ("y = ReduceMean (x, one)", "N 1 M"),
        ("y = ReduceMax <keepdims = 0> (x, one)", "N M"),
        ("y = ReduceSum <keepdims = 0> (x)", ""),
        ("y = ArgMax <axis = 1, keepdims = 0> (x)", "N M"),
        ("a = Transpose <perm = [0, 2, 1]> (x)\ny = MatMul (x, a)", "N 4 4"),
        ("y = Tile (x, same1)", "N 8 M"),
        ("a = Unsqueeze (x, zero)\nb = Transpose <perm = [0, 2, 1, 3]> (a)\n"
         "y = Conv <pads = [1, 1, 1, 1], strides = [1, 2]> (b, kernel)", "1 5 N ((M + 1) // (2))"),
        ("a = Unsqueeze (x, zero)\ny = MaxPool <kernel_shape = [2, 3]> (a)", "1 N 3 M - 2"),
        ("a = Unsqueeze (x, zero)\ny = GlobalAveragePool (a)", "1 N 1 1"),
        ("v, y = TopK <axis = 1> (x, two)", "N 2 M"),
    ],
)  # fmt: skip
def test_shapes(body: str, expected: str) -> None:
    axes = ",".join("ABCDE"[: len(re.sub(r" [-+/]+ |, ", "", expected).split())])
    model = graph(
        body,
        takes="float[N,4,M] x",
        gives=f"float[{axes}] y" if axes else "float y",
        same1=np.asarray([1, 2, 1], np.int64),
        **WEIGHTS,
    )
    assert " ".join(shape_of(model)) == expected
    for free in ({"N": 3, "M": 5}, {"N": 5, "M": 4}, {"N": 6, "M": 7}):
        assert_true(model, **free)


ARITHMETIC = """
    size = Shape (x)
    n = Gather (size, zero)
    m = Gather (size, two)
    pair = Concat <axis = 0> (n, m)
    whole = ReduceProd <keepdims = 0> (size)
    c = Squeeze (n, zero)
    d = Unsqueeze (c, zero)
    e = Mul (d, m)
    f = Add (e, two)
    g = Sub (f, two)
    h = Div (g, m)
    i = Mod (h, two)
    j = Max (n, two)
    k = Min (h, n)
    l = Cast <to = 6> (k)
    o = Cast <to = 7> (l)
    p = Equal (o, minus)
    q = Where (p, two, o)
    less = Less (n, minus)
    either = Or (p, less)
    not = Not (either)
    r = Slice (size, one, three)
    s = Split <num_outputs = 3> (size)
    t = Expand (n, two)
    u = Range (zs, scalar3, scalar)
    v = ConstantOfShape <value = int64[1] {7}> (two)
    w = Neg (n)
    a2 = Abs (n)
    total = Size (x)
    b2 = Concat <axis = 0> (q, two, minus)
    y = Reshape (x, b2)
"""


def test_arithmetic() -> None:
    model = graph(
        ARITHMETIC.replace("s = Split <num_outputs = 3> (size)", "s1, s2, s3 = Split (size, ones)"),
        takes="float[N,4,M] x",
        gives="float[A,B,C] y",
        zs=np.asarray(0, np.int64),
        scalar3=np.asarray(3, np.int64),
        ones=np.asarray([1, 1, 1], np.int64),
        **WEIGHTS,
    )
    for free in ({"N": 3, "M": 5}, {"N": 1, "M": 1}, {"N": 6, "M": 2}):
        assert_true(model, **free)
    assert shape_of(model) == ["N", "2", "2*M"]
    shapes = Shapes(model)
    (not_,) = [v for node in model.graph for v in node.outputs if v.name == "not"]
    assert shapes.numbers(not_) == [1]


def test_a_size_without_a_name_equals_itself() -> None:
    model = graph(
        "a = NonZero (x)\nb = Neg (a)\nc = Concat <axis = 0> (a, b)\ny = Cast <to = 1> (c)",
        takes="float[N] x",
        gives="float[A,B] y",
    )
    shapes = assert_true(model, N=5)
    a, b, c, _ = (node.outputs[0] for node in model.graph)
    PASSES.get("infer_shapes")(model)
    assert shapes.same(a, b) or Shapes(model).same(a, b)
    assert not Shapes(model).same(a, c)


def test_names_of_outputs_are_labels() -> None:
    """A caller who writes `batch` for batch times 4 must not make the two equal."""
    model = graph(
        "y = custom.Widen (x)\nz = Relu (y)",
        takes="float[batch] x",
        gives="float[batch] y, float[K] z",
    )
    shapes = Shapes(model)
    assert not shapes.same(model.graph.inputs[0], model.graph[0].outputs[0])
    assert shapes.same(model.graph[0].outputs[0], model.graph[1].outputs[0])


def test_names_in_a_loop_are_not_those_outside() -> None:
    model = graph(
        """
        y = Loop (count, , x) <body = turn (int64 i, bool on, float[N] v) => (bool again, float[M] w) {
            again = Identity (on)
            u = Relu (v)
            w = Concat <axis = 0> (u, v)
        }>
        """,
        takes="float[N] x, int64 count",
        gives="float[K] y",
    )
    (loop,) = model.graph
    body = loop.attributes["body"].as_graph()
    shapes = Shapes(model)
    x, v = model.graph.inputs[0], body.inputs[2]
    assert not shapes.same(x, v)
    assert shapes.same(v, body[1].outputs[0])


def test_bounds_of_inputs_say_what_is_no_zero() -> None:
    model = graph("y = Slice (x, one, ends, zero)", takes="float[N] x", gives="float[K] y",
                  **WEIGHTS)  # fmt: skip
    assert shape_of(model) == ["Max(0, N - 1)"]
    model.graph.inputs[0].metadata_props["modelport.range"] = "0:N[1..8]"
    assert shape_of(model) == ["N - 1"]


def test_record_writes_names_that_files_keep() -> None:
    model = graph(
        "s = Shape (x)\nn = Gather (s, zero)\nt = Concat <axis = 0> (n, minus)\n"
        "a = Reshape (x, t)\nb = Concat <axis = 1> (a, a)\ny = Relu (b)",
        takes="float[N,4,M] x",
        gives="float[A,B] y",
        **WEIGHTS,
    )
    apply("infer_shapes", model)
    known = {v.name: str(v.shape) for node in model.graph for v in node.outputs}
    assert known["a"] == "[N,4*M]"
    assert known["b"] == "[N,8*M]"
    assert [str(size) for size in model.graph.outputs[0].shape or ()] == ["A", "B"]
    again = ir.from_proto(ir.to_proto(model))
    record(again)
    assert {v.name: str(v.shape) for node in again.graph for v in node.outputs} == known


def test_long_chains_take_seconds_at_most() -> None:
    """Each step is Shape, Gather, Mul, Concat, Reshape: what exporters write."""
    steps = 2000
    body = ["v0 = Relu (x)"]
    for step in range(steps):
        body += [
            f"s{step} = Shape (v{step})",
            f"n{step} = Gather (s{step}, zero)",
            f"m{step} = Gather (s{step}, two)",
            f"t{step} = Concat <axis = 0> (n{step}, minus, m{step})",
            f"v{step + 1} = Reshape (v{step}, t{step})",
        ]
    model = graph("\n".join(body) + f"\ny = Relu (v{steps})", takes="float[N,4,M] x",
                  gives="float[A,B,C] y", **WEIGHTS)  # fmt: skip
    start = time.thread_time()
    shapes = Shapes(model)
    assert time.thread_time() - start < 20
    assert shapes.same(model.graph.inputs[0], model.graph[-1].outputs[0])
    assert sizes.rendered((shapes.of(model.graph[-1].outputs[0]) or (0,))[0]) == "N"
