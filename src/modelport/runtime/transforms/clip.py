"""Clips: some frames of a video, each prepared like a picture, stacked to one tensor."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from PIL import Image, ImageSequence
from pydantic import PositiveInt

from modelport.errors import DataError, EngineUnavailableError, UsageError
from modelport.feeds import CLIP_SUFFIXES, IMAGE_SUFFIXES
from modelport.runtime.transforms.base import (
    FIRST,
    Prepared,
    Preprocessor,
    Stage,
    Stopwatch,
    Transform,
)
from modelport.runtime.transforms.picture import PicturePreprocessor
from modelport.types import Array

_ANIMATIONS = frozenset({".gif", ".webp", ".png", ".apng", ".tif", ".tiff"})
"""What PIL reads the frames of; other suffixes are those of videos, which OpenCV reads."""

_STACKED = {"ncthw": ("nchw", 2), "ntchw": ("nchw", 1), "nthwc": ("nhwc", 1)}


class Frames(Transform):
    """Which frames of a clip the model sees, and how they are stacked. The transforms of pictures follow.

    Attributes:
        count: how many.
        sampling: `middles` takes the middle of as many equal parts of the clip (TSN); `spread` goes from
            the first frame to the last in even steps, rounded down (VideoMAE in transformers);
            `dense` takes frames `step` apart from the middle of the clip (SlowFast, I3D).
        step: of dense frames.
        short: where a clip is too short for dense frames: `loop` begins again, `last` repeats the last.
        order: of the axes: t is time.
    """

    stage: ClassVar[Stage] = Stage.DECODE
    medium: ClassVar[str] = "clip"

    kind: Literal["frames"] = "frames"
    count: PositiveInt
    sampling: Literal["middles", "spread", "dense"] = "middles"
    step: PositiveInt = 1
    short: Literal["loop", "last"] = "loop"
    order: Literal["ncthw", "ntchw", "nthwc"] = "ncthw"

    def chosen(self, total: int) -> list[int]:
        """Numbers of the frames to take of so many."""
        if self.sampling == "middles":
            return [int((number + 0.5) * total / self.count) for number in range(self.count)]
        if self.sampling == "spread":
            return [int(place) for place in np.linspace(0, total - 1, self.count)]
        start = max(0, total - ((self.count - 1) * self.step + 1)) // 2
        wanted = [start + number * self.step for number in range(self.count)]
        if self.short == "loop":
            return [number % total for number in wanted]
        return [min(number, total - 1) for number in wanted]


class ClipPreprocessor(Preprocessor):
    """`Frames` first, then what each frame passes through.

    A clip is a list of pictures, a uint8 array of frames x height x width x 3 (RGB), a folder of pictures
    in the order of their names, an animated picture, or a video, for which OpenCV must be installed.

    Raises:
        UsageError: where the transforms cannot be meant in the order they are given.
    """

    medium: ClassVar[str] = "clip"

    def __init__(self, transforms: Sequence[Transform]) -> None:
        kinds = [getattr(step, "kind", "?") for step in transforms]
        first, *rest = transforms
        if not isinstance(first, Frames) or any(isinstance(step, Frames) for step in rest):
            raise UsageError(
                f"The transforms are {', '.join(kinds)}",
                expected="frames once, and then the transforms of a picture",
            )
        self.frames = first
        self.picture = PicturePreprocessor(rest)
        order, self._axis = _STACKED[first.order]
        if self.picture.layout.order != order:
            raise UsageError(
                f"Frames are stacked to {first.order}, and each is {self.picture.layout.order}",
                expected=f"a Layout of {order}",
            )

    def prepare(self, item: Any, watch: Stopwatch | None = None) -> Prepared:
        """The tensor of one clip. The placement is that of the first frame."""
        watch = watch or Stopwatch()
        with opened_clip(item) as clip:
            if clip.total < 1:
                raise DataError("The clip has no frames", expected="one at least")
            wanted = self.frames.chosen(clip.total)
            ready = {
                number: self.picture.prepare(clip.read(number), watch) for number in _once(wanted)
            }
        parts = [ready[number] for number in wanted]
        shapes = {part.first.shape for part in parts}
        if len(shapes) > 1:
            raise DataError(
                f"Frames of the clip come out as {' and '.join(map(str, sorted(shapes)))}",
                expected="frames of one size",
                hint="Add a Resize or a CenterCrop to the transforms",
            )
        stacked = np.stack([part.first for part in parts], self._axis)
        watch.lap("stack")
        return Prepared({FIRST: stacked}, parts[0].placement)

    def is_one(self, item: Any) -> bool:
        """A list of pictures is one clip; one of paths, lists and arrays of frames is several."""
        return bool(item) and all(
            isinstance(each, Image.Image) or (isinstance(each, np.ndarray) and each.ndim < 4)
            for each in item
        )

    def as_in_training(self) -> Preprocessor | None:
        exact = self.picture.as_in_training()
        if exact is None:
            return None
        found = copy(self)
        found.picture = exact
        return found

    @property
    def unit(self) -> float:
        return self.picture.unit


class Clip:
    """Frames by number.

    Attributes:
        total: how many there are.
        read: gives one, as `Decode` takes it; numbers go up from call to call.
    """

    def __init__(self, total: int, read: Callable[[int], Any]) -> None:
        self.total = total
        self.read = read


@contextmanager
def opened_clip(item: Any) -> Iterator[Clip]:
    """The frames of whatever stands for a clip.

    Raises:
        DataError: where it is none, or cannot be read.
    """
    if isinstance(item, np.ndarray) and item.ndim == 4:
        yield Clip(len(item), item.__getitem__)
    elif isinstance(item, (list, tuple)):
        yield Clip(len(item), list(item).__getitem__)
    elif isinstance(item, (str, os.PathLike)):
        with _from_path(Path(item)) as clip:
            yield clip
    elif isinstance(item, Image.Image) and getattr(item, "n_frames", 1) > 1:
        yield _animation(item)
    else:
        kind = f"{type(item).__name__}"
        shape = f" of shape {list(item.shape)}" if isinstance(item, np.ndarray) else ""
        raise DataError(
            f"A {kind}{shape} is not a clip",
            expected="a path, a list of pictures, or a uint8 array of frames x height x width x 3",
        )


@contextmanager
def _from_path(path: Path) -> Iterator[Clip]:
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
        yield Clip(len(files), files.__getitem__)
    elif not path.is_file():
        raise DataError(f"There is no clip {path}", hint="Check the path")
    elif path.suffix.lower() in _ANIMATIONS:
        try:
            image = Image.open(path)
        except OSError as error:
            raise DataError(f"The clip {path} cannot be decoded: {error}") from error
        with image:
            yield _animation(image)
    else:
        with _video(path) as clip:
            yield clip


def _animation(image: Image.Image) -> Clip:
    frames = ImageSequence.Iterator(image)

    def read(number: int) -> Image.Image:
        return frames[number].convert("RGB")

    return Clip(getattr(image, "n_frames", 1), read)


@contextmanager
def _video(path: Path) -> Iterator[Clip]:
    try:
        import cv2
    except ModuleNotFoundError as error:
        raise EngineUnavailableError(
            f"The video {path.name} is read with OpenCV, which is not installed",
            hint='Install it with: pip install "modelport[opencv]"',
        ) from error
    capture = cv2.VideoCapture(str(path))
    try:
        total = capture.get(cv2.CAP_PROP_FRAME_COUNT) if capture.isOpened() else 0
        if not math.isfinite(total) or total < 1:
            raise DataError(
                f"The video {path} cannot be decoded",
                expected=f"a video that OpenCV reads, or one of {', '.join(sorted(CLIP_SUFFIXES))}",
            )
        yield Clip(int(total), _Forward(capture, path).read)
    finally:
        capture.release()


class _Forward:
    """Reads frames one after the other: seeking lands on the wrong frame in many formats."""

    def __init__(self, capture: Any, path: Path) -> None:
        self._capture = capture
        self._path = path
        self._next = 0
        self._frame: Array | None = None

    def read(self, number: int) -> Array:
        while self._next <= number:
            there, frame = self._capture.read()
            if not there:
                break  # files promise more frames than they have; the last one stands for them
            self._frame = frame
            self._next += 1
        if self._frame is None:
            raise DataError(f"The video {self._path} has no frame that can be decoded")
        return np.ascontiguousarray(self._frame[:, :, ::-1])


def _once(numbers: Sequence[int]) -> list[int]:
    """Each number once, upwards."""
    return sorted(set(numbers))
