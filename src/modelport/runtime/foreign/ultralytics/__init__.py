"""What the exporters of Ultralytics write: ONNX files with metadata, and folders for OpenVINO and ncnn.

Only the form of these files is used here, which is documented; no code of theirs.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from modelport.errors import BundleError, BundleFormatError
from modelport.runtime.foreign.base import ForeignBundle, Meaning, Model, Opener
from modelport.runtime.foreign.folder import Folder
from modelport.runtime.foreign.networks import ncnn_model, onnx_model, openvino_model
from modelport.runtime.foreign.onnx_file import read_onnx
from modelport.runtime.foreign.ultralytics.metadata import (
    YAML_NAME,
    Metadata,
    from_onnx,
    from_yaml,
)
from modelport.runtime.foreign.ultralytics.tasks import task_of, transforms_of

TOOLKIT = "Ultralytics"

KEYS = ("names", "stride")
"""Metadata that every export has since the first ones of YOLOv5."""


class UltralyticsOpener(Opener):
    name: ClassVar[str] = "ultralytics"
    summary: ClassVar[str] = "an export of Ultralytics for ONNX, OpenVINO or ncnn"
    marks: ClassVar[str] = (
        f"an ONNX file with their metadata, or {YAML_NAME} and an .xml or .ncnn.param file"
    )

    def claims(self, path: Path) -> bool:
        if path.is_dir():
            return (path / YAML_NAME).exists() and bool(_networks(Folder(path, TOOLKIT)))
        if path.suffix.lower() != ".onnx" or not path.is_file():
            return False
        try:
            found = read_onnx(path).metadata
        except BundleError:  # whoever takes every ONNX file says what is wrong with it
            return False
        return all(key in found for key in KEYS)

    def open(self, path: Path) -> ForeignBundle:
        model, metadata = _network(path) if path.is_dir() else _file(path)
        found = task_of(metadata, model.signature, path)
        transforms, notes = transforms_of(metadata, model.signature, path)
        meaning = Meaning(
            name=path.stem,
            toolkit=f"Ultralytics {metadata.about}".strip(),
            task=found.task,
            parameters=found.parameters,
            transforms=transforms,
            labels=metadata.names,
            licence=metadata.licence,
            notes=tuple(notes),
        )
        return ForeignBundle(path, meaning, [model])


def _file(path: Path) -> tuple[Model, Metadata]:
    model, found = onnx_model(path)
    return model, from_onnx(found.metadata, str(path))


def _network(path: Path) -> tuple[Model, Metadata]:
    folder = Folder(path, TOOLKIT)
    names = _networks(folder)
    if len(names) != 1:
        raise BundleFormatError(
            f"{path} has the networks {', '.join(names)}",
            expected="a single .xml or .ncnn.param file",
        )
    (name,) = names
    weights = f"{name.rpartition('.')[0]}.bin"
    opened = openvino_model if name.endswith(".xml") else ncnn_model
    return opened(folder, name, weights), from_yaml(folder)


def _networks(folder: Folder) -> list[str]:
    return [*folder.names("*.xml"), *folder.names("*.ncnn.param")]
