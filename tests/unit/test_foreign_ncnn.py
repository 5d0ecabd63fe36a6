"""Networks of ncnn, bare and in folders of other toolkits: what their text says of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from foreign_files import ultralytics_metadata, write_classifier, write_mmdeploy
from modelport.bundle.read import Bundle
from modelport.engines.ncnn.least import least_bytes
from modelport.engines.ncnn.network import Network
from modelport.errors import BundleError
from modelport.runtime.foreign import opener_of
from modelport.runtime.foreign.ncnn_file import read_ncnn
from modelport.runtime.opening import opened
from ncnn_files import PROTOTYPES, write_detectors, write_ncnn, write_ncnn_classifier


def shapes(path: Path) -> tuple[list[str], list[str]]:
    """Of the inputs and of the outputs, as text."""
    found = read_ncnn(path, path.with_suffix(".bin"))
    return [str(spec) for spec in found.inputs], [str(spec) for spec in found.outputs]


# --- what the text says -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "shape"),
    [
        ("", "1x3x1..x1.."),
        ("0=0 1=0 2=0", "1x3x1..x1.."),
        ("0=48 1=32 2=3", "1x3x32x48"),
        ("0=-233 1=-233 2=3", "1x3x1..x1.."),
        ("0=48 1=32", "1x32x48"),
        ("0=48", "1x48"),
        ("0=8 1=6 11=4 2=3", "1x3x4x6x8"),
    ],
)
def test_sizes_of_inputs(parameters: str, shape: str, tmp_path: Path) -> None:
    """Three channels where nothing is said: the convolution behind it has weights for that."""
    layers = [
        f"Input x 0 1 x {parameters}",
        "Convolution c 1 1 x a 0=8 1=4 6=384",
        "Reshape r 1 1 a y 0=-1",
    ]
    path = write_ncnn(tmp_path / "net.param", layers, [np.ones((8, 3, 4, 4))])
    assert shapes(path)[0] == [f"x: float32 {shape}"]


@pytest.mark.parametrize(
    ("layers", "free"),
    [
        (["ReLU l 1 1 x y"], True),
        (["Interp l 1 1 x y 0=2 1=2.0 2=2.0"], True),
        (["Interp l 1 1 x y 0=2 3=40 4=40"], False),
        (["Split s 1 2 x a b", "ReLU l 1 1 a c", "Crop k 2 1 b c y 0=2 1=2"], True),
        (["Crop k 1 1 x y 3=8 4=8"], False),
        (["Pooling p 1 1 x a 0=1 4=1", "Reshape r 1 1 a y 0=-1"], True),
        (["Pooling p 1 1 x a 0=1 1=2 2=2", "Reshape r 1 1 a y 0=-1"], False),
        (["Split s 1 2 x a b", "Pooling p 1 1 a c 0=1 4=1", "Scale k 2 1 b c y 0=-233"], True),
        (["Split s 1 2 x a b", "Pooling p 1 1 a c 0=1 4=1", "Reshape r 2 1 b c y"], False),
        (["InnerProduct i 1 1 x y 0=1 2=0"], False),
    ],
)
def test_sizes_count_where_a_layer_depends_on_them(
    layers: list[str], free: bool, tmp_path: Path
) -> None:
    """ncnn does not look at them, and files from Caffe always have some."""
    path = write_ncnn(tmp_path / "net.param", ["Input x 0 1 x 0=48 1=32 2=3", *layers], [])
    path.with_suffix(".bin").write_bytes(bytes(8))
    assert shapes(path)[0] == [f"x: float32 1x3x{'1..x1..' if free else '32x48'}"]


def test_channels_are_looked_for_behind_splits(tmp_path: Path) -> None:
    layers = [
        "Input x 0 1 x",
        "Split s 1 2 x a b",
        "Noop n 1 1 a c",
        "ConvolutionDepthWise w 1 1 c y 0=8 1=3 6=72 7=4",  # four channels in four groups, two each
        "Sigmoid t 1 1 b z",
    ]
    path = tmp_path / "net.param"
    path.write_text("\n".join(["7767517", "5 6", *layers]), encoding="utf-8")
    path.with_suffix(".bin").write_bytes(bytes(4 + 4 * 72))
    inputs, outputs = shapes(path)
    assert inputs == ["x: float32 1x4x1..x1.."]
    assert outputs == ["y: float32 1x8x1..x1..", "z: float32 scalar"]


def test_outputs_are_what_nobody_takes(tmp_path: Path) -> None:
    layers = ["Input b 0 1 b", "Input a 0 1 a", "BinaryOp sum 2 1 b a y 0=0", "ReLU r 0 1 z"]
    path = write_ncnn(tmp_path / "net.param", layers, [])
    inputs, outputs = shapes(path)
    assert [text.split(":")[0] for text in inputs] == ["b", "a"]
    assert [text.split(":")[0] for text in outputs] == ["y", "z"]


def test_outputs_of_pnnx_go_by_number(tmp_path: Path) -> None:
    ends = [f"Sigmoid s{n} 1 1 x{n} out{n}" for n in (10, 2, 0)]
    layers = ["Input in0 0 1 in0", "Split s 1 3 in0 x10 x2 x0", *ends]
    path = write_ncnn(tmp_path / "net.param", layers, [])
    assert [text.split(":")[0] for text in shapes(path)[1]] == ["out0", "out2", "out10"]


def test_names_of_blobs_reach_the_engine(tmp_path: Path) -> None:
    path = write_ncnn_classifier(tmp_path / "net.param", input_name="data", output_name="prob")
    bundle = opened(path)
    (variant,) = bundle.manifest.variants
    assert (variant.engine, variant.precision) == ("ncnn", "fp32")
    assert variant.options["inputs"] == ["data"]
    assert variant.options["outputs"] == ["prob"]
    assert bundle.manifest.task.name == "tensors"
    assert bundle.manifest.provenance.notes[2:] == (
        "sizes of its input are free, for no layer depends on them, or none are in the file: "
        "data: float32 1x3x1..x1..",
        "the shape of its output 'prob' is not in the file",
    )
    opener = opener_of(path)
    assert opener is not None
    assert opener.name == "ncnn"


# --- how long the weights are -------------------------------------------------------------------


def layers_of(*lines: str) -> Network:
    blobs = sum(int(line.split()[3]) for line in lines)
    return Network.parse("\n".join(["7767517", f"{len(lines)} {blobs}", *lines]))


@pytest.mark.parametrize(
    ("tag", "each"), [(0, 4), (0x01306B47, 2), (0x000D4B38, 1)], ids=["fp32", "fp16", "int8"]
)
def test_bytes_follow_from_the_tag(tag: int, each: int) -> None:
    """Ten numbers and a bias of two, then another layer of four, whose block is filled up to words."""
    network = layers_of(
        "Input x 0 1 x", "InnerProduct a 1 1 x y 0=2 1=1 2=10", "InnerProduct b 1 1 y z 0=1 2=4"
    )
    first = 4 + -(-10 * each // 4) * 4 + 2 * 4
    data = bytearray(200)
    data[:4] = data[first : first + 4] = tag.to_bytes(4, "little")
    assert least_bytes(network, memoryview(data)) == first + 4 + 4 * each


def test_blocks_nobody_knows_count_a_byte_each() -> None:
    """Scales of int8, or a table of 256 numbers, come where nobody looked for them."""
    scaled = layers_of("Input x 0 1 x", "InnerProduct a 1 1 x y 0=2 2=10 8=2")
    assert least_bytes(scaled, memoryview(bytes(100))) == 4 + 12
    table = layers_of("Input x 0 1 x", "InnerProduct a 1 1 x y 0=2 2=10")
    assert least_bytes(table, memoryview(b"\1\2\3\4" * 9)) == 4 + 12


# --- folders of other toolkits ------------------------------------------------------------------


def meaning(bundle: Bundle) -> tuple[object, ...]:
    made = bundle.manifest
    return made.task, made.transforms, made.labels, made.licence, made.provenance.exporter


@pytest.mark.parametrize("masks", [False, True], ids=["detect", "segment"])
def test_ultralytics_says_the_same_for_both_engines(masks: bool, tmp_path: Path) -> None:
    """The number of prototypes too, which the network alone knows."""
    pytest.importorskip("yaml", reason="PyYAML is not installed")
    file, folder = write_detectors(tmp_path, masks=masks)
    ours, theirs = opened(folder), opened(file)
    assert meaning(ours) == meaning(theirs)
    assert ours.manifest.variants[0].engine == "ncnn"
    outputs = [str(spec) for spec in ours.signature.outputs]
    assert outputs == [
        "out0: float32 scalar",
        *([f"out1: float32 1x{PROTOTYPES}x1..x1.."] if masks else []),
    ]


def test_two_networks_in_a_folder_of_ultralytics(tmp_path: Path) -> None:
    pytest.importorskip("yaml", reason="PyYAML is not installed")
    _, folder = write_detectors(tmp_path)
    (folder / "other.xml").write_text("<net/>", encoding="utf-8")
    with pytest.raises(BundleError, match=r"has the networks other\.xml, model\.ncnn\.param"):
        opened(folder)


def test_mmdeploy_says_the_same_for_both_engines(tmp_path: Path) -> None:
    onnx = write_mmdeploy(tmp_path / "net")
    write_classifier(onnx / "end2end.onnx", softmax=True)
    theirs = meaning(opened(onnx))
    folder = write_mmdeploy(
        tmp_path / "ncnn" / "net", backend="ncnn", net="end2end.param", weights="end2end.bin"
    )
    write_ncnn_classifier(folder / "end2end.param")
    ours = opened(folder)
    assert meaning(ours) == theirs
    assert ours.manifest.variants[0].engine == "ncnn"


def test_outputs_of_mmdeploy_may_have_other_names(tmp_path: Path) -> None:
    """ncnn goes by the names of its blobs, the rest by those of the pipeline."""
    folder = write_mmdeploy(
        tmp_path / "net", backend="ncnn", net="end2end.param", weights="end2end.bin"
    )
    write_ncnn_classifier(folder / "end2end.param", output_name="17")
    with pytest.raises(BundleError, match=r"the network gives 17\. Expected an output 'output'"):
        opened(folder)
    text = (folder / "pipeline.json").read_text(encoding="utf-8")
    renamed = text.replace('"output_map": {}', '"output_map": {"output": "17"}')
    (folder / "pipeline.json").write_text(renamed, encoding="utf-8")
    bundle = opened(folder)
    assert [spec.name for spec in bundle.signature.outputs] == ["output"]
    assert bundle.manifest.variants[0].options["outputs"] == ["17"]


def test_metadata_alone_is_no_export(tmp_path: Path) -> None:
    lines = [f"{key}: {value}" for key, value in ultralytics_metadata("detect").items()]
    (tmp_path / "metadata.yaml").write_text("\n".join(lines), encoding="utf-8")
    assert opener_of(tmp_path) is None
