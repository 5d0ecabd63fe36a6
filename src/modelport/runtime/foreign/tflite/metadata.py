"""TFLite Model Metadata: what a file's author says of pictures and labels.

It is a buffer of its own inside of the model; the files it names are in a zip archive that is appended to
the model. Fields are those of `metadata_schema.fbs` of TFLite Support.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from modelport.errors import BundleFormatError
from modelport.runtime.foreign.folder import TEXT_LIMIT_BYTES
from modelport.runtime.foreign.tflite.flatbuffer import Flatbuffer, NotFlatError, Table

IDENTIFIER = b"M001"

_IMAGE = 2
"""In the union of what a tensor may hold."""
_NORMALIZATION, _CALIBRATION = 1, 2
"""In the union of what is done to a tensor outside of the network."""
_AXIS_LABELS = 2
"""Type of a file with one name for each place of an axis."""
_GREY = 2
"""Of the colour spaces; 1 is RGB, and 0 does not say."""

_FLOAT, _UINT, _BYTE = "<f", "<I", "<b"


@dataclass(frozen=True)
class TensorNote:
    """What is said of one input or output.

    Attributes:
        colour: of pictures; None where it holds no pictures.
        size: height and width of pictures where the tensor leaves them free.
        mean, std: of `(pixel - mean) / std` with pixels from 0 to 255, one number or one to a channel;
            empty where it does not say.
        labels: names of the files that name the places of its last axis.
        calibrated: whether scores should be calibrated afterwards.
    """

    colour: Literal["rgb", "grey"] | None = None
    size: tuple[int, int] | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    labels: tuple[str, ...] = ()
    calibrated: bool = False


@dataclass(frozen=True)
class ModelNote:
    """Attributes:
    about: name and version of the model, as its author calls it.
    inputs, outputs: in the order of the network's; fewer where it does not speak of all.
    """

    about: str = ""
    licence: str | None = None
    inputs: tuple[TensorNote, ...] = ()
    outputs: tuple[TensorNote, ...] = ()


def read_metadata(data: memoryview, path: Path) -> ModelNote:
    """Reads the buffer of the metadata.

    Args:
        path: of the model, for messages.

    Raises:
        BundleFormatError: where it is damaged.
    """
    try:
        return _model(Flatbuffer(data).root(IDENTIFIER))
    except (NotFlatError, UnicodeDecodeError) as error:
        raise BundleFormatError(
            f"The metadata of {path} cannot be read ({error})",
            expected="TFLite Model Metadata",
            hint="Copy the file again, or write its metadata again",
        ) from error


def _model(model: Table) -> ModelNote:
    graph = next(iter(model.tables(3)), None)
    about = " ".join(text for text in (model.text(0), model.text(2)) if text)
    if graph is None:
        return ModelNote(about, model.text(5) or None)
    return ModelNote(
        about,
        model.text(5) or None,
        tuple(_tensor(each) for each in graph.tables(2)),
        tuple(_tensor(each) for each in graph.tables(3)),
    )


def _tensor(tensor: Table) -> TensorNote:
    colour, size = _picture(tensor.table(3))
    mean, std = _normalization(tensor)
    files = tuple(each.text(0) for each in tensor.tables(6) if each.whole(2, _BYTE) == _AXIS_LABELS)
    calibrated = any(True for _ in _units(tensor, _CALIBRATION))
    return TensorNote(colour, size, mean, std, files, calibrated)


def _picture(
    content: Table | None,
) -> tuple[Literal["rgb", "grey"] | None, tuple[int, int] | None]:
    """Colour and size, where the tensor holds pictures."""
    if content is None or content.whole(0, "<B") != _IMAGE:
        return None, None
    image = content.table(1)
    if image is None:
        return "rgb", None
    size = image.table(1)
    sides = None if size is None else (size.whole(1, _UINT), size.whole(0, _UINT))
    return "grey" if image.whole(0, _BYTE) == _GREY else "rgb", sides


def _normalization(tensor: Table) -> tuple[tuple[float, ...], tuple[float, ...]]:
    for options in _units(tensor, _NORMALIZATION):
        return tuple(options.numbers(0, _FLOAT)), tuple(options.numbers(1, _FLOAT))
    return (), ()


def _units(tensor: Table, kind: int) -> Iterator[Table]:
    for unit in tensor.tables(4):
        options = unit.table(1)
        if unit.whole(0, "<B") == kind and options is not None:
            yield options


def read_labels(path: Path, name: str) -> list[str]:
    """One label to a line, from a file in the archive behind the model.

    Raises:
        BundleFormatError: where there is no such file, or it is no text.
    """
    try:
        with zipfile.ZipFile(path) as archive, archive.open(name) as file:
            content = file.read(TEXT_LIMIT_BYTES + 1)
        if len(content) > TEXT_LIMIT_BYTES:
            raise ValueError("it is too large for labels")
        return str(content, "utf-8-sig").rstrip().splitlines()
    except Exception as error:  # zipfile raises a dozen kinds for a damaged archive
        said = " ".join(str(error).split())[:160]
        raise BundleFormatError(
            f"{path}: the metadata names the labels {name!r:.80}, which cannot be read ({said})",
            expected="a text with one label to a line, in the archive behind the model",
            hint="Copy the file again, or write its metadata again",
        ) from error
