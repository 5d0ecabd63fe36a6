"""Where feeds come from when they are not a user's own tensors."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from modelport.errors import DataError, ModelportError
from modelport.types import Array, Dim, Feeds, Signature, TensorSpec

if TYPE_CHECKING:
    from modelport.runtime.placement import Placement
    from modelport.runtime.transforms.base import Prepared, Preprocessor

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm"})
TEXT_SUFFIXES = frozenset({".txt"})
SOUND_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".mp3"})
CLIP_SUFFIXES = frozenset({".gif", ".webp", ".mp4", ".avi", ".mov", ".mkv", ".webm"})
ARRAY_SUFFIXES = frozenset({".npy", ".npz"})
SUFFIXES = {
    "picture": IMAGE_SUFFIXES,
    "text": TEXT_SUFFIXES,
    "sound": SOUND_SUFFIXES,
    "clip": CLIP_SUFFIXES,
}
"""Of the files of each medium."""


@dataclass(frozen=True)
class Sample:
    """One feed of the user's data, and the file it was made from, if it was.

    Attributes:
        intended: the feed as in training, where `feeds` took a short cut that changes it (a JPEG
            decoded as a draft); else None.
        placement: of a picture in the tensor, for results that are places; else None.
    """

    name: str
    feeds: Feeds
    file: Path | None = None
    intended: Feeds | None = None
    placement: Placement | None = None


def random_feeds(signature: Signature, seed: int) -> Feeds:
    """Seeded values of the smallest shapes; see `random_array`."""
    generator = np.random.default_rng(seed)
    return {spec.name: random_array(spec, spec.smallest(), generator) for spec in signature.inputs}


MOST_ELEMENTS = 1 << 24
"""Random inputs stay below this, so that a large batch of large pictures does not fill the memory."""


def random_other_sizes(specs: Sequence[TensorSpec], seed: int, most: int = 100) -> list[Feeds]:
    """Feeds of a typical and of the largest sizes, within bounds; none where no size is free."""
    if all(spec.is_static for spec in specs):
        return []
    generator = np.random.default_rng(seed)
    found: list[Feeds] = []
    for share in (0.5, 1.0):
        shapes = _shapes(specs, share)
        found.append(
            {
                spec.name: random_array(spec, shape, generator, most)
                for spec, shape in zip(specs, shapes, strict=True)
            }
        )
    return found


def traced_sizes(specs: Sequence[TensorSpec]) -> list[tuple[int, ...]]:
    """Small sizes: exporters take 0 and 1 for constants, and networks halve what they are given."""
    return [
        tuple(
            size if isinstance(size, int) else size.nearest(max(4 * size.step, size.minimum))
            for size in spec.shape
        )
        for spec in specs
    ]


def _shapes(specs: Sequence[TensorSpec], share: float) -> list[tuple[int, ...]]:
    """Shapes with free sizes that far up between their bounds, less far where they get too large."""
    while True:
        shapes = [
            tuple(size if isinstance(size, int) else _between(size, share) for size in spec.shape)
            for spec in specs
        ]
        if share < 0.01 or sum(math.prod(shape) for shape in shapes) <= MOST_ELEMENTS:
            return shapes
        share *= 0.7


OPEN_STEPS = 4
"""How far above its minimum a dimension without limit goes: in steps, or in strides of 32 pixels."""


def _between(size: Dim, share: float) -> int:
    """Sizes of one name and equal bounds come out equal."""
    if size.maximum is None:
        stride = max(size.step, 32 if size.minimum >= 32 else 1)
        return size.nearest(size.minimum + round(share * OPEN_STEPS) * stride)
    return size.nearest(size.minimum + round(share * (size.maximum - size.minimum)))


def random_array(
    spec: TensorSpec, shape: tuple[int, ...], generator: np.random.Generator, most: int = 100
) -> Array:
    """Normal values for floats, below `most` for integers; masks and segments by their usual names."""
    kind = np.dtype(spec.dtype)
    if spec.dtype == "bool":
        return np.asarray(generator.integers(0, 2, shape).astype(bool))
    if np.issubdtype(kind, np.integer):
        if spec.name.endswith("mask"):
            return _padding_mask(shape, generator).astype(kind)
        most = 2 if spec.name.endswith("token_type_ids") else most
        return np.asarray(generator.integers(0, most, shape)).astype(kind)
    values = generator.standard_normal(shape)
    if np.issubdtype(kind, np.complexfloating):
        values = values + 1j * generator.standard_normal(shape)
    return np.asarray(values).astype(kind)


def _padding_mask(shape: tuple[int, ...], generator: np.random.Generator) -> Array:
    """Ones, and zeros at the end of a row: a row without any one has no meaning to attention."""
    if not shape:
        return np.ones(())
    lengths = generator.integers(max(1, shape[-1] // 2), shape[-1] + 1, (*shape[:-1], 1))
    return np.asarray(np.arange(shape[-1]) < lengths)


def read_samples(
    folder: Path,
    signature: Signature,
    preprocess: Preprocessor | None,
    others: Feeds | None = None,
) -> Iterator[Sample]:
    """The samples in the files of a folder (or in a single file), in the order of names.

    A picture is a sample, and so is each line of a text. Of a recording it is the windows in its middle, as
    many as the model takes at least. `.npy` holds the first input and `.npz` every input by name.

    Args:
        others: inputs that neither transforms nor files give, such as a state.

    Raises:
        DataError: where the folder is missing, holds nothing usable, or a file cannot be read.
    """
    medium = "picture" if preprocess is None else preprocess.medium
    for path in sample_files(folder, medium):
        if path.suffix.lower() in ARRAY_SUFFIXES:
            feeds = {**(others or {}), **load_arrays(path, signature.inputs[0].name)}
            _check(feeds, signature, path)
            yield Sample(path.name, feeds, path)
            continue
        if preprocess is None:
            raise DataError(
                f"{path} is a picture, and the model has no transforms that make feeds of pictures",
                hint="Give the source transforms, or a folder of .npy or .npz feeds",
            )
        for number, prepared in enumerate(preprocess.samples(path), start=1):
            feeds = {**(others or {}), **feeds_of(prepared, signature)}
            _check(feeds, signature, path)
            name = path.name if medium != "text" else f"{path.name}:{number}"
            yield Sample(name, feeds, path, placement=prepared.placement)


def feeds_of(prepared: Prepared, signature: Signature) -> dict[str, Array]:
    """The tensors of one input by their names, in a batch of the least size that the model takes."""
    first = signature.inputs[0]
    specs: Mapping[str, TensorSpec] = {spec.name: spec for spec in signature.inputs}
    found = {}
    for name, array in prepared.tensors.items():
        spec = specs.get(name or first.name, first)
        if prepared.timeline is not None:
            start = max(0, (len(array) - spec.smallest()[0]) // 2)
            array = array[start : start + spec.smallest()[0]]
        found[name or first.name] = fill_batch(array, spec)
    return found


def sample_files(folder: Path, medium: str = "picture") -> list[Path]:
    """The files of a medium and arrays below a folder, sorted by path; or the one file given."""
    if not folder.exists():
        raise DataError(f"There is no file or folder {folder}", hint="Check the path of the data")
    if folder.is_file():
        return [folder]
    known = SUFFIXES[medium] | ARRAY_SUFFIXES
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in known)
    if not files:
        raise DataError(
            f"The folder {folder} holds no data",
            expected=f"files ending in {', '.join(sorted(known))}",
        )
    return files


def read_arrays(path: Path, signature: Signature, others: Feeds | None = None) -> Feeds:
    """Feeds from `.npy`, which holds the first input, or `.npz`, which holds every input by name.

    Args:
        others: inputs that the file need not give, such as a state.

    Raises:
        DataError: where the file cannot be read, or does not fit the model.
    """
    feeds = {**(others or {}), **load_arrays(path, signature.inputs[0].name)}
    _check(feeds, signature, path)
    return feeds


def load_arrays(path: Path, first: str) -> Feeds:
    """What a file of numpy holds, whether it fits a model or not; `.npy` is the input `first`."""
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {first: loaded}
        with loaded:
            return {name: loaded[name] for name in loaded.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path} cannot be read as arrays ({' '.join(str(error).split())[:120]})",
            expected="a file written by numpy.save or numpy.savez, without Python objects",
        ) from error


def _check(feeds: Feeds, signature: Signature, path: Path) -> None:
    try:
        signature.check(feeds)
    except ModelportError as error:
        raise DataError(
            f"{path} does not fit the model: {error.seen}", expected=error.expected
        ) from error


def fill_batch(array: Array, spec: TensorSpec) -> Array:
    """Repeats the last sample until there are as many as the input takes at least."""
    if not spec.shape:
        return array
    size = spec.shape[0]
    least = size.minimum if isinstance(size, Dim) else size
    if len(array) >= least:
        return array
    return np.concatenate([array, np.repeat(array[-1:], least - len(array), axis=0)])
