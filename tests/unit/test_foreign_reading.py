"""What ONNX files and OpenVINO networks say of themselves, read without their libraries."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx  # noqa: TID251 - the other reading to compare with
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper  # noqa: TID251

import modelport
from foreign_files import write_classifier, write_onnx
from modelport.bundle.manifest import (
    Manifest,
    Provenance,
    SignatureEntry,
    TaskEntry,
    TensorEntry,
    to_json,
)
from modelport.errors import BundleError, BundleFormatError, EngineError
from modelport.runtime.foreign import onnx_file
from modelport.runtime.foreign.folder import Fields, Folder
from modelport.runtime.foreign.onnx_file import read_onnx
from modelport.runtime.foreign.openvino_file import read_openvino
from modelport.runtime.opening import opened
from modelport.types import Dim, TensorSpec

# --- ONNX ---------------------------------------------------------------------------------------

SIZES = st.one_of(
    st.integers(1, 2**40), st.sampled_from(["batch", "size", "a/b", "", None]), st.just(0)
)
TYPES = st.sampled_from(
    ["float32", "float16", "float64", "int64", "int32", "uint8", "int8", "bool", "uint64"]
)
WORDS = st.text(st.characters(codec="utf-8"), max_size=20)
VALUES = st.tuples(TYPES, st.lists(SIZES, max_size=5))


@settings(max_examples=30)
@given(
    inputs=st.lists(VALUES, min_size=1, max_size=3),
    outputs=st.lists(VALUES, min_size=1, max_size=3),
    metadata=st.dictionaries(WORDS, WORDS, max_size=4),
    weights=st.integers(0, 3),
)
def test_the_header_is_what_onnx_reads(
    inputs: list[tuple[str, list[int | str | None]]],
    outputs: list[tuple[str, list[int | str | None]]],
    metadata: dict[str, str],
    weights: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    def infos(values: list[tuple[str, list[int | str | None]]], prefix: str) -> list[object]:
        return [
            helper.make_tensor_value_info(
                f"{prefix}{index}", helper.np_dtype_to_tensor_dtype(np.dtype(kind)), shape
            )
            for index, (kind, shape) in enumerate(values)
        ]

    constants = [
        numpy_helper.from_array(np.arange(5, dtype=np.float32), f"w{n}") for n in range(weights)
    ]
    old_style = [
        helper.make_tensor_value_info(constant.name, TensorProto.FLOAT, [5])
        for constant in constants
    ]  # before IR 4, weights were inputs too
    graph = helper.make_graph(
        [], "g", infos(inputs, "x") + old_style, infos(outputs, "y"), constants
    )
    model = helper.make_model(graph, producer_name="p", producer_version="2")
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    path = tmp_path_factory.mktemp("onnx") / "m.onnx"
    path.write_bytes(model.SerializeToString())
    found = read_onnx(path)
    assert found.metadata == metadata
    assert found.producer == "p 2"
    assert found.domains == {"": onnx.defs.onnx_opset_version()}
    assert found.unknown == ()
    for specs, values, prefix in (
        (found.signature.inputs, inputs, "x"),
        (found.signature.outputs, outputs, "y"),
    ):
        assert [spec.name for spec in specs] == [f"{prefix}{n}" for n in range(len(values))]
        for spec, (kind, shape) in zip(specs, values, strict=True):
            assert spec.dtype == kind
            assert spec.shape == tuple(map(size_of, shape))


def size_of(size: int | str | None) -> int | Dim:
    if isinstance(size, int) and size > 0:
        return size
    return Dim(name=size) if isinstance(size, str) and size.isidentifier() else Dim()


def test_weights_in_other_files_are_named(tmp_path: Path) -> None:
    path = write_classifier(tmp_path / "m.onnx")
    model = onnx.load(str(path))
    onnx.save_model(
        model, str(path), save_as_external_data=True, location="m.data", size_threshold=0
    )
    assert read_onnx(path).beside == ("m.data",)
    with modelport.load(path) as predictor:
        found = predictor(np.ones((1, 3, 32, 32), np.float32))
    assert found["output"].shape == (1, 5)
    (tmp_path / "m.data").unlink()
    with pytest.raises(BundleError, match=r"lacks its file m\.data"):
        modelport.load(path)


@settings(max_examples=30)
@given(cut=st.integers(0, 10_000), changes=st.lists(st.tuples(st.integers(0), st.integers(0, 255))))
def test_damaged_files_are_refused_or_read(
    cut: int, changes: list[tuple[int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("onnx")
    data = bytearray(write_classifier(folder / "m.onnx", metadata={"a": "b"}).read_bytes())
    for place, value in changes:
        data[place % len(data)] = value
    (folder / "m.onnx").write_bytes(data[: max(0, len(data) - cut)])
    with suppress(BundleFormatError):  # anything else is a bug
        read_onnx(folder / "m.onnx")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "it has no graph"),
        (b"\x00" * 20, "it has no graph"),
        (b"not a model at all", "is no ONNX model"),
        (b"\x3a\xff\xff\xff\xff\x7f", "it ends too early"),
        (b"\x80" * 30, "a number that never ends"),
        (b"\x3a\x00", "no inputs or no outputs"),
        (b"\x3a\x02\x5b\x5c", "it is no protocol buffer"),
        (b"\x38\x01", "a number where a message belongs"),
        (b"\x12\x02\xff\xfe", "is no ONNX model"),
    ],
    ids=lambda value: value[:12].hex() if isinstance(value, bytes) else None,
)
def test_what_is_no_model_is_said(data: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(data)
    with pytest.raises(BundleFormatError) as caught:
        read_onnx(path)
    assert str(path) in str(caught.value)
    assert said in str(caught.value)


def test_files_of_nothing_but_fields_are_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_file, "MOST_FIELDS", 1000)
    path = tmp_path / "m.onnx"
    path.write_bytes(b"\x30\x01" * 1001)
    with pytest.raises(BundleFormatError, match="it has too many fields"):
        read_onnx(path)


@pytest.mark.parametrize("kind", [TensorProto.STRING, TensorProto.BFLOAT16, TensorProto.FLOAT4E2M1])
def test_what_numpy_has_no_numbers_for_is_refused(kind: int, tmp_path: Path) -> None:
    info = helper.make_tensor_value_info
    graph = helper.make_graph([], "g", [info("text", kind, [1])], [info("y", 1, [1])])
    path = tmp_path / "m.onnx"
    path.write_bytes(helper.make_model(graph).SerializeToString())
    with pytest.raises(
        BundleFormatError, match=f"'text' is a tensor of ONNX's element type {kind}"
    ):
        read_onnx(path)


def test_sequences_are_refused(tmp_path: Path) -> None:
    sequence = helper.make_tensor_sequence_value_info("boxes", TensorProto.FLOAT, None)
    info = helper.make_tensor_value_info("x", 1, [1])
    path = tmp_path / "m.onnx"
    graph = helper.make_graph([], "g", [info], [sequence])
    path.write_bytes(helper.make_model(graph).SerializeToString())
    with pytest.raises(BundleFormatError, match="'boxes' is no plain tensor"):
        read_onnx(path)


# --- OpenVINO -----------------------------------------------------------------------------------


def test_a_network_of_openvino_says_its_signature(tmp_path: Path) -> None:
    ov = pytest.importorskip("openvino", reason="OpenVINO is not installed")
    ops = ov.opset13
    left = ops.parameter([-1, 3], np.float32, name="left")
    right = ops.parameter([2, 3], np.int32, name="right")
    total = ops.add(left, ops.convert(right, "f32"))
    total.output(0).set_names({"to,tal"})
    model = ov.Model([ops.result(ops.relu(right)), ops.result(total)], [right, left], "m")
    ov.save_model(model, tmp_path / "m.xml", compress_to_fp16=False)
    read = ov.Core().read_model(tmp_path / "m.xml")
    found = read_openvino(tmp_path / "m.xml")
    assert found.inputs == (
        TensorSpec("right", "int32", (2, 3)),
        TensorSpec("left", "float32", (Dim(), 3)),
    )
    assert [spec.shape for spec in found.outputs] == [(2, 3), (2, 3)]
    assert found.outputs[1].name == "to,tal"
    assert [spec.name in port.names for spec, port in zip(found.inputs, read.inputs, strict=True)]
    for spec, port in zip(found.outputs, read.outputs, strict=True):
        assert spec.name in port.names


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no element found"),
        ("<net><layers/></net>", "no inputs or no outputs"),
        ("<net>", "no element found"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><net>&b;</net>', "declares a document type"),
        (
            '<net><layers><layer id="0" name="x" type="Parameter"><output><port id="0" '
            'precision="FP32"><dim>many</dim></port></output></layer></layers></net>',
            "invalid literal",
        ),
        (
            '<net><layers><layer id="0" name="x" type="Parameter"><output><port id="0" '
            'precision="I4"/></output></layer><layer id="1" name="r" type="Result"/></layers></net>',
            "no element type that numpy knows",
        ),
        (
            '<net><layers><layer id="0" name="x" type="Parameter"><output><port id="0" '
            'precision="FP32"/></output></layer><layer id="1" name="r" type="Result"/></layers></net>',
            "nothing leads to its output 'r'",
        ),
    ],
)
def test_what_is_no_network_is_said(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "m.xml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BundleFormatError, match=r"m\.xml is no OpenVINO network") as caught:
        read_openvino(path)
    assert said in str(caught.value)


# --- fields -------------------------------------------------------------------------------------

CONTENT = {"text": "a", "whole": 3, "number": 1.5, "flag": True, "list": [1, 2.5], "object": {}}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


def test_fields_have_the_types_they_are_read_with() -> None:
    fields = Fields(CONTENT, "f.json")
    assert fields.text("text") == "a"
    assert fields.whole("whole") == 3
    assert fields.number("whole") == 3.0
    assert fields.number("number") == 1.5
    assert fields.flag("flag")
    assert fields.numbers("list") == [1.0, 2.5]
    assert fields.inner("object").plain() == {}
    assert fields.text("missing", "b") == "b"
    assert "missing" not in fields


@settings(max_examples=40)
@given(value=JSON)
def test_fields_of_other_types_are_said(value: object) -> None:
    fields = Fields({"key": value}, "f.json")
    readers = (
        (fields.text, (str,)),
        (fields.whole, (int,)),
        (fields.number, (int, float)),
        (fields.flag, (bool,)),
        (fields.items, (list,)),
        (fields.inner, (dict,)),
    )
    for read, kinds in readers:
        fits = isinstance(value, kinds) and not (isinstance(value, bool) and bool not in kinds)
        if fits:
            read("key")
            continue
        with pytest.raises(BundleFormatError, match=r"^f\.json"):
            read("key")


def test_json_is_read_within_limits(tmp_path: Path) -> None:
    folder = Folder(tmp_path, "Somebody")
    (tmp_path / "f.json").write_text("[" * 100_000, encoding="utf-8")
    with pytest.raises(BundleFormatError, match=r"f\.json is not JSON"):
        folder.json("f.json")
    (tmp_path / "f.json").write_text("[]", encoding="utf-8")
    with pytest.raises(BundleFormatError, match=r"f\.json is a list. Expected an object"):
        folder.json("f.json")
    (tmp_path / "f.json").write_text("\ufeff{}", encoding="utf-8")
    assert folder.json("f.json").plain() == {}


# --- a bare file --------------------------------------------------------------------------------


def test_a_bare_file_takes_and_gives_tensors(tmp_path: Path) -> None:
    path = write_classifier(tmp_path / "net.onnx", metadata={"author": "me"})
    feeds = np.random.default_rng(1).random((2, 3, 32, 32), np.float32)
    import onnxruntime

    (expected,) = onnxruntime.InferenceSession(str(path)).run(None, {"input": feeds})
    with modelport.load(path) as predictor:
        np.testing.assert_array_equal(predictor(feeds)["output"], expected)
        bundle = predictor.bundle
    assert bundle.manifest.task.name == "tensors"
    assert bundle.manifest.provenance.source == str(path)
    assert bundle.manifest.provenance.notes == (
        "the file does not say what it was fed in training, so it takes feeds and no pictures",
        "the file does not say what its outputs mean, so they come as tensors",
        "its metadata has author",
    )


def test_a_shape_that_nobody_declared_is_noted(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "net.onnx", "y = Relu(x)", "float[3] x", "float[3] y", {})
    model = onnx.load(str(path))
    model.graph.output[0].type.tensor_type.ClearField("shape")
    path.write_bytes(model.SerializeToString())
    with modelport.load(path) as predictor:
        found = predictor(np.array([-1, 0, 2], np.float32))
        notes = predictor.bundle.manifest.provenance.notes
    assert found["y"].tolist() == [0, 0, 2]
    assert notes[-1] == "the shape of its output 'y' is not in the file"


def test_a_file_that_the_engine_refuses_says_so(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "net.onnx", "y = Frobnicate(x)", "float[3] x", "float[3] y", {})
    with pytest.raises(EngineError, match="Frobnicate"):
        modelport.load(path)


# --- what is opened -----------------------------------------------------------------------------


def test_what_nobody_knows_names_what_is_known(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="There is no bundle at"):
        opened(tmp_path / "missing")
    (tmp_path / "a.txt").write_text("a", encoding="utf-8")
    with pytest.raises(BundleFormatError) as caught:
        opened(tmp_path)
    text = str(caught.value)
    assert text.startswith(f"{tmp_path} has no modelport.json. Expected a bundle written by")
    for mark in ("deploy.json and pipeline.json", "metadata.yaml", "config.json and model.onnx"):
        assert mark in text
    with pytest.raises(BundleFormatError, match="neither a folder nor a whole zip archive"):
        opened(tmp_path / "a.txt")


def test_bundles_of_ours_stay_bundles(tmp_path: Path) -> None:
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
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    write_classifier(tmp_path / "model.onnx")
    bundle = opened(tmp_path)
    assert type(bundle) is modelport.Bundle
    assert bundle.manifest.name == "ours"
