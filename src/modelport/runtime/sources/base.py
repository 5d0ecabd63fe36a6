"""The contract of a source of inputs, and what it gives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from modelport.errors import DataError


@dataclass(frozen=True, eq=False)
class Item:
    """One input.

    Attributes:
        name: how people call it: a path, `-` for standard input, `camera:0`.
        content: what a predictor takes: a path, bytes, a text, or the pixels of a frame (uint8, height x
            width x 3, RGB).
        path: the file it is; None for what is none of its own.
        frame: its number in a video, from 0; None for what is no frame.
        seconds: when in the video it is shown, or for a camera how long after the first frame it came.
        rate: frames a second of the video, as far as they are taken.
        error: why there is nothing to answer for: the place of frames that did not come.
    """

    name: str
    content: Any = None
    path: Path | None = None
    frame: int | None = None
    seconds: float | None = None
    rate: float | None = None
    error: DataError | None = None

    @property
    def title(self) -> str:
        """`clip.mp4 frame 12 at 0.48 s`."""
        at = "" if self.seconds is None else f" at {self.seconds:.2f} s"
        return self.name if self.frame is None else f"{self.name} frame {self.frame}{at}"

    def to_json(self) -> dict[str, Any]:
        """What tells its result from others: `file`, and `frame` and `time_s` where it is a frame."""
        known: dict[str, Any] = {"file": self.name}
        if self.frame is not None:
            known["frame"] = self.frame
        if self.seconds is not None:
            known["time_s"] = round(self.seconds, 6)
        return known


class Source(ABC):
    """Inputs, one after the other. What cannot be read is an item with an error, and not the end."""

    endless: ClassVar[bool] = False
    """Whether it goes on until somebody stops it."""

    waits: bool = False
    """Whether the next item may be long in coming: nobody should wait for it with a result in hand."""

    @abstractmethod
    def count(self) -> int | None:
        """How many items come, as far as that is known beforehand."""

    @abstractmethod
    def __iter__(self) -> Generator[Item, None, None]:
        """The items; closing the iterator frees what it holds."""
