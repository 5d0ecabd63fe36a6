"""Branches, loops, models inside networks, and half precision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from helpers import by_onnxruntime
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelport import Network
from modelport.errors import SourceError, UsageError
from modelport.feeds import random_feeds
from modelport.graph.query import operator_counts, signature_of

Array = np.ndarray[Any, Any]


def numbers(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


# Branches


def test_cond_takes_one_way_or_the_other() -> None:
    net = Network()
    x = net.input("x=1..x3")
    w, v = numbers(3, 3), numbers(3, 3, seed=1)
    y = net.cond(net.sum(x) > 0, lambda: net.linear(x, w), lambda: net.relu(net.linear(x, v)))
    net.output(y * 2, "y")
    assert y.shape == ("x_0", 3)
    for sign in (1, -1):
        array = sign * np.abs(numbers(2, 3))
        want = array @ w.T if sign > 0 else np.maximum(array @ v.T, 0)
        np.testing.assert_allclose(net.run(array)["y"], want * 2, atol=1e-5)
    modules = [node.metadata_props["modelport.line"] for node in net.build().graph.all_nodes()]
    assert all(line.startswith("test_network_parts.py:") for line in modules)


def test_cond_with_several_results_and_values_from_outside() -> None:
    net = Network()
    x, flag = net.input("x=2"), net.input("flag:bool=scalar")
    same, grown = net.cond(flag, lambda: (x, x), lambda: (x + 1, net.concat([x, x], 0)))
    net.output(same, "same")
    net.output(grown, "grown")
    assert grown.shape == (None,)
    array = numbers(2)
    for truth in (True, False):
        found = net.run({"x": array, "flag": np.array(truth)})
        np.testing.assert_array_equal(found["same"], array if truth else array + 1)
        assert found["grown"].shape == ((2,) if truth else (4,))


def test_branches_inside_each_other() -> None:
    net = Network()
    x = net.input("x=2")
    total = net.sum(x)
    y = net.cond(
        total > 0,
        lambda: net.cond(total > 10, lambda: x * 3, lambda: x * 2),
        lambda: x,
    )
    net.output(y, "y")
    for array, factor in (([6, 6], 3), ([1, 1], 2), ([-1, 0], 1)):
        array = np.array(array, np.float32)
        np.testing.assert_array_equal(net.run(array)["y"], array * factor)


def test_loop_counts_and_collects() -> None:
    net = Network()
    x, times = net.input("x=3"), net.input("times:int64=scalar")
    last, rows = net.loop(lambda step, s: (s * 2, s + step.cast("float32")), x, times=times,
                          collected=1)  # fmt: skip
    net.output(last, "last")
    net.output(rows, "rows")
    assert last.shape == (3,)
    assert rows.shape == (None, 3)
    array = numbers(3)
    for count in (3, 5):
        found = net.run({"x": array, "times": np.array(count)})
        np.testing.assert_allclose(found["last"], array * 2**count, rtol=1e-6)
        want = np.stack([array * 2**step + step for step in range(count)])
        np.testing.assert_allclose(found["rows"], want, rtol=1e-5)


def test_loop_while_a_condition_holds() -> None:
    net = Network()
    x = net.input("x=1")
    total, steps = net.loop(
        lambda step, total, steps: (total + x, steps + 1),
        [net.constant([0.0]), net.constant(0)],
        while_=lambda total, steps: net.sum(total) < 5,
    )
    net.output(total, "total")
    net.output(steps, "steps")
    found = net.run(np.array([2], np.float32))
    assert (found["total"].item(), found["steps"].item()) == (6, 3)


def test_a_recurrence_built_by_hand_equals_the_layer() -> None:
    net = Network()
    x, w = net.input("x=4x3"), numbers(3, 3)
    hidden = net.loop(
        lambda step, h: net.tanh(net.linear(net.gather(x, step)[None], w) + h),
        net.constant(np.zeros((1, 3), np.float32)),
        times=4,
    )  # fmt: skip
    net.output(hidden, "h")
    array, h = numbers(4, 3), np.zeros((1, 3), np.float32)
    for row in array:
        h = np.tanh(row[None] @ w.T + h)
    np.testing.assert_allclose(net.run(array)["h"], h, atol=1e-5)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda n, x: n.cond(x, lambda: x, lambda: x), "the condition is float32"),
        (lambda n, x: n.cond(n.sum(x) > 0, lambda: x, lambda: (x, x)), "returns 1 tensors, the other 2"),
        (lambda n, x: n.cond(n.sum(x) > 0, lambda: x, lambda: x.cast("int64")), "Cast one of them"),
        (lambda n, x: n.loop(lambda i, s: s, x), "nothing ends the loop"),
        (lambda n, x: n.loop(lambda i, s: (s, s), x, times=2), "the body returns 2 tensors"),
        (lambda n, x: n.loop(lambda i, s: s.cast("int64"), x, times=2), "begins as float32"),
        (lambda n, x: n.loop(lambda i, s: s, x, while_=lambda s: s), "the condition of the loop"),
        (lambda n, x: n.cond(n.sum(x) > 0, lambda: n.linear(x, numbers(2, 9)), lambda: x), "linear: "),
        (lambda n, x: n.cond(n.sum(x) > 0, lambda: n.input("y=1"), lambda: x), "no inputs of its own"),
    ],
)  # fmt: skip
def test_what_branches_and_loops_refuse(call: Any, words: str) -> None:
    net = Network()
    x = net.input("x=2")
    with pytest.raises(UsageError) as raised:
        call(net, x)
    assert words in str(raised.value)
    net.output(net.relu(x), "y")
    assert operator_counts(net.build(prune=True)) == {"Relu": 1}


def test_tensors_of_a_branch_stay_inside() -> None:
    net = Network()
    x = net.input("x=2")
    kept = []
    net.cond(net.sum(x) > 0, lambda: kept.append(net.relu(x)) or kept[0], lambda: x)
    with pytest.raises(UsageError, match="Return it from the function"):
        net.sigmoid(kept[0])


# Models inside networks


def inner(name: str = "inner", opset: int = 20) -> Network:
    net = Network(name, opset=opset)
    x = net.input("x=1..4x3x4x4")
    with net.scope("body"):
        y = net.relu(net.conv2d(x, numbers(3, 3, 3, 3), padding=1))
    net.output(y, "features")
    net.output(net.mean(y, (2, 3)), "pooled")
    return net


@pytest.mark.parametrize("form", ["network", "graph", "file"])
def test_splice_takes_any_form_twice(form: str, tmp_path: Path) -> None:
    part = inner()
    model: Any = {
        "network": lambda: part,
        "graph": part.build,
        "file": lambda: part.save(tmp_path / "inner.onnx"),
    }[form]()
    net = Network()
    x = net.input("x=1..4x3x4x4")
    first, _ = net.splice(model, x, prefix="one")
    second = net.splice(model, {"x": first}, prefix="two", outputs=["pooled"])
    net.output(second, "y")
    array = numbers(2, 3, 4, 4)
    middle = part.run(array)["features"]
    np.testing.assert_allclose(net.run(array)["y"], part.run(middle)["pooled"], atol=1e-5)
    built = net.build()
    modules = {node.metadata_props["modelport.module"] for node in built.graph}
    assert modules == {"one.body", "two.body", "two"}
    assert second.shape == ("x_0", 3)


def test_splice_leaves_out_what_only_other_outputs_need() -> None:
    net = Network()
    net.output(net.splice(inner(), net.input("x=2x3x4x4"), outputs=["features"]), "y")
    built = net.build()
    assert operator_counts(built) == {"Conv": 1, "Relu": 1}
    assert str(signature_of(built).outputs[0]) == "y: float32 2x3x4x4"


def test_splice_brings_subgraphs_functions_and_inputs_that_are_outputs(tmp_path: Path) -> None:
    text = """
    <ir_version: 10, opset_import: ["" : 20, "own" : 1]>
    main (float[2] x, bool c) => (float[2] x_too, float[2] y)
    <float[2] w = {1, 2}>
    {
        x_too = Identity (x)
        h = own.Twice (x)
        y = If (c) <
            then_branch = yes () => (float[2] a) { a = Add (h, w) },
            else_branch = no () => (float[2] b) { b = Sub (h, w) }
        >
    }
    <domain: "own", opset_import: ["" : 20]>
    Twice (v) => (u) { u = Add (v, v) }
    """
    model = ir.from_onnx_text(text)
    net = Network()
    x, c = net.input("x=2"), net.input("c:bool=scalar")
    for name in ("one", "two"):
        same, y = net.splice(model, [x, c], prefix=name)
        net.output(same, f"{name}_same")
        net.output(y, f"{name}_y")
    array = numbers(2)
    for truth, sign in ((True, 1), (False, -1)):
        found = net.run({"x": array, "c": np.array(truth)})
        want = 2 * array + sign * np.array([1, 2], np.float32)
        np.testing.assert_allclose(found["one_y"], want)
        np.testing.assert_allclose(found["two_y"], want)
        np.testing.assert_array_equal(found["two_same"], array)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda n, x: n.splice(inner()), "the model was given 0 inputs"),
        (lambda n, x: n.splice(inner(), {"y": x}), "given the inputs y"),
        (lambda n, x: n.splice(inner(), x[:, 1:]), "and it was given float32 [2, 2, 4, 4]"),
        (lambda n, x: n.splice(inner(), x.cast("int64")), "and it was given int64"),
        (lambda n, x: n.splice(inner(), x, outputs=["pool"]), "Perhaps you meant 'pooled'"),
        (lambda n, x: n.splice(3, x), "a int was given"),
        (lambda n, x: n.splice("none.onnx", x), "There is no file none.onnx"),
    ],
)
def test_what_splice_refuses(call: Any, words: str) -> None:
    net = Network()
    x = net.input("x=2x3x4x4")
    with pytest.raises((UsageError, SourceError)) as raised:
        call(net, x)
    assert words in str(raised.value)


def test_splice_across_opsets_where_operators_mean_the_same() -> None:
    net = Network(opset=22)
    net.output(net.splice(inner(opset=18), net.input("x=2x3x4x4"))[1], "y")
    assert net.build(prune=True).opset_imports[""] == 22
    old = ir.from_onnx_text(
        '<ir_version: 7, opset_import: ["" : 11]>\n'
        "g (float[2,3] x) => (float[2] y) { y = ReduceMax <axes = [1], keepdims = 0> (x) }"
    )
    with pytest.raises(UsageError, match="of opset 11, where ReduceMax mean other things"):
        net.splice(old, net.constant(numbers(2, 3)))


# Half precision


def halves(net: Network) -> tuple[ir.Model, ir.Model]:
    """The graph before and after."""
    return net.build(), net.half().build()


def test_half_keeps_the_signature_and_stays_close() -> None:
    net = inner()
    before, after = halves(net)
    assert signature_of(after) == signature_of(before)
    kinds = {value.dtype for value in after.graph.initializers.values()}
    assert kinds == {ir.DataType.FLOAT16, ir.DataType.INT64}  # the axes of the mean
    feeds = random_feeds(signature_of(before), 1)
    want, found = by_onnxruntime(before, feeds), by_onnxruntime(after, feeds)
    for name, array in want.items():
        np.testing.assert_allclose(found[name], array, atol=0.02)
        assert np.abs(found[name] - array).max() > 0, "nothing is in half precision"


def test_half_of_the_signature_too() -> None:
    model = inner().half(signature=True).build()
    assert {spec.dtype for spec in signature_of(model).outputs} == {"float16"}
    assert operator_counts(model) == {"Conv": 1, "Relu": 1, "ReduceMean": 1}


def test_half_where_operators_want_float32_or_make_it() -> None:
    """Resize takes float32 scales, NonMaxSuppression float32 boxes; constants and casts change type."""
    net = Network()
    x = net.input("x=1x2x4x4")
    up = net.upsample(x, 2)
    made = net.op.ConstantOfShape(net.shape(x)) + net.op.EyeLike(x[0, 0], dtype="float32")
    boxes = net.op.NonMaxSuppression(
        net.relu(x[:, 0]), x[:, 1:2, 0], np.array([10]), np.array([0.5], np.float32)
    )
    one = net.op.Constant(value_float=1.0)
    whole = net.op.Cast(net.op.Cast(x * 100, to="int32"), to="float32")
    masked = net.where(x > 0, x, -1e9)
    for name, value in {"up": up, "made": made, "boxes": boxes, "one": x + one, "whole": whole,
                        "masked": net.softmax(masked)}.items():  # fmt: skip
        net.output(value, name)
    before, after = halves(net)
    feeds = random_feeds(signature_of(before), 3)
    want, found = by_onnxruntime(before, feeds), by_onnxruntime(after, feeds)
    for name, array in want.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_allclose(found[name], array, rtol=2e-2, atol=2e-2)


def test_half_inside_branches_and_loops() -> None:
    net = Network()
    x = net.input("x=3")
    w = numbers(3, 3)
    y = net.cond(net.sum(x) > 0, lambda: x @ w, lambda: x * 2)
    z = net.loop(lambda step, s: s * 0.5 + x, y, times=3)
    net.output(z, "z")
    before, after = halves(net)
    for seed in (1, 2, 3):
        feeds = random_feeds(signature_of(before), seed)
        np.testing.assert_allclose(
            by_onnxruntime(after, feeds)["z"], by_onnxruntime(before, feeds)["z"], atol=0.02
        )


def test_half_where_inputs_are_outputs() -> None:
    net = Network()
    net.output(net.input("x=2"), "y")
    array = numbers(2)
    np.testing.assert_allclose(net.half().run(array)["y"], array, atol=1e-3)


# Random networks


class Draft:
    """A network under construction, and what numpy makes of the same steps."""

    def __init__(self, data: st.DataObject) -> None:
        self.data = data
        self.net = Network("random")
        self.seed = 0
        shape = tuple(self.number(1, 4) for _ in range(4))
        free = self.data.draw(st.sampled_from([(), (0,), (0, 2)]))
        self.feed = self.array(*shape)
        sizes = [f"n{axis}" if axis in free else size for axis, size in enumerate(shape)]
        self.pool: list[tuple[Any, Array]] = [(self.net.input("x", "float32", sizes), self.feed)]

    def number(self, low: int, high: int) -> int:
        return self.data.draw(st.integers(low, high))

    def array(self, *shape: int) -> Array:
        self.seed += 1
        return numbers(*shape, seed=self.seed)

    def pick(self) -> tuple[Any, Array]:
        return self.data.draw(st.sampled_from(self.pool))

    def add(self, tensor: Any, array: Array) -> None:
        known = [size for size in tensor.shape if isinstance(size, int)]
        assert len(tensor.shape) == array.ndim
        assert all(a == b for a, b in zip(tensor.shape, array.shape, strict=True)
                   if isinstance(a, int)), (known, array.shape)  # fmt: skip
        self.pool.append((tensor, np.asarray(array, np.float32)))


def arithmetic(d: Draft) -> None:
    x, a = d.pick()
    number = d.number(1, 3)
    sign = d.data.draw(st.sampled_from(["+", "-", "*", "/", "r-", "r/"]))
    build = {
        "+": lambda v: v + number,
        "-": lambda v: v - number,
        "*": lambda v: number * v,
        "/": lambda v: v / number,
        "r-": lambda v: number - v,
        "r/": lambda v: number / (abs(v) + 1),
    }[sign]
    d.add(build(x), build(a))


def combine(d: Draft) -> None:
    x, a = d.pick()
    y, b = d.pick()
    if a.shape == b.shape and x.shape == y.shape:
        d.add(x * y + x, a * b + a)


def broadcast(d: Draft) -> None:
    x, a = d.pick()
    b = d.array(*[size if d.number(0, 1) else 1 for size in a.shape])
    known = [s if isinstance(s, int) else 1 for s in x.shape]
    b = b[tuple(slice(0, 1) if k == 1 else slice(None) for k in known)]
    d.add(b - x, b - a)


def index(d: Draft) -> None:
    x, a = d.pick()
    if not a.ndim:
        return
    items: list[Any] = []
    for size in a.shape:
        kind = d.number(0, 3)
        if kind == 0:
            items.append(d.number(-size, size - 1))
        elif kind == 1 and size > 1:
            items.append(slice(d.number(0, size - 1), None, d.number(1, 2)))
        elif kind == 2:
            items.append(slice(None, None, -1))
        else:
            items.append(slice(None))
    if d.number(0, 3) == 0:
        items.insert(d.number(0, len(items)), None)
    d.add(x[tuple(items)], a[tuple(items)])


def reduce(d: Draft) -> None:
    x, a = d.pick()
    if a.ndim:
        axis, kept = d.number(-a.ndim, a.ndim - 1), bool(d.number(0, 1))
        name = d.data.draw(st.sampled_from(["mean", "sum", "max", "min"]))
        d.add(getattr(d.net, name)(x, axis, kept), getattr(np, name)(a, axis, keepdims=kept))


def transpose(d: Draft) -> None:
    x, a = d.pick()
    if a.ndim:
        axes = d.data.draw(st.permutations(range(a.ndim)))
        d.add(x.transpose(axes), a.transpose(axes))


def flatten(d: Draft) -> None:
    x, a = d.pick()
    if a.ndim > 1:
        d.add(d.net.flatten(x), a.reshape(a.shape[0], -1))


def linear(d: Draft) -> None:
    x, a = d.pick()
    if a.ndim > 1 and isinstance(x.shape[-1], int):
        w, b = d.array(d.number(1, 3), a.shape[-1]), None
        b = d.array(len(w)) if d.number(0, 1) else None
        d.add(d.net.linear(x, w, b), a @ w.T + (0 if b is None else b))


def concat(d: Draft) -> None:
    x, a = d.pick()
    if a.ndim:
        axis = d.number(-a.ndim, a.ndim - 1)
        d.add(d.net.concat([x, -x], axis), np.concatenate([a, -a], axis))


def activate(d: Draft) -> None:
    x, a = d.pick()
    d.add(d.net.relu(x), np.maximum(a, 0)) if d.number(0, 1) else d.add(d.net.tanh(x), np.tanh(a))


STEPS = (
    arithmetic,
    combine,
    broadcast,
    index,
    reduce,
    transpose,
    flatten,
    linear,
    concat,
    activate,
)


@settings(max_examples=80, deadline=None, derandomize=True,
          suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])  # fmt: skip
@given(data=st.data())
def test_random_networks_give_what_numpy_gives(data: st.DataObject) -> None:
    draft = Draft(data)
    for step in data.draw(st.lists(st.sampled_from(STEPS), min_size=1, max_size=10)):
        step(draft)
    for number, (tensor, _) in enumerate(draft.pool[1:] or draft.pool):
        draft.net.output(tensor, f"out{number}")
    model = draft.net.build()
    feeds = {"x": draft.feed}
    found = by_onnxruntime(model, feeds)
    for number, (_, array) in enumerate(draft.pool[1:] or draft.pool):
        assert found[f"out{number}"].shape == array.shape
        np.testing.assert_allclose(found[f"out{number}"], array, rtol=1e-3, atol=1e-3)
    half = by_onnxruntime(draft.net.half().build(), feeds)
    assert {value.dtype for value in half.values()} == {np.dtype(np.float32)}
