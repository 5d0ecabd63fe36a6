"""A video that is written frame by frame, by OpenCV."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from modelport.errors import DataError
from modelport.runtime.sources.video import opencv


class Film:
    """An MP4 file; it is there under its name when it is whole.

    Args:
        name: of the video that its frames are from.
        rate: frames a second.
    """

    def __init__(self, name: str, target: Path, rate: float) -> None:
        self.name, self._target, self._rate = name, target, rate
        self._part = target.with_name(f".{target.stem}.part{target.suffix}")
        self._writer: Any = None
        self._sides = (0, 0)

    def add(self, image: Image.Image) -> None:
        """One frame; those of another size than the first one are made to fit."""
        if self._writer is None:
            self._start(image)
        if image.size != self._sides:
            image = image.resize(self._sides)
        self._writer.write(np.ascontiguousarray(np.asarray(image.convert("RGB"))[:, :, ::-1]))

    def close(self, *, whole: bool) -> None:
        """Ends it; a film without frames is no file.

        Raises:
            DataError: where OpenCV wrote nothing, which it tells nobody.
        """
        if self._writer is None:
            return
        self._writer.release()
        self._writer = None
        if not whole:
            self._part.unlink(missing_ok=True)
        elif self._part.is_file() and self._part.stat().st_size:
            os.replace(self._part, self._target)
        else:
            self._part.unlink(missing_ok=True)
            raise self._unwritten()

    def _start(self, image: Image.Image) -> None:
        cv2 = opencv()
        width, height = (max(2, side - side % 2) for side in image.size)
        self._sides = (width, height)  # its codec halves the colours, and so takes even sides
        code = cv2.VideoWriter_fourcc(*"mp4v")
        self._writer = cv2.VideoWriter(str(self._part), code, self._rate, self._sides)
        if not self._writer.isOpened():
            self._writer = None
            self._part.unlink(missing_ok=True)
            raise self._unwritten()

    def _unwritten(self) -> DataError:
        width, height = self._sides
        return DataError(
            f"{self._target} cannot be written: OpenCV encodes no video of {width}x{height} pixels at "
            f"{self._rate:g} frames a second there",
            hint="Check that the disk has room, or leave --draw out",
        )
