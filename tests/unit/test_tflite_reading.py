"""What a `.tflite` file says of itself: signature, quantization, metadata and labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelport.bundle.manifest import (
    Manifest,
    Provenance,
    SignatureEntry,
    TaskEntry,
    TensorEntry,
    to_json,
)
from modelport.engines.litert.ports import QuantizedPort
from modelport.errors import BundleFormatError, UsageError
from modelport.runtime import transforms
from modelport.runtime.foreign.base import ForeignBundle
from modelport.runtime.foreign.tflite.model import Quantization, TfliteTensor, read_tflite
from modelport.runtime.opening import described as described_bundle
from modelport.runtime.opening import opened
from modelport.runtime.predictor import preprocessor_of
from modelport.types import Dim, TensorSpec
from support import picture
from tflite_files import FLOAT32, INT8, RELU, STRING, UINT8, Net, Tensor, colours, described, relu

KINDS = {0: "float32", 1: "float16", 2: "int32", 3: "uint8", 4: "int64", 6: "bool", 7: "int16",
         9: "int8", 10: "float64", 12: "uint64", 15: "uint32", 16: "uint16"}  # fmt: skip
LABELS = "red\ngreen\nblue\n"


def read(net: Net, folder: Path) -> ForeignBundle:
    bundle = opened(net.write(folder / "net.tflite"))
    assert isinstance(bundle, ForeignBundle)
    return bundle


# --- signature ----------------------------------------------------------------------------------


@settings(max_examples=40)
@given(
    kinds=st.lists(st.sampled_from(sorted(KINDS)), min_size=2, max_size=5),
    sizes=st.lists(st.integers(1, 2**31 - 1), max_size=5),
    free=st.integers(0, 5),
)
def test_the_signature_is_what_was_written(
    kinds: list[int], sizes: list[int], free: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Of networks with several inputs; the first sizes may be free."""
    signature = [-1 if place < free else size for place, size in enumerate(sizes)]
    tensors = [
        Tensor(f"t{place}", sizes, kind, free=signature if free else ())
        for place, kind in enumerate(kinds)
    ]
    path = tmp_path_factory.mktemp("tflite") / "net.tflite"
    found = read_tflite(Net(tensors, RELU, inputs=len(kinds) - 1).write(path)).signature
    shape = tuple(Dim() if size < 0 else size for size in signature)
    wanted = [TensorSpec(f"t{place}", KINDS[kind], shape) for place, kind in enumerate(kinds)]
    assert list(found.inputs) == wanted[:-1]
    assert list(found.outputs) == wanted[-1:]


def test_tensors_without_a_name_of_their_own_get_one(tmp_path: Path) -> None:
    net = Net([Tensor("a", (1,)), Tensor("a", (2,)), Tensor("", (3,))], RELU, inputs=2)
    found = read_tflite(net.write(tmp_path / "net.tflite"))
    assert [each.spec.name for each in found.inputs] == ["a", "input 1"]
    assert [each.spec.name for each in found.outputs] == ["output 0"]


def test_quantized_tensors_are_real_numbers_outside(tmp_path: Path) -> None:
    net = relu(INT8, scales=(0.5,), points=(-3,))
    found = read_tflite(net.write(tmp_path / "net.tflite"))
    tensor = TfliteTensor(TensorSpec("x", "int8", (1, 4)), Quantization(0.5, -3))
    assert found.inputs == (tensor,)
    assert tensor.spec == TensorSpec("x", "float32", (1, 4))
    for scales, points in (((), ()), ((0.5, 0.25), (0, 0)), ((0.0,), (0,))):
        net = relu(INT8, scales=scales, points=points)
        (tensor,) = read_tflite(net.write(tmp_path / "net.tflite")).inputs
        assert tensor.quantization is None
        assert tensor.spec.dtype == "int8"
    left_over = relu(FLOAT32, scales=(0.5,), points=(3,)).write(tmp_path / "net.tflite")
    assert read_tflite(left_over).inputs[0].quantization is None


@pytest.mark.parametrize(
    ("scale", "point"),
    [(-0.5, 0), (float("nan"), 0), (float("inf"), 0), (0.5, 128), (0.5, -(2**40))],
)
def test_quantization_that_cannot_be_is_refused(scale: float, point: int, tmp_path: Path) -> None:
    path = relu(INT8, scales=(scale,), points=(point,)).write(tmp_path / "net.tflite")
    with pytest.raises(BundleFormatError, match="'x' of int8 has the scale"):
        read_tflite(path)


def test_what_numpy_has_no_numbers_for_is_refused(tmp_path: Path) -> None:
    for kind, said in ((STRING, "texts"), (17, "int4"), (99, "the unknown type 99")):
        path = relu(kind).write(tmp_path / "net.tflite")
        with pytest.raises(BundleFormatError, match=f"'x' holds {said}"):
            read_tflite(path)


# --- quantized numbers --------------------------------------------------------------------------


@settings(max_examples=50)
@given(
    kind=st.sampled_from(["uint8", "int8", "int16"]),
    scale=st.floats(0.0009765625, 10, width=32),
    shift=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_numbers_come_back_within_half_a_step(
    kind: str, scale: float, shift: float, seed: int
) -> None:
    limits = np.iinfo(kind)
    point = int(limits.min + shift * (limits.max - limits.min))
    port = QuantizedPort(TensorSpec("x", "float32", (50,)), 0, np.dtype(kind), scale, point)
    low, high = (limits.min - point) * scale, (limits.max - point) * scale
    numbers = np.random.default_rng(seed).uniform(low, high, 50).astype(np.float32)
    stored = port.taken(numbers)
    assert stored.dtype == kind
    np.testing.assert_allclose(port.given(stored), numbers, atol=scale * 0.51)
    beyond = port.taken(np.array([low - 9 * scale, high + 9 * scale], np.float32))
    assert beyond.tolist() == [limits.min, limits.max]


# --- metadata -----------------------------------------------------------------------------------


def test_metadata_become_transforms_and_a_task(tmp_path: Path) -> None:
    said = described(mean=[127.5], std=[127.5], labels="labels.txt", calibrated=True)
    bundle = read(
        colours(metadata=said, files={"labels.txt": LABELS, "unused.txt": "no"}), tmp_path
    )
    manifest = bundle.manifest
    assert (manifest.name, manifest.licence) == ("net", "Apache-2.0")
    assert manifest.provenance.exporter == "colours v7"
    assert (manifest.task.name, manifest.labels) == ("classification", ("red", "green", "blue"))
    assert manifest.task.parameters == {"scores": "probabilities"}
    assert manifest.default == "litert-fp32"
    assert bundle.notes[-1] == "the calibration of scores that it asks for is not done"
    preprocessor = preprocessor_of(bundle)
    assert preprocessor is not None
    image = picture(3).resize((8, 8))
    (tensor,) = preprocessor.prepare(image).tensors.values()
    np.testing.assert_allclose(
        tensor[0], np.asarray(image.convert("RGB"), np.float32) / 127.5 - 1, atol=1e-6
    )


@pytest.mark.parametrize(("kind", "point"), [(UINT8, 0), (UINT8, 100), (INT8, -128), (INT8, 7)])
def test_pixels_of_quantized_networks_are_stored_as_they_are(
    kind: int, point: int, tmp_path: Path
) -> None:
    """Where the metadata name no normalization."""
    net = colours(kind, metadata=described(), scales=(0.03,), points=(point,))
    bundle = read(net, tmp_path)
    preprocessor = preprocessor_of(bundle)
    assert preprocessor is not None
    image = picture(4).resize((8, 8))
    (tensor,) = preprocessor.prepare(image).tensors.values()
    (spec,) = bundle.signature.inputs
    dtype = np.dtype("uint8" if kind == UINT8 else "int8")
    stored = QuantizedPort(spec, 0, dtype, float(np.float32(0.03)), point).taken(tensor)
    first = 0 if kind == UINT8 else 128
    np.testing.assert_array_equal(stored[0].astype(int), np.asarray(image).astype(int) - first)


def test_plain_bytes_take_pixels(tmp_path: Path) -> None:
    preprocessor = preprocessor_of(read(colours(UINT8, metadata=described()), tmp_path))
    assert preprocessor is not None
    image = picture(5).resize((8, 8))
    (tensor,) = preprocessor.prepare(image).tensors.values()
    np.testing.assert_array_equal(tensor[0], np.asarray(image))


def test_without_metadata_it_takes_and_gives_tensors(tmp_path: Path) -> None:
    bundle = read(colours(), tmp_path)
    assert bundle.manifest.task.name == "tensors"
    assert preprocessor_of(bundle) is None
    assert [note.split(",")[0] for note in bundle.notes] == [
        "the file does not say what it was fed in training",
        "the file does not say what its outputs mean",
    ]
    said = described(colour=2, mean=[0.0], std=[1.0])  # of grey pictures, for an input of three
    assert preprocessor_of(read(colours(metadata=said), tmp_path)) is None
    assert preprocessor_of(read(colours(metadata=described()), tmp_path)) is None


def test_labels_of_another_number_are_left_out(tmp_path: Path) -> None:
    said = described(mean=[0.0], std=[255.0], labels="l.txt")
    bundle = read(colours(metadata=said, files={"l.txt": "one\ntwo"}), tmp_path)
    assert bundle.manifest.task.name == "tensors"
    assert bundle.notes[-1] == "its 2 labels are left out: the output has 3 places"


def test_metadata_that_cannot_be_are_refused(tmp_path: Path) -> None:
    for mean, std in (([0.0], [0.0]), ([0.0, 1.0], [1.0]), ([float("nan")], [1.0])):
        with pytest.raises(BundleFormatError, match="give 8x8 pictures the means"):
            read(colours(metadata=described(mean=mean, std=std)), tmp_path)
    with pytest.raises(BundleFormatError, match=r"names the labels 'l\.txt', which cannot be read"):
        read(colours(metadata=described(mean=[0.0], std=[1.0], labels="l.txt")), tmp_path)
    with pytest.raises(BundleFormatError, match=r"metadata of .* cannot be read"):
        read(colours(metadata=b"something else"), tmp_path)


# --- what the caller says -----------------------------------------------------------------------


def test_the_caller_says_what_the_file_does_not(tmp_path: Path) -> None:
    path = colours().write(tmp_path / "net.tflite")
    steps = [transforms.Decode(), transforms.Resize((8, 8)), transforms.Layout(order="nhwc")]
    bundle = described_bundle(
        path, task="classification", parameters={"top": 2}, transforms=steps, labels=["r", "g", "b"],
        name="colours",
    )  # fmt: skip
    assert bundle.manifest.name == "colours"
    assert bundle.manifest.task.parameters == {"top": 2}
    assert bundle.manifest.labels == ("r", "g", "b")
    assert bundle.manifest.provenance.notes == (
        "given by whoever opened it: task, parameters, transforms, labels, name",
    )
    assert preprocessor_of(bundle) is not None
    plain = described_bundle(path, task="classification", labels=["r", "g", "b"]).manifest
    assert plain.transforms == ()
    assert plain.task.parameters == {}
    assert plain.provenance.notes == ("given by whoever opened it: task, labels",)
    with pytest.raises(UsageError, match="'tops' of the task classification"):
        described_bundle(path, task="classification", parameters={"tops": 2})


def test_a_bundle_of_ours_describes_itself(tmp_path: Path) -> None:
    entry = TensorEntry(name="x", dtype="float32", shape=(1,))
    manifest = Manifest(
        name="ours",
        created="2026-11-22T00:00:00Z",
        signature=SignatureEntry(inputs=(entry,), outputs=(entry,)),
        task=TaskEntry(name="tensors"),
        default="none",
        variants=(),
        provenance=Provenance(source="a test"),
    )
    (tmp_path / "modelport.json").write_bytes(to_json(manifest))
    with pytest.raises(UsageError, match="has its own task and transforms"):
        described_bundle(tmp_path, task="tensors")
