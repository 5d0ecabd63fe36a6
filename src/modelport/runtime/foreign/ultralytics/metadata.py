"""The metadata that the exporters of Ultralytics put into ONNX files and beside OpenVINO networks."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modelport.errors import BundleFormatError, EngineUnavailableError
from modelport.runtime.foreign.folder import Fields, Folder

LITERALS = (
    "stride",
    "batch",
    "imgsz",
    "names",
    "kpt_shape",
    "args",
    "channels",
    "end2end",
    "dynamic",
)
"""Fields that an ONNX file has as the text of a Python value."""

LONGEST_LITERAL = 1 << 20
YAML_NAME = "metadata.yaml"


@dataclass(frozen=True)
class Metadata:
    """Attributes:
    task: their word: `detect`, `segment`, `pose`, `obb` or `classify`; empty in files of YOLOv5,
        which have only names and stride.
    size: height and width; None where the file does not say.
    free: whether the network was exported for any size.
    keypoints: how many, and numbers to each.
    final: whether the network gives final boxes: it needs no NMS, or has one inside.
    """

    task: str
    names: tuple[str, ...]
    size: tuple[int, int] | None
    stride: int
    channels: int
    keypoints: tuple[int, int] | None
    final: bool
    free: bool
    about: str
    licence: str | None


def from_onnx(entries: Mapping[str, str], where: str) -> Metadata:
    """From the keys and values of an ONNX file."""
    values: dict[str, Any] = dict(entries)
    for key in LITERALS:
        if key in values:
            values[key] = _literal(values[key], f"{where}: {key}")
    return _metadata(Fields(values, f"{where}: metadata"))


def from_yaml(folder: Folder) -> Metadata:
    """From the file beside an OpenVINO network.

    Raises:
        EngineUnavailableError: where PyYAML is not installed.
    """
    try:
        import yaml
    except ModuleNotFoundError as error:
        raise EngineUnavailableError(
            f"{folder.path / YAML_NAME} is YAML, and PyYAML is not installed",
            hint="Install it with: pip install pyyaml",
        ) from error
    text = folder.text(YAML_NAME)
    where = str(folder.path / YAML_NAME)
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        said = " ".join(str(error).split())[:160]
        raise BundleFormatError(f"{where} is not YAML ({said})") from error
    return _metadata(Fields(content, where))


def _literal(text: str, where: str) -> Any:
    """The Python value; nothing is evaluated that is no literal."""
    try:
        if len(text) > LONGEST_LITERAL:
            raise ValueError("it is too long")
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise BundleFormatError(
            f"{where} is {text[:60]!r}",
            expected="the text of a number, a list or a dictionary",
            hint="Export the model again",
        ) from error


def _metadata(fields: Fields) -> Metadata:
    arguments = fields.inner("args", {})
    return Metadata(
        task=fields.text("task", ""),
        names=_names(fields),
        size=_size(fields),
        stride=_positive(fields, "stride", 32),
        channels=_positive(fields, "channels", 3),
        keypoints=_keypoints(fields),
        final=fields.flag("end2end", False) or arguments.flag("nms", False),
        free=fields.flag("dynamic", False) or arguments.flag("dynamic", False),
        about=fields.text("version", ""),
        licence=fields.text("license", "") or None,
    )


def _names(fields: Fields) -> tuple[str, ...]:
    """Names by number, as a dictionary or, in old files, a list."""
    said = fields.raw("names")
    given = said
    if isinstance(given, dict):
        given = [given.get(index) for index in range(len(given))]
    if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
        raise BundleFormatError(
            f"{fields.where}: names is {said!r:.60}",
            expected="a name for each number from 0 on",
        )
    return tuple(given)


def _positive(fields: Fields, key: str, default: int) -> int:
    several = isinstance(fields.raw(key), list)  # YOLOv5 may list the stride of each level
    number = max(fields.numbers(key), default=0.0) if several else fields.number(key, default)
    if not 0 < number < 1 << 15:
        raise BundleFormatError(f"{fields.where}: {key} is {number:g}", expected="above zero")
    return int(number)


def _size(fields: Fields) -> tuple[int, int] | None:
    if "imgsz" not in fields:
        return None
    given = fields.raw("imgsz")
    edges = fields.numbers("imgsz") if isinstance(given, list) else [fields.number("imgsz")] * 2
    if len(edges) != 2 or not all(0 < edge < 1 << 15 for edge in edges):
        raise BundleFormatError(
            f"{fields.where}: imgsz is {given!r:.60}", expected="height and width"
        )
    return int(edges[0]), int(edges[1])


def _keypoints(fields: Fields) -> tuple[int, int] | None:
    if "kpt_shape" not in fields:
        return None
    count, numbers = [*map(int, fields.numbers("kpt_shape")), 0, 0][:2]
    if count < 1 or numbers not in (2, 3):
        raise BundleFormatError(
            f"{fields.where}: kpt_shape is {fields.raw('kpt_shape')!r:.60}",
            expected="how many keypoints there are, and 2 or 3 numbers to each",
        )
    return count, numbers
