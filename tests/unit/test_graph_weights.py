"""Weights go out to files and come back equal; what does not fit is refused, and nothing is changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest
from helpers import graph, tag, weight

from modelport.errors import ModelportError, UsageError, WeightsError
from modelport.graph import io, weights
from modelport.graph.query import constant_of


def network() -> ir.Model:
    model = graph(
        """
        c = Conv (x, w, b)
        two = Constant <value = float {2.0}> ()
        y = Mul (c, two)
        """,
        takes="float[1,2,3,3] x",
        gives="float[1,4,3,3] y",
        w=weight(4, 2, 1, 1),
        b=weight(4, seed=1),
    )
    return tag(model, c="conv", y="scale")


def test_the_weights_of_a_place() -> None:
    assert list(weights.weights(network())) == ["w", "b"]
    assert list(weights.weights(network(), "conv")) == ["w", "b"]
    assert list(weights.weights(network(), "value:b")) == ["b"]
    assert list(weights.weights(network(), "scale")) == ["two"]


@pytest.mark.parametrize("suffix", [".npy", ".bin", ".safetensors"])
@pytest.mark.parametrize(
    "dtype", [np.float32, np.float16, np.int64, np.bool_, np.uint8, ml_dtypes.bfloat16]
)
def test_round_trip(suffix: str, dtype: Any, tmp_path: Path) -> None:
    if suffix == ".npy" and dtype is ml_dtypes.bfloat16:
        pytest.skip("numpy's own format has no bfloat16")
    model = network()
    array = (weight(4) * 3).astype(dtype)
    tensor = ir.tensor(array, name="b")
    model.graph.initializers["b"].const_value = tensor
    model.graph.initializers["b"].type = ir.TensorType(tensor.dtype)
    path = tmp_path / f"b{suffix}"
    assert weights.save(model, path, "value:b") == ["b"]
    weights.put(model, "b", data=np.zeros(4, dtype))
    weights.put(model, "b", file=path)
    np.testing.assert_array_equal(weights.get(model, "b"), array)
    assert weights.get(model, "b").dtype == array.dtype


def test_safetensors_are_those_of_the_library(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.numpy")
    path = tmp_path / "all.safetensors"
    model = network()
    weights.save(model, path)
    found = safetensors.load_file(path)
    assert set(found) == {"w", "b"}
    np.testing.assert_array_equal(found["w"], weight(4, 2, 1, 1))
    safetensors.save_file({name: array + 1 for name, array in found.items()}, path)
    assert set(weights.load(model, path)) == {"w", "b"}
    np.testing.assert_array_equal(weights.get(model, "w"), weight(4, 2, 1, 1) + 1)


def test_numbers_take_the_type_of_the_weight() -> None:
    model = network()
    weights.put(model, "b", data=0)
    np.testing.assert_array_equal(weights.get(model, "b"), np.zeros(4, np.float32))
    weights.put(model, "b", data=[1, 2, 3, 4])
    assert weights.get(model, "b").dtype == np.float32


def test_a_constant_node_is_a_weight_too() -> None:
    model = network()
    weights.put(model, "two", data=5)
    assert constant_of(model.graph[1].outputs[0]) == 5
    io.to_proto(model)


def test_resize_where_it_is_meant() -> None:
    model = network()
    weights.put(model, "b", data=np.ones(6, np.float32), resize=True)
    assert model.graph.initializers["b"].shape == [6]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"data": np.ones(4)}, "The new contents of 'b' are float64. Expected float32"),
        ({"data": np.ones(5, np.float32)}, "have shape [5]. Expected [4]"),
        ({"data": "much"}, "cannot be 'much'"),
        ({"data": [[1], [1, 2]]}, "cannot be"),
        ({}, "wants either data or a file"),
        ({"data": 1, "file": "x.npy"}, "wants either data or a file"),
        ({"file": "none.npy"}, "There is no file none.npy"),
        ({"file": "b.txt"}, "is no file of weights"),
    ],
)
def test_what_does_not_fit(arguments: dict[str, Any], words: str) -> None:
    model = network()
    with pytest.raises(ModelportError) as caught:
        weights.put(model, "b", **arguments)
    assert words in str(caught.value)
    np.testing.assert_array_equal(weights.get(model, "b"), weight(4, seed=1))


def test_a_computed_value_is_no_weight() -> None:
    with pytest.raises(UsageError, match="'c' is no weight but computed by Conv"):
        weights.put(network(), "c", data=0)
    with pytest.raises(UsageError, match="'x' is no weight but an input"):
        weights.get(network(), "x")


def test_raw_bytes_want_the_right_number(tmp_path: Path) -> None:
    path = tmp_path / "b.bin"
    path.write_bytes(bytes(15))
    with pytest.raises(WeightsError, match=r"has 15 bytes. Expected 16 for float32"):
        weights.put(network(), "b", file=path)
    path.write_bytes(np.arange(4, dtype=np.float16).tobytes())
    with pytest.raises(WeightsError, match=r"are float16. Expected float32"):
        weights.put(network(), "b", file=path, dtype="float16")


def test_load_takes_all_or_none(tmp_path: Path) -> None:
    model = network()
    path = tmp_path / "w.safetensors"
    weights.save(model, path)
    other = network()
    weights.put(other, "b", data=np.ones(5, np.float32), resize=True)
    weights.put(other, "w", data=0)
    with pytest.raises(WeightsError, match="'b' have shape"):
        weights.load(other, path)
    assert not weights.get(other, "w").any(), "the first one fitted, and was not taken"
    other.graph.initializers["b"].name = "bias"
    with pytest.raises(WeightsError, match="has 'b', which the graph has not"):
        weights.load(other, path)


def test_saving_says_what_it_wants(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"conv has 2 weights: w, b. Expected one"):
        weights.save(network(), tmp_path / "w.npy", "conv")
    with pytest.raises(UsageError, match="has no weights"):
        weights.save(network(), tmp_path / "w.npy", "value:c")
    with pytest.raises(UsageError, match="is no file for weights"):
        weights.save(network(), tmp_path / "w.txt")
    assert not list(tmp_path.iterdir())
