"""From what a `.tflite` file says to transforms and a task."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from modelport.errors import BundleFormatError
from modelport.runtime.foreign.base import Meaning
from modelport.runtime.foreign.tflite.metadata import (
    ModelNote,
    TensorNote,
    read_labels,
    read_metadata,
)
from modelport.runtime.foreign.tflite.model import TfliteFile, TfliteTensor
from modelport.runtime.transforms import Decode, Layout, Normalize, Resize, Transform

NO_INPUT = "the file does not say what it was fed in training, so it takes feeds and no pictures"
NO_OUTPUT = "the file does not say what its outputs mean, so they come as tensors"
STRETCHED = (
    "the file does not say how pictures get its size: they are stretched, by PIL's bilinear filter"
)

LARGEST = 1 << 14
"""Pixels of a side: no network takes more, and a damaged number would fill the memory."""


def meaning_of(path: Path, found: TfliteFile) -> Meaning:
    """What the file says besides its network; a note for what it leaves open.

    Raises:
        BundleFormatError: where its metadata are damaged.
    """
    said = ModelNote() if found.metadata is None else read_metadata(found.metadata, path)
    source = _transforms(path, found, said)
    result = _task(path, found, said)
    return Meaning(
        name=path.stem,
        toolkit=said.about or found.description or "TFLite",
        task="classification" if result.labels is not None else "tensors",
        parameters={} if result.labels is None else {"scores": "probabilities"},
        transforms=source.transforms,
        labels=result.labels,
        licence=said.licence,
        notes=(*source.notes, *result.notes, *_quantized(found)),
    )


@dataclass(frozen=True)
class _Said:
    """What became of one side of the network."""

    transforms: tuple[Transform, ...] = ()
    labels: tuple[str, ...] | None = None
    notes: tuple[str, ...] = field(default=())


def _transforms(path: Path, found: TfliteFile, said: ModelNote) -> _Said:
    """Those of pictures, where the metadata tell of pictures and of their numbers."""
    if len(found.inputs) != 1 or len(said.inputs) != 1 or said.inputs[0].colour is None:
        return _Said(notes=(NO_INPUT,))
    tensor, note = found.inputs[0], said.inputs[0]
    size, channels = _size(tensor, note), 1 if note.colour == "grey" else 3
    if size is None or max(size) > LARGEST or tensor.spec.shape[-1] != channels:
        return _Said(notes=(NO_INPUT,))
    try:
        numbers = _numbers(tensor, note, channels)
        steps = (Decode(colour=note.colour), Resize(size), *(numbers or ()))
    except ValueError as error:  # pydantic's are of that kind
        raise BundleFormatError(
            f"The metadata of {path} give {size[0]}x{size[1]} pictures the means {note.mean} and the "
            f"deviations {note.std}",
            expected=f"one number or {channels}, deviations above zero, and a size of some pixels",
        ) from error
    if numbers is None:
        return _Said(notes=(NO_INPUT,))
    return _Said(transforms=steps, notes=(STRETCHED,))


def _size(tensor: TfliteTensor, note: TensorNote) -> tuple[int, int] | None:
    """Height and width of a batch x height x width x channels, or those of the metadata."""
    if len(tensor.spec.shape) != 4:
        return None
    height, width = tensor.spec.shape[1:3]
    if isinstance(height, int) and isinstance(width, int):
        return height, width
    return note.size


def _numbers(
    tensor: TfliteTensor, note: TensorNote, channels: int
) -> tuple[Transform, Transform] | tuple[Transform] | None:
    """From pixels to what the input takes; None where nothing tells."""
    if note.mean and note.std and tensor.spec.dtype == "float32":
        mean, std = (_each(numbers, channels) for numbers in (note.mean, note.std))
        return Normalize(mean=mean, std=std, scale=1.0), Layout(order="nhwc")
    how, kind = tensor.quantization, tensor.stored.dtype
    if how is None:
        return (Layout(order="nhwc", dtype="uint8"),) if kind == "uint8" else None
    if kind == "int16":
        return None
    # Without a normalization the pixels are the stored numbers; those of int8 begin at -128.
    first = how.zero_point + (128 if kind == "int8" else 0)
    mean, std = (float(first),) * channels, (1 / how.scale,) * channels
    return Normalize(mean=mean, std=std, scale=1.0), Layout(order="nhwc")


def _each(numbers: tuple[float, ...], channels: int) -> tuple[float, ...]:
    if len(numbers) not in (1, channels):
        raise ValueError("one number, or one to a channel")
    return numbers * channels if len(numbers) == 1 else numbers


def _task(path: Path, found: TfliteFile, said: ModelNote) -> _Said:
    """A classification where the only output is one row with a label for each place."""
    note = said.outputs[0] if len(said.outputs) == 1 else TensorNote()
    shape = found.outputs[0].spec.shape
    if len(found.outputs) != 1 or not note.labels or len(shape) != 2:
        return _Said(notes=(NO_OUTPUT,))
    labels = tuple(read_labels(path, note.labels[0]))
    if len(labels) != shape[1]:
        told = f"its {len(labels)} labels are left out: the output has {shape[1]} places"
        return _Said(notes=(NO_OUTPUT, told))
    notes = ["the scores of its output are taken for probabilities, as TFLite's own library does"]
    if note.calibrated:
        notes.append("the calibration of scores that it asks for is not done")
    return _Said(labels=labels, notes=tuple(notes))


def _quantized(found: TfliteFile) -> list[str]:
    return [
        f"{each.stored.name!r} has {each.stored.dtype} inside; it is fed and given as real numbers"
        for each in (*found.inputs, *found.outputs)
        if each.quantization is not None
    ]
