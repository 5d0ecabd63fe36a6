"""The frames of video files and of cameras, by OpenCV."""

from __future__ import annotations

import contextlib
import os
import time
from abc import abstractmethod
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, ClassVar

from modelport.errors import DataError, EngineUnavailableError
from modelport.runtime.sources.base import Item, Source

VIDEO_SUFFIXES = frozenset(
    {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv"}
)

_MISSING = 0.95
"""Containers tell how many frames they hold, some only nearly. With fewer than this share of them, the
video ended early."""


class Frames(Source):
    """What videos and cameras share: each `every`-th frame is decoded, those between are passed over."""

    name: str

    def __init__(self, every: int) -> None:
        self.every = every

    def __iter__(self) -> Generator[Item, None, None]:
        capture = self._opened()
        if capture is None:
            yield Item(self.name, error=self._refused())
            return
        rate = float(capture.get(opencv().CAP_PROP_FPS)) or 0.0
        rate = rate / self.every if 0 < rate <= 1000 else 25.0 / self.every
        number = 0
        try:
            while capture.grab():
                if number % self.every == 0:
                    yield self._item(capture, number, rate)
                number += 1
            problem = self._ended(capture, number)
        finally:
            capture.release()
        if problem is not None:
            yield Item(self.name, error=problem)

    def _item(self, capture: Any, number: int, rate: float) -> Item:
        seconds = self._seconds(capture, number, rate)
        whole, pixels = capture.retrieve()
        if not whole or pixels is None:
            broken = DataError(f"Frame {number} of {self.name} cannot be decoded")
            return Item(self.name, frame=number, seconds=seconds, rate=rate, error=broken)
        pixels = opencv().cvtColor(pixels, opencv().COLOR_BGR2RGB)
        return Item(self.name, pixels, frame=number, seconds=seconds, rate=rate)

    @abstractmethod
    def _opened(self) -> Any | None:
        """OpenCV's capture; None where it cannot be had."""

    @abstractmethod
    def _refused(self) -> DataError:
        """Why it could not be opened."""

    @abstractmethod
    def _seconds(self, capture: Any, number: int, rate: float) -> float: ...

    @abstractmethod
    def _ended(self, capture: Any, frames: int) -> DataError | None:
        """What is wrong with an end after so many frames; None where nothing is."""


class Video(Frames):
    """A video file."""

    def __init__(self, path: Path, every: int = 1) -> None:
        super().__init__(every)
        self.path, self.name = path, str(path)

    def count(self) -> int | None:
        capture = self._opened()
        if capture is None:
            return 1  # the item that says so
        frames = _promised(capture)
        capture.release()
        return -(-frames // self.every) if frames else None

    def _opened(self) -> Any | None:
        with _quiet():
            capture = opencv().VideoCapture(str(self.path))
        return capture if capture.isOpened() else None

    def _refused(self) -> DataError:
        return DataError(
            f"{self.path} cannot be read as a video",
            expected="a whole video file of a kind that OpenCV decodes",
            hint="Check that the file is complete and plays",
        )

    def _seconds(self, capture: Any, number: int, rate: float) -> float:
        told = float(capture.get(opencv().CAP_PROP_POS_MSEC)) / 1e3
        return told if number == 0 or told > 0 else number / (rate * self.every)

    def _ended(self, capture: Any, frames: int) -> DataError | None:
        promised = _promised(capture)
        if frames and frames >= promised * _MISSING - 1:
            return None
        return DataError(
            f"{self.path} ends after {frames} of {promised} frames",
            expected="a whole video",
            hint="Check that the file is complete and plays to its end",
        )


class Camera(Frames):
    """A camera, until it is unplugged or somebody stops it.

    Args:
        device: the number that the system gives it, or the path of its device.
    """

    endless: ClassVar[bool] = True

    def __init__(self, device: int | str, every: int = 1) -> None:
        super().__init__(every)
        self.device, self.name = device, f"camera:{device}"
        self._start = 0.0

    def count(self) -> int | None:
        return None

    def _opened(self) -> Any | None:
        with _quiet():
            capture = opencv().VideoCapture(self.device)
        return capture if capture.isOpened() else None

    def _refused(self) -> DataError:
        return DataError(
            f"{self.name} cannot be opened",
            hint="Check that the camera is plugged in, and that no other program uses it",
        )

    def _seconds(self, capture: Any, number: int, rate: float) -> float:
        now = time.monotonic()
        self._start = self._start if number else now
        return now - self._start

    def _ended(self, capture: Any, frames: int) -> DataError:
        return DataError(
            f"{self.name} gives no more pictures after {frames} frames",
            hint="Check that it is still plugged in",
        )


def _promised(capture: Any) -> int:
    """How many frames the file says it holds; 0 where it does not say."""
    told = float(capture.get(opencv().CAP_PROP_FRAME_COUNT))
    return int(told) if 0 < told < 1e12 else 0


def opencv() -> Any:
    try:
        import cv2
    except ModuleNotFoundError as error:
        raise EngineUnavailableError(
            "Videos and cameras are read by OpenCV, which is not installed",
            hint='Install it with: pip install "modelport[opencv]"',
        ) from error
    return cv2


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What cannot be opened is said by us, once."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    logging = opencv().utils.logging
    before = logging.getLogLevel()
    logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        logging.setLogLevel(before)
