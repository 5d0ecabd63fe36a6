"""Folders of other toolkits that were damaged or made to harm: one clear error each, and nothing runs."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx  # noqa: TID251 - writes files as whoever means harm would
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_bad_input import failed

import modelport
from foreign_files import (
    NAMES,
    ultralytics_metadata,
    write_classifier,
    write_json,
    write_mmdeploy,
)
from modelport.errors import BundleError, BundleFormatError, ModelportError
from modelport.runtime.foreign.folder import TEXT_LIMIT_BYTES
from support import Ran, picture

Cli = Callable[..., Ran]
HF_CONFIG: dict[str, Any] = {
    "architectures": ["ViTForImageClassification"],
    "id2label": {str(n): name for n, name in enumerate(NAMES)},
}
HF_PROCESSOR = {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}}


@pytest.fixture
def mmdeploy(tmp_path: Path) -> Path:
    folder = write_mmdeploy(tmp_path / "mm")
    write_classifier(folder / "end2end.onnx", softmax=True)
    return folder


@pytest.fixture
def huggingface(tmp_path: Path) -> Path:
    folder = tmp_path / "hf"
    write_json(folder / "config.json", HF_CONFIG)
    write_json(folder / "preprocessor_config.json", HF_PROCESSOR)
    write_classifier(folder / "model.onnx", input_name="pixel_values", output_name="logits")
    return folder


def refused(path: Path, *said: str) -> str:
    with pytest.raises(ModelportError) as caught:
        modelport.load(path)
    text = str(caught.value)
    for words in said:
        assert words in text
    assert "\n" not in text
    assert len(text) < 1000
    return text


def change(path: Path, **fields: Any) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    write_json(path, {**content, **fields})


def name_network(folder: Path, net: str, weights: str = "", backend: str = "onnxruntime") -> None:
    entry = {"name": "net", "net": net, "weights": weights, "backend": backend, "precision": "FP32"}
    change(folder / "deploy.json", models=[entry])


# --- paths that leave the folder ----------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["../outside.onnx", "sub/../../outside.onnx", "{parent}/outside.onnx", "", "..", "c:\\a.onnx",
     "a\u0000b.onnx", "sub\\..\\outside.onnx"],
    ids=["up", "down and up", "absolute", "empty", "parent", "drive", "null", "backslash"],
)  # fmt: skip
def test_networks_outside_are_refused(name: str, mmdeploy: Path) -> None:
    shutil.copy(mmdeploy / "end2end.onnx", mmdeploy.parent / "outside.onnx")
    name_network(mmdeploy, name.format(parent=mmdeploy.parent))
    refused(mmdeploy, "which is not inside of it", "Expected the relative path of a file")


def test_weights_of_openvino_outside_are_refused(mmdeploy: Path) -> None:
    (mmdeploy / "end2end.xml").write_text("<net/>", encoding="utf-8")
    name_network(mmdeploy, "end2end.xml", "../secret.bin", "openvino")
    refused(mmdeploy, "end2end.xml is no OpenVINO network")
    xml = (
        '<net><layers><layer id="0" name="x" type="Parameter"><output><port id="0" '
        'precision="FP32"/></output></layer><layer id="1" name="r" type="Result"/></layers>'
        '<edges><edge from-layer="0" from-port="0" to-layer="1" to-port="0"/></edges></net>'
    )
    (mmdeploy / "end2end.xml").write_text(xml, encoding="utf-8")
    refused(mmdeploy, "names the file '../secret.bin', which is not inside of it")


def test_dictionaries_outside_are_refused(mmdeploy: Path) -> None:
    content = json.loads((mmdeploy / "pipeline.json").read_text(encoding="utf-8"))
    content["pipeline"]["tasks"][2] |= {
        "component": "CTCConvertor", "params": {"dict_file": "/etc/passwd"},
    }  # fmt: skip
    write_json(mmdeploy / "pipeline.json", content)
    refused(mmdeploy, "names the file '/etc/passwd', which is not inside of it")


@pytest.mark.parametrize("place", ["mmdeploy", "huggingface"])
@pytest.mark.parametrize("whole", [True, False], ids=["network", "description"])
def test_links_that_leave_are_refused(
    place: str, whole: bool, mmdeploy: Path, huggingface: Path
) -> None:
    folder = {"mmdeploy": mmdeploy, "huggingface": huggingface}[place]
    names = {"mmdeploy": ("end2end.onnx", "pipeline.json"),
             "huggingface": ("model.onnx", "config.json")}[place]  # fmt: skip
    name = names[0 if whole else 1]
    shutil.move(folder / name, folder.parent / "elsewhere")
    (folder / name).symlink_to(folder.parent / "elsewhere")
    refused(folder, f"{name} is a link that leaves the ")
    (folder / name).unlink()
    (folder / name).symlink_to(folder / name)
    refused(folder, name)


def test_links_inside_are_followed(huggingface: Path) -> None:
    (huggingface / "blobs").mkdir()
    shutil.move(huggingface / "model.onnx", huggingface / "blobs" / "a1b2")
    (huggingface / "model.onnx").symlink_to("blobs/a1b2")
    with modelport.load(huggingface) as predictor:
        assert predictor(picture(1)).label in NAMES


@pytest.mark.parametrize("where", ["../secret.bin", "/etc/passwd", "link.bin"])
def test_weights_of_onnx_outside_are_refused(where: str, tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(bytes(4096))
    folder = tmp_path / "folder"
    path = write_classifier(folder / "net.onnx")
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    model = onnx.load(str(path))
    for tensor in model.graph.initializer:
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", where), ("offset", "0"), ("length", "640")):
            tensor.external_data.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())
    refused(path, where)


# --- nothing is executed ------------------------------------------------------------------------


class Bomb:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {self.mark}",)


def test_pickles_are_not_opened(mmdeploy: Path, huggingface: Path, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    for folder, name in ((mmdeploy, "end2end.onnx"), (huggingface, "model.onnx")):
        (folder / name).write_bytes(pickle.dumps(Bomb(mark)))
        refused(folder, f"{name} is no ONNX model")
    write_classifier(huggingface / "model.onnx", input_name="pixel_values")
    for name in ("preprocessor_config.json", "config.json"):
        (huggingface / name).write_bytes(pickle.dumps(Bomb(mark)))
        refused(huggingface, name)
    assert not mark.exists()


def test_code_in_metadata_and_beside_the_model_never_runs(
    huggingface: Path, tmp_path: Path
) -> None:
    mark = tmp_path / "ran"
    code = f"__import__('pathlib').Path({str(mark)!r}).touch()"
    metadata = {**ultralytics_metadata("classify"), "names": code}
    refused(write_classifier(tmp_path / "net.onnx", metadata=metadata), "names is")
    (huggingface / "modeling_evil.py").write_text(code, encoding="utf-8")
    change(huggingface / "config.json", auto_map={"AutoModel": "modeling_evil.Evil"})
    change(
        huggingface / "preprocessor_config.json", auto_map={"AutoImageProcessor": "modeling_evil.E"}
    )
    modelport.load(huggingface).close()
    assert not mark.exists()


def test_objects_in_yaml_are_not_built(tmp_path: Path) -> None:
    pytest.importorskip("yaml", reason="PyYAML is not installed")
    mark = tmp_path / "ran"
    folder = tmp_path / "yolo_openvino_model"
    folder.mkdir()
    xml = (
        '<net><layers><layer id="0" name="x" type="Parameter"><output><port id="0" '
        'precision="FP32"/></output></layer><layer id="1" name="r" type="Result"/></layers>'
        '<edges><edge from-layer="0" from-port="0" to-layer="1" to-port="0"/></edges></net>'
    )
    (folder / "net.xml").write_text(xml, encoding="utf-8")
    (folder / "net.bin").write_bytes(b"")
    for text in (f'names: !!python/object/apply:os.system ["touch {mark}"]', "a: [", "- 1", "\x01"):
        (folder / "metadata.yaml").write_text(text, encoding="utf-8")
        refused(folder, "metadata.yaml")
    assert not mark.exists()


def test_aliases_in_yaml_do_not_multiply(tmp_path: Path) -> None:
    pytest.importorskip("yaml", reason="PyYAML is not installed")
    folder = tmp_path / "yolo_openvino_model"
    folder.mkdir()
    (folder / "net.xml").write_text("<net/>", encoding="utf-8")
    lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    lines += [
        f"{b}: &{b} [{', '.join(['*' + a] * 10)}]"
        for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    ]
    (folder / "metadata.yaml").write_text("\n".join([*lines, "names: *i"]), encoding="utf-8")
    started = time.monotonic()
    refused(folder)
    assert time.monotonic() - started < 20


# --- sizes --------------------------------------------------------------------------------------


def test_huge_descriptions_are_not_read(mmdeploy: Path) -> None:
    with open(mmdeploy / "pipeline.json", "r+b") as file:
        file.truncate(TEXT_LIMIT_BYTES + 1)
    refused(mmdeploy, "too many for a description")


@pytest.mark.parametrize(
    "text", ["[" * 200_000, '{"a":' * 100_000, "", "nonsense", '{"a": 1e999999}']
)
def test_strange_json_is_said(text: str, mmdeploy: Path, huggingface: Path) -> None:
    (mmdeploy / "deploy.json").write_text(text, encoding="utf-8")
    refused(mmdeploy, "deploy.json")
    (huggingface / "config.json").write_text(text, encoding="utf-8")
    if text != '{"a": 1e999999}':
        refused(huggingface, "config.json")


def test_text_that_is_no_utf8_is_said(mmdeploy: Path) -> None:
    (mmdeploy / "pipeline.json").write_bytes(b'{"pipeline": "\xff\xfe"}')
    refused(mmdeploy, "pipeline.json is no text in UTF-8")


def test_gigantic_pictures_are_refused(mmdeploy: Path, huggingface: Path) -> None:
    change(huggingface / "preprocessor_config.json", size={"height": 10**12, "width": 1})
    with modelport.load(huggingface) as predictor:  # no counterpart, so it takes tensors
        assert predictor.preprocessor is None


# --- wrong types and missing things -------------------------------------------------------------


def test_missing_files_are_named(mmdeploy: Path, huggingface: Path) -> None:
    (mmdeploy / "end2end.onnx").unlink()
    refused(mmdeploy, "lacks its file end2end.onnx")
    (mmdeploy / "pipeline.json").unlink()
    refused(mmdeploy, "has no modelport.json")
    (huggingface / "model.onnx").unlink()
    refused(huggingface, "has no modelport.json")
    folder = huggingface / "model.onnx"
    folder.mkdir()
    refused(huggingface, "lacks its file model.onnx")


PLACES: dict[str, tuple[str, ...]] = {
    "deploy.json": ("models",),
    "pipeline.json": ("pipeline",),
    "detail.json": ("codebase",),
}
JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.floats(), st.text(max_size=3),
    st.lists(st.integers(0, 2), max_size=2), st.dictionaries(st.text(max_size=2), st.none(), max_size=2),
)  # fmt: skip


def paths_of(content: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [prefix] if prefix else []
    pairs = content.items() if isinstance(content, dict) else (
        enumerate(content) if isinstance(content, list) else ()
    )  # fmt: skip
    for key, value in pairs:
        found += paths_of(value, (*prefix, key))
    return found


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_junk_anywhere_is_an_error_or_opens(
    data: st.DataObject, mmdeploy: Path, huggingface: Path
) -> None:
    """No other error than ours, whatever stands in any one place of a description."""
    name = data.draw(st.sampled_from(["deploy.json", "pipeline.json", "detail.json", "config.json",
                                      "preprocessor_config.json"]))  # fmt: skip
    folder = huggingface if "config" in name else mmdeploy
    original = (folder / name).read_text(encoding="utf-8")
    content = json.loads(original)
    path = data.draw(st.sampled_from(paths_of(content)))
    inner = content
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = data.draw(JUNK)
    try:
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
        try:
            modelport.load(folder).close()
        except ModelportError as error:
            text = str(error)
            assert "\n" not in text, text
    finally:
        (folder / name).write_text(original, encoding="utf-8")


# --- the command line ---------------------------------------------------------------------------


def test_the_command_line_says_one_paragraph(
    mmdeploy: Path, huggingface: Path, tmp_path: Path, pictures: Path, cli: Cli
) -> None:
    photo = sorted(pictures.iterdir())[0]
    name_network(mmdeploy, "../end2end.onnx")
    failed(cli("run", mmdeploy, photo), "which is not inside of it")
    (huggingface / "config.json").write_text("{", encoding="utf-8")
    failed(cli("run", huggingface, photo), "config.json is not JSON")
    (tmp_path / "net.onnx").write_bytes(b"no model")
    failed(cli("run", tmp_path / "net.onnx", photo), "net.onnx is no ONNX model")
    (tmp_path / "empty").mkdir()
    failed(cli("run", tmp_path / "empty", photo), "has no modelport.json")


def test_devices_and_folders_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").mkdir()
    refused(tmp_path / "net.onnx", "has no modelport.json")
    with pytest.raises(BundleError):
        modelport.load("/dev/null")
    os.mkfifo(tmp_path / "pipe.onnx")
    with pytest.raises((BundleError, BundleFormatError)):
        modelport.load(tmp_path / "pipe.onnx")
