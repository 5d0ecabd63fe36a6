"""A network: inputs and outputs, names and provenance, operators, weights, and what it refuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch

import modelport
from modelport import Dim, Network, TensorSpec
from modelport.errors import UsageError, WeightsError
from modelport.frontends.network import weights_from_bin
from modelport.graph import io, schemas
from modelport.graph.query import operator_counts, signature_of

Array = np.ndarray[Any, Any]


def numbers(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def small() -> Network:
    """One convolution and a linear layer, with weights of its own."""
    net = Network("small")
    x = net.input("image=1..4x3x8x8")
    weights = net.weights(
        {
            "stem.conv.weight": numbers(4, 3, 3, 3),
            "stem.conv.bias": numbers(4),
            "head.weight": numbers(5, 4),
            "head.bias": numbers(5),
        }
    )
    x = net.relu(net.conv2d(x, weights["stem.conv"], padding="same"))
    net.output(net.linear(net.mean(x, (2, 3)), weights["head"]), "logits")
    return net


# Inputs and outputs


def test_inputs_are_spelled_as_everywhere() -> None:
    net = Network()
    net.input("a=1..8x3x224..640/32xn[1..]")
    net.input("b", "int64", (1, "2..4", "k", Dim(1, 9, "m")))
    net.input(TensorSpec("c", "uint8", ()))
    model = net._model()
    model.graph.outputs.extend(model.graph.inputs)
    assert [str(spec) for spec in signature_of(model).inputs] == [
        "a: float32 1..8x3x224..640/32xn",
        "b: int64 1x2..4xkxm[1..9]",
        "c: uint8 scalar",
    ]


def test_several_inputs_and_outputs() -> None:
    net = Network("two")
    a, b = net.input("a=2x3"), net.input("b=2x3")
    total = net.output(a + b, "total")
    net.output(net.relu(total), "positive")
    net.output(a)
    net.output(total, "again")
    found = net.run({"a": numbers(2, 3), "b": numbers(2, 3, seed=1)})
    assert list(found) == ["total", "positive", "output", "again"]
    np.testing.assert_array_equal(found["output"], numbers(2, 3))
    np.testing.assert_array_equal(found["again"], found["total"])


def test_a_weight_may_be_an_output() -> None:
    net = Network()
    net.output(net.constant([[1, 2]], "float32"), "numbers")
    net.output(net.input("x=1"), "same")
    assert net.run(numbers(1))["numbers"].tolist() == [[1.0, 2.0]]


def test_the_name_of_an_output_wins_over_that_of_a_layer() -> None:
    net = Network()
    x = net.relu(net.input("x=2"))
    assert x.name == "relu"
    net.output(net.sigmoid(x), "relu")
    net.build()


def test_an_output_may_say_its_shape() -> None:
    net = Network()
    x = net.input("x=1..4x6")
    net.output(net.op.Compress(x, [True, False, True], axis=1), "kept=1..4x1..6")
    assert str(signature_of(net.build()).outputs[0]) == "kept: float32 1..4x1..6"
    with pytest.raises(UsageError, match=r"output: y has shape \[x_0, 6\]"):
        net.output(net.relu(x), "y=1x7")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda net: net.input("x=3"), "there is an input 'x' already"),
        (lambda net: net.input("y"), "the input 'y' has no shape"),
        (lambda net: net.input("y", "float32", ("1-2",)), "the size '1-2' cannot be read"),
        (lambda net: net.input("y", "float31", (1,)), "no element type 'float31'"),
        (lambda net: net.input("y=1xq"), "The size 'q' in 'y=1xq' cannot be read"),
    ],
)
def test_bad_inputs(call: Any, words: str) -> None:
    net = Network()
    net.input("x=1")
    with pytest.raises(UsageError) as raised:
        call(net)
    assert words in str(raised.value)


def test_outputs_have_names_of_their_own() -> None:
    net = Network()
    x = net.input("x=1")
    net.output(net.relu(x), "y")
    for name in ("x", "y"):
        with pytest.raises(UsageError, match=f"'{name}'"):
            net.output(net.sigmoid(x), name)


def test_nothing_dangles() -> None:
    net = Network("net")
    x = net.input("x=2")
    with pytest.raises(UsageError, match="'net' has no output"):
        net.build()
    net.output(net.relu(x), "y")
    with net.scope("aux"):
        net.sigmoid(x)
    with pytest.raises(
        UsageError, match=r"In module aux: Nothing comes of aux.sigmoid \(Sigmoid, tes"
    ):
        net.build()
    assert operator_counts(net.build(prune=True)) == {"Relu": 1}
    other = Network()
    other.input("unused=1")
    other.output(other.input("x=1"), "y")
    with pytest.raises(UsageError, match="No layer reads the input 'unused'"):
        other.build()
    assert len(other.build(prune=True).graph.inputs) == 2


def test_what_was_built_stays_when_the_network_grows() -> None:
    net = small()
    before = net.build()
    text = str(before)
    net.output(net.input("more=1"), "other")
    assert str(before) == text
    assert len(net.build().graph.outputs) == 2


# Provenance and names


def test_nodes_know_their_module_and_the_users_line() -> None:
    net = Network()
    x = net.input("x=1x3x4x4")
    weights = net.weights({"layer1.0.conv.weight": numbers(3, 3, 1, 1)})
    with net.scope("layer1"):
        with net.scope("0"):
            y = net.conv2d(x, weights["layer1.0.conv"])
            y = net.relu(y)
        y = y + x
    with net.scope(weights["layer1.0"]):
        y = net.tanh(y)
    net.output(y, "y")
    model = net.build()
    modules = [node.metadata_props["modelport.module"] for node in model.graph]
    assert modules == ["layer1.0.conv", "layer1.0", "layer1", "layer1.0"]
    lines = [node.metadata_props["modelport.line"] for node in model.graph]
    assert all(line.startswith("test_network.py:") for line in lines)
    assert len(set(lines)) == 4
    assert [node.name for node in model.graph] == [
        "layer1.0.conv/Conv", "layer1.0/Relu", "layer1/Add", "layer1.0/Tanh",
    ]  # fmt: skip


def test_errors_name_the_module() -> None:
    net = Network()
    x = net.input("x=1x3x4x4")
    with net.scope("body"), pytest.raises(UsageError) as raised:
        net.conv2d(x, net.weights({"conv.weight": numbers(3, 4, 1, 1)})["conv"])
    assert str(raised.value).startswith("In module body.conv: conv2d: the input has 3 channels")


def test_weights_keep_their_names_and_one_array_is_stored_once() -> None:
    net = Network()
    x = net.input("x=1x4")
    shared = numbers(4, 4)
    weights = net.weights({"fc.weight": numbers(4, 4, seed=1)})
    x = net.linear(net.linear(x, shared), shared)
    x = net.linear(net.linear(x, weights["fc"]), weights["fc.weight"])
    net.output(x * 2 + 2, "y")
    graph = net.build().graph
    assert sorted(graph.initializers) == ["constant", "fc.weight", "weight"]


def test_tensors_of_another_network_are_refused() -> None:
    one, other = Network("one"), Network("other")
    x, y = one.input("x=1"), other.input("y=1")
    for call in (lambda: one.relu(y), lambda: x + y):
        with pytest.raises(UsageError, match="y belongs to the network 'other', not to 'one'"):
            call()


def test_a_tensor_is_no_truth_and_cannot_be_iterated() -> None:
    x = Network().input("x=2")
    with pytest.raises(UsageError, match=r"net.where"):
        bool(x > 0)
    with pytest.raises(UsageError, match=r"net.split"):
        list(x)
    assert repr(x) == "<x: float32 [2]>"
    assert len({x, x}) == 1


# Operators


def test_every_operator_is_there_with_its_signature() -> None:
    net = Network()
    names = dir(net.op)
    assert len(names) > 180
    for name in names:
        call = getattr(net.op, name)
        assert call.__doc__ or name
        assert call.__signature__ is not None
    assert repr(net.op.LeakyRelu).startswith("<net.op.LeakyRelu(X, *, alpha=0.0")


def test_operators_take_inputs_by_name_and_leave_out_optional_ones() -> None:
    net = Network()
    x = net.input("x=1x1x2x2")
    first = net.op.Resize(x, None, [1.0, 1.0, 2.0, 2.0], mode="nearest")
    second = net.op.Resize(x, sizes=[1, 1, 4, 4])
    net.output(first, "a")
    net.output(second, "b")
    assert first.shape == second.shape == (1, 1, 4, 4)
    found = net.run(numbers(1, 1, 2, 2))
    np.testing.assert_array_equal(found["a"], found["b"])


def test_operators_give_as_many_outputs_as_they_have() -> None:
    net = Network()
    x = net.input("x=6x4")
    assert len(net.op.TopK(x, [2])) == 2
    assert len(net.op.Split(x, num_outputs=3)) == 3
    assert len(net.op.Split(x, [2, 4])) == 2
    assert net.op.MaxPool(x.reshape(1, 1, 6, 4), kernel_shape=[2, 2]).shape == (1, 1, 5, 3)
    assert len(net.op.MaxPool(x.reshape(1, 1, 6, 4), kernel_shape=[2, 2], outputs=2)) == 2
    assert net.op.Concat(x, x, axis=0).shape == net.op.Concat([x, x], axis=0).shape == (12, 4)
    assert net.op.Einsum(x, x, equation="ij,kj->ik").shape == (6, 6)
    with pytest.raises(UsageError, match="Say how many: outputs=2"):
        net.op.Split(x, net.input("parts:int64=2"))
    with pytest.raises(UsageError, match="Relu cannot give 2 outputs"):
        net.op.Relu(x, outputs=2)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda net, x: net.op.Rleu(x), "Perhaps you meant 'Relu'"),
        (lambda net, x: net.op.softmax(x), "'Softmax'"),
        (lambda net, x: net.op.Attention(x, x, x), "came with opset 23"),
        (lambda net, x: net.op.Upsample(x), "ONNX gave up Upsample"),
        (lambda net, x: net.op.Relu(), "Relu was given 0 inputs (test_network.py"),
        (lambda net, x: net.op.Relu(x, x), "Relu was given 2 inputs"),
        (lambda net, x: net.op.Gemm(x, None), "Gemm needs its input B"),
        (lambda net, x: net.op.Gemm(x, x, A=x), "its input A twice"),
        (lambda net, x: net.op.Concat(x), "Concat needs its attribute 'axis'"),
        (lambda net, x: net.op.Softmax(x, axes=1), "Perhaps you meant 'axis'"),
        (lambda net, x: net.op.Softmax(x, axis="1"), "Expected a whole number"),
        (lambda net, x: net.op.Softmax(x, axis=1.0), "Expected a whole number"),
        (lambda net, x: net.op.LeakyRelu(x, alpha="a"), "Expected a number"),
        (lambda net, x: net.op.Transpose(x, perm="10"), "Expected a list of whole numbers"),
        (lambda net, x: net.op.Gelu(x, approximate=1), "Expected text"),
        (lambda net, x: net.op.Not(x), "Expected one of bool. Cast it first: x.cast('bool')"),
        (lambda net, x: net.op.MatMul(x, x), "Incompatible dimensions"),
        (
            lambda net, x: net.op.Conv(x.reshape(1, 2, 3, 1), np.ones((1, 3, 1, 1), np.float32)),
            "the input has 2 channels, the weight of shape [1, 3, 1, 1] expects 3",
        ),
        (lambda net, x: net.rleu(x), "has no layer 'rleu'"),
        (lambda net, x: net.permute(x, (1, 0)), "It is called transpose here"),
        (lambda net, x: net.dropout(x), "leave it out"),
        (lambda net, x: net.Relu(x), "net.op.Relu"),
    ],
)
def test_what_operators_refuse(call: Any, words: str) -> None:
    net = Network()
    x = net.input("x=2x3")
    with pytest.raises((UsageError, AttributeError)) as raised:
        call(net, x)
    assert words in str(raised.value)


def test_opset_is_one_that_layers_are_written_for() -> None:
    for opset in (17, schemas.newest_opset() + 1):
        with pytest.raises(UsageError, match=f"cannot be of opset {opset}"):
            Network(opset=opset)
    model = small().build()
    assert (model.opset_imports, model.ir_version) == ({"": 20}, 10)


def test_shapes_computed_in_the_graph_are_known() -> None:
    """Shape, Gather and Concat of fixed sizes decide what a Reshape gives."""
    net = Network()
    x = net.input("x=2x3x4")
    rows = net.op.Gather(net.shape(x), 0)
    target = net.op.Concat(net.op.Unsqueeze(rows * 3, [0]), [4], axis=0)
    assert net.op.Reshape(x, target).shape == (6, 4)


# Weights


def state() -> dict[str, Array]:
    return {"a.weight": numbers(3, 2), "a.bias": numbers(3), "b": np.arange(4)}


def write_safetensors(folder: Path) -> Path:
    save_file(state(), folder / "w.safetensors")
    return folder / "w.safetensors"


def write_npz(folder: Path) -> Path:
    np.savez(folder / "w.npz", **state())
    return folder / "w.npz"


def write_pth(folder: Path) -> Path:
    torch.save({k: torch.from_numpy(v) for k, v in state().items()}, folder / "w.pth")
    return folder / "w.pth"


def write_npy(folder: Path) -> Path:
    (folder / "w" / "a").mkdir(parents=True)
    for name, array in state().items():
        np.save(folder / "w" / f"{name.replace('.', '/')}.npy", array)
    return folder / "w"


def write_onnx(folder: Path) -> Path:
    net = Network()
    for name, array in net.weights(state()).items():
        net.output(array_output(net, array), f"out_{name}")
    return net.save(folder / "w.onnx")


def array_output(net: Network, array: Array) -> Any:
    return net.op.Identity(array)


@pytest.mark.parametrize(
    "write",
    [write_safetensors, write_npz, write_pth, write_npy, write_onnx],
    ids=lambda f: f.__name__,
)
def test_weights_come_from_files(write: Any, tmp_path: Path) -> None:
    weights = Network().weights(write(tmp_path))
    assert sorted(weights) == ["a.bias", "a.weight", "b"]
    for name, array in state().items():
        np.testing.assert_array_equal(weights[name], array)
        assert weights[name].dtype == array.dtype
    assert sorted(weights["a"]) == ["bias", "weight"]


def test_weights_by_group_number_and_what_is_left(tmp_path: Path) -> None:
    weights = Network().weights(
        {"l.0.w": numbers(1), "l.0.num_batches_tracked": np.array(1), "l.1.w": numbers(2)}
    )
    assert weights["l"][1]["w"].shape == (2,)
    assert weights.unused == ["l.0.w"]
    assert weights["l"]["0"].unused == ["l.0.w"]
    assert "l" in weights
    assert "l.2" not in weights
    assert weights.get("l.2") is None
    assert repr(weights["l"]) == "<3 weights of the mapping, l>"


def test_missing_weights_offer_the_nearest() -> None:
    weights = Network().weights({"layer1.conv.weight": numbers(1)})
    with pytest.raises(WeightsError) as raised:
        weights["layer1"]["conv.wieght"]
    assert "has no weight 'layer1.conv.wieght' (test_network.py:" in str(raised.value)
    assert "Perhaps you meant 'layer1.conv.weight'" in str(raised.value)
    with pytest.raises(WeightsError, match=r"Expected one of layer1\.conv\.weight"):
        weights["zzz"]


def test_pytorch_tensors_and_modules_are_weights() -> None:
    module = torch.nn.Linear(3, 2)
    net = Network()
    x = net.input("x=1..x3")
    net.output(net.linear(x, module.weight, module.bias), "a")
    net.output(net.linear(x, net.weights(module)), "b")
    net.output(net.linear(x, net.weights(module.bfloat16().state_dict())), "c")
    found = net.run(numbers(4, 3))
    np.testing.assert_array_equal(found["a"], found["b"])
    np.testing.assert_allclose(found["a"], found["c"], atol=0.05)
    assert found["c"].dtype == np.float32


def test_bfloat16_weights_come_from_safetensors(tmp_path: Path) -> None:
    save_torch({"w": torch.ones(3, dtype=torch.bfloat16)}, tmp_path / "w.safetensors")
    assert Network().weights(tmp_path / "w.safetensors")["w"].dtype == ml_dtypes.bfloat16


def test_weights_take_the_element_type_of_the_input() -> None:
    net = Network()
    y = net.linear(net.input("x", "float16", (1, 3)), np.ones((2, 3)), np.ones(2))
    assert y.dtype == "float16"


def test_weights_from_npy_and_bin(tmp_path: Path) -> None:
    array = numbers(2, 3)
    np.save(tmp_path / "w.npy", array)
    array.tofile(tmp_path / "w.bin")
    (tmp_path / "two.bin").write_bytes(b"head" + array.tobytes())
    net = Network()
    x = net.input("x=1x3")
    net.output(net.linear(x, tmp_path / "w.npy"), "a")
    net.output(net.linear(x, weights_from_bin(tmp_path / "w.bin", (2, 3))), "b")
    net.output(net.linear(x, weights_from_bin(tmp_path / "two.bin", (2, 3), offset=4)), "c")
    found = net.run(numbers(1, 3))
    np.testing.assert_array_equal(found["a"], found["b"])
    np.testing.assert_array_equal(found["a"], found["c"])
    with pytest.raises(
        WeightsError, match=r"holds 24 bytes. Expected 16 bytes, for float32 of shape"
    ):
        weights_from_bin(tmp_path / "w.bin", (2, 2))
    with pytest.raises(WeightsError, match="There is no weights file"):
        weights_from_bin(tmp_path / "no.bin", (1,))


HEADER = b'{"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}'
SHORT = len(HEADER).to_bytes(8, "little") + HEADER + bytes(7)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("w.safetensors", b"\xff" * 20),
        ("w.safetensors", (8).to_bytes(8, "little") + b"{}"),
        ("w.safetensors", SHORT),
        ("w.safetensors", b"\x02\0\0\0\0\0\0\0[]"),
        ("w.npz", b"no"),
        ("w.pth", b"no"),
    ],
)  # fmt: skip
def test_damaged_weights_are_refused(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=r"cannot be read as weights|holds more than"):
        Network().weights(tmp_path / name)


def test_other_files_are_no_weights(tmp_path: Path) -> None:
    (tmp_path / "w.txt").write_text("1")
    with pytest.raises(WeightsError, match=r"Expected one ending in .safetensors"):
        Network().weights(tmp_path / "w.txt")
    with pytest.raises(WeightsError, match="There is no weights file"):
        Network().weights(tmp_path / "no.npz")


def test_a_group_where_an_array_belongs() -> None:
    net = Network()
    weights = net.weights(state())
    with pytest.raises(UsageError, match="a group of weights, a, stands where one array belongs"):
        net.relu(weights["a"])


# As a source


def test_saves_and_runs_on_both_oracles(tmp_path: Path) -> None:
    net = small()
    image = numbers(2, 3, 8, 8)
    one, other = net.run(image), net.run({"image": image}, engine="reference")
    np.testing.assert_allclose(one["logits"], other["logits"], atol=1e-5)
    model = io.load(net.save(tmp_path / "deep" / "small.onnx"))
    assert model.producer_name == "modelport"
    assert str(signature_of(model).inputs[0]) == "image: float32 1..4x3x8x8"


def test_a_network_is_a_source(tmp_path: Path) -> None:
    exported = modelport.export(small(), output=tmp_path / "a.onnx")
    assert str(exported.signature.inputs[0]) == "image: float32 1..4x3x8x8"
    assert {n.metadata_props["modelport.module"] for n in exported.model.graph} >= {"stem.conv"}
    source = modelport.Source(small(), licence="MIT", name="mine")
    assert modelport.export(source).model.graph.num_nodes() == 4
    optimized = modelport.optimize(small())
    assert optimized.checked
    bundle = tmp_path / "bundle"
    modelport.deploy(
        small(),
        output=bundle,
        engines=["onnxruntime"],
        precisions=["fp32"],
        threads=1,
        report=False,
    )
    with modelport.load(bundle) as predictor:
        assert predictor is not None


def test_a_file_may_build_a_network(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "import modelport\n\ndef build():\n    net = modelport.Network('filed')\n"
        "    net.output(net.relu(net.input('x=1x4')), 'y')\n    return net\n"
        "\ndef wrong():\n    net = modelport.Network()\n    return net.linear(net.input('x=1x4'),"
        " [[1.0]])\n"
    )
    exported = modelport.export(f"{tmp_path / 'net.py'}:build")
    assert [node.op_type for node in exported.model.graph] == ["Relu"]
    assert exported.model.graph[0].metadata_props["modelport.line"] == "net.py:5"
    with pytest.raises(UsageError, match=r"linear: the input has 4 features.*net.py:10"):
        modelport.export(f"{tmp_path / 'net.py'}:wrong")


def test_inputs_and_weights_are_the_networks_own() -> None:
    with pytest.raises(UsageError, match="leave --input out"):
        modelport.export(small(), "x=1x3x8x8")


def test_the_builder_needs_no_pytorch() -> None:
    code = (
        "import sys; sys.modules['torch'] = None; import numpy as np, modelport\n"
        "net = modelport.Network(); x = net.input('x=1x3')\n"
        "net.output(net.linear(x, np.ones((2, 3))), 'y')\n"
        "assert net.run(np.ones((1, 3), np.float32))['y'].tolist() == [[3, 3]]\n"
        "assert modelport.export(net).model is not None"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
