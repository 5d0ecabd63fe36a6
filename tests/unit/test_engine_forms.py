"""What converters for MNN and ncnn do to graphs, networks and numbers, as far as it needs no engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from helpers import by_onnxruntime, graph, weight
from onnx_ir.passes.common import ShapeInferencePass

from modelport.engines.mnn.rounding import rounded
from modelport.engines.ncnn import weights
from modelport.engines.ncnn.forms import readable
from modelport.engines.ncnn.network import Network
from modelport.engines.ncnn.ranges import Range
from modelport.engines.ncnn.weights import Block
from modelport.errors import EngineError
from modelport.graph import invariants

# --- graphs -------------------------------------------------------------------------------------


def same(model: ir.Model, **feeds: np.ndarray) -> ir.Model:
    """The model in the forms for pnnx, which gives what it gave."""
    model = ShapeInferencePass()(model).model
    before = [node.op_type for node in model.graph]
    made = readable(model)
    invariants.check(made)
    assert [node.op_type for node in model.graph] == before, "the model stays as it was"
    want, got = by_onnxruntime(model, feeds), by_onnxruntime(made, feeds)
    for name, array in want.items():
        np.testing.assert_allclose(got[name], array, rtol=1e-6, atol=1e-6)
    return made


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("axis", [1, -1])
def test_a_reduction_of_one_axis_gets_a_second_one(axis: int, keepdims: int) -> None:
    model = graph(
        f"y = ReduceMean <keepdims = {keepdims}> (x, axes)",
        takes="float[2,3,4] x",
        gives="float[A,B,C] y" if keepdims else "float[A,B] y",
        axes=np.array([axis]),
    )
    made = same(model, x=weight(2, 3, 4))
    reduction = next(node for node in made.graph if node.op_type == "ReduceMean")
    assert reduction.inputs[1].const_value.numpy().size == 2


def test_reductions_of_several_axes_stay() -> None:
    model = graph(
        "y = ReduceSum <keepdims = 0> (x, axes)",
        takes="float[2,3,4] x",
        gives="float[A] y",
        axes=np.array([1, 2]),
    )
    assert [node.op_type for node in same(model, x=weight(2, 3, 4)).graph] == ["ReduceSum"]


@pytest.mark.parametrize("keepdims", [0, 1])
def test_the_largest_of_pictures_are_pooled(keepdims: int) -> None:
    model = graph(
        f"y = ReduceMax <keepdims = {keepdims}> (x, axes)",
        takes="float[2,3,4,5] x",
        gives="float[A,B,C,D] y" if keepdims else "float[A,B] y",
        axes=np.array([-1, 2]),
    )
    made = same(model, x=weight(2, 3, 4, 5))
    assert "GlobalMaxPool" in [node.op_type for node in made.graph]


def test_the_largest_along_other_axes_are_left_to_the_engine_to_refuse() -> None:
    model = graph(
        "y = ReduceMax (x, axes)",
        takes="float[2,3,4,5] x",
        gives="float[A,B,C,D] y",
        axes=np.array([1]),
    )
    assert [node.op_type for node in same(model, x=weight(2, 3, 4, 5)).graph] == ["ReduceMax"]


def test_rows_are_taken_before_the_axes_are_moved() -> None:
    """As of attention: two rows that lose their axis at once, and one in a Reshape."""
    model = graph(
        """
        p = Transpose <perm = [2, 0, 3, 1, 4]> (x)
        a = Slice (p, zero, one, zero)
        q = Squeeze (a, zero)
        b = Slice (p, one, two, zero)
        k = Reshape (b, flat)
        c = Slice (p, two, three, zero)
        v = Squeeze (c, zero)
        """,
        takes="float[1,5,3,2,4] x",
        gives="float[1,2,5,4] q, float[2,5,4] k, float[1,2,5,4] v",
        flat=np.array([-1, 5, 4]),
        **{name: np.array([n]) for n, name in enumerate(("zero", "one", "two", "three"))},
    )
    made = same(model, x=weight(1, 5, 3, 2, 4))
    assert all(len(node.outputs[0].shape or ()) < 5 for node in made.graph if is_moved(node))


def is_moved(node: ir.Node) -> bool:
    return node.op_type == "Transpose"


def test_rows_of_others_stay() -> None:
    """Of two rows at once, and of what is read by something that wants the axis."""
    model = graph(
        "p = Transpose <perm = [1, 0, 2]> (x)\na = Slice (p, zero, two, zero)\n"
        "b = Slice (p, zero, one, zero)\ny = Mul (a, b)",
        takes="float[2,3,4] x",
        gives="float[2,2,4] y",
        **{name: np.array([n]) for n, name in enumerate(("zero", "one", "two"))},
    )
    made = same(model, x=weight(2, 3, 4))
    assert [node.op_type for node in made.graph] == ["Transpose", "Slice", "Slice", "Mul"]


def test_weights_are_rounded_and_not_cut_off() -> None:
    array = np.array([[1.0009, -1.0009], [1e-9, 70000.0]], np.float32)
    fine, beyond = array.copy(), array.copy()
    fine[1, 1] = 3
    model = graph(
        "a = MatMul (x, fine)\nb = MatMul (a, beyond)\ny = Add (b, fine)",
        takes="float[2,2] x",
        gives="float[2,2] y",
        fine=fine,
        beyond=beyond,
    )
    made = rounded(model)
    values = {name: value.const_value.numpy() for name, value in made.graph.initializers.items()}
    np.testing.assert_array_equal(values["fine"], fine.astype(np.float16).astype(np.float32))
    np.testing.assert_array_equal(values["beyond"], beyond)
    np.testing.assert_array_equal(model.graph.initializers["fine"].const_value.numpy(), fine)


# --- networks of ncnn ---------------------------------------------------------------------------

NETWORK = """7767517
4 5
Input                    in0                      0 1 in0
Split                    split_0                  1 2 in0 1 2
Convolution              conv_0                   1 1 1 out0 0=2 1=1 5=1 6=6 -23310=1,2.0 9=1
InnerProduct             linear_0                 1 1 2 out1 0=2 1=0 2=8
"""


def test_networks_are_read_and_written(tmp_path: Path) -> None:
    (tmp_path / "a.param").write_text(NETWORK)
    network = Network.read(tmp_path / "a.param")
    network.write(tmp_path / "b.param")
    assert Network.read(tmp_path / "b.param") == network
    assert [line.split() for line in (tmp_path / "b.param").read_text().splitlines()] == [
        line.split() for line in NETWORK.splitlines()
    ]
    assert [layer.name for layer in network.readers("in0")] == ["conv_0", "linear_0"]
    assert network.layers[2].number(6) == 6
    assert network.layers[2].number(7, 1) == 1


def test_weights_are_read_and_written(tmp_path: Path) -> None:
    (tmp_path / "a.param").write_text(NETWORK)
    network = Network.read(tmp_path / "a.param")
    numbers = np.arange(16, dtype=np.float32)
    content = bytes(4) + numbers[:8].tobytes() + bytes(4) + numbers[8:].tobytes()
    (tmp_path / "a.bin").write_bytes(content)
    blocks = weights.read(tmp_path / "a.bin", network)
    assert [block.values.size for block in blocks["conv_0"]] == [6, 2]
    weights.write(tmp_path / "b.bin", network, blocks)
    assert (tmp_path / "b.bin").read_bytes() == content
    blocks["conv_0"][0] = Block(np.ones(6, np.int8), True)
    weights.write(tmp_path / "b.bin", network, blocks)
    tagged = 0x000D4B38.to_bytes(4, "little") + bytes([1] * 6 + [0] * 2)
    assert (tmp_path / "b.bin").read_bytes() == tagged + content[4 + 6 * 4 :]


@pytest.mark.parametrize(
    "change", [lambda c: c[:-4], lambda c: c + bytes(4), lambda c: b"\1" + c[1:]]
)
def test_weights_laid_out_otherwise_are_refused(change: object, tmp_path: Path) -> None:
    (tmp_path / "a.param").write_text(NETWORK)
    (tmp_path / "a.bin").write_bytes(change(bytes(4 + 8 * 4 + 4 + 8 * 4)))  # type: ignore[operator]
    with pytest.raises(EngineError, match="cannot be quantized, for they are not laid out"):
        weights.read(tmp_path / "a.bin", Network.read(tmp_path / "a.param"))


# --- ranges -------------------------------------------------------------------------------------


def loss(values: np.ndarray, top: float) -> float:
    step = top / 127
    return float(((np.rint(values / step).clip(-127, 127) * step - values) ** 2).mean())


def test_a_range_loses_about_as_little_as_can_be() -> None:
    generator = np.random.default_rng(1)
    for values in (generator.standard_normal(20000), generator.standard_t(3, 20000)):
        found = Range()
        found.add(values)
        tops = np.linspace(0.02, 1, 100) * np.abs(values).max()
        assert loss(values, found.top) < 1.1 * min(loss(values, top) for top in tops)


def test_a_range_tells_of_feeds_that_it_drowns() -> None:
    values = np.random.default_rng(1).standard_normal(5000)
    found = Range()
    found.add(values)
    assert found.worst_db > 30
    found.add(values / 200)
    assert found.worst_db < 10


def test_a_range_of_zeros_is_a_range() -> None:
    found = Range()
    found.add(np.zeros(10))
    assert found.top == 1.0
    assert found.worst_db == np.inf
