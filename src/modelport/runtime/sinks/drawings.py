"""Pictures, and videos, with results drawn on them."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from modelport.feeds import ARRAY_SUFFIXES
from modelport.runtime.failed import Failed
from modelport.runtime.mapping import default_workers
from modelport.runtime.sinks.base import Sink
from modelport.runtime.sinks.film import Film
from modelport.runtime.sources.base import Item
from modelport.runtime.tasks.base import Result
from modelport.runtime.transforms.image import Decode

_LIGHT = 1
"""Level of compression of PNG: several times as fast as the usual 6, for files a little larger."""


class Draws(Protocol):
    """A task, or a chain of them."""

    def draw(self, image: Image.Image, result: Any) -> Image.Image: ...


class Drawings(Sink):
    """PNG files under the names of the pictures, and a video for the frames of each video, in a folder.

    Several threads draw, each another picture. Files are written under other names first.

    Args:
        draws: the task.
        orientation: how the transforms turn pictures, so that places meet the same pixels.
    """

    def __init__(self, folder: Path, draws: Draws, orientation: str = "ignore") -> None:
        self.folder, self._draws = folder, draws
        self._decode = Decode(orientation="exif" if orientation == "exif" else "ignore")
        self._names: set[str] = set()
        self._left_out = 0
        self._pending: deque[_Drawing] = deque()
        self._film: Film | None = None

    def open(self) -> None:
        workers = default_workers()
        self._most = 2 * workers
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="modelport-draw")

    def write(self, item: Item, result: Result) -> None:
        if isinstance(result, Failed):
            return
        if not _is_picture(item):
            self._left_out += 1
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        self._pending.append(self._started(item, result))
        while len(self._pending) > self._most:
            self._settle()

    def close(self, *, whole: bool) -> list[str]:
        try:
            while whole and self._pending:
                self._settle()
        finally:
            self._pool.shutdown(cancel_futures=True)
            if self._film is not None:
                self._film.close(whole=whole)
        if not self._left_out:
            return []
        return [f"{self._left_out} inputs are no pictures, and nothing was drawn of them"]

    def _started(self, item: Item, result: Result) -> _Drawing:
        if item.frame is not None:
            return _Drawing(self._pool.submit(self._drawn, item, result), self._to_film(item))
        target = self.folder / self._free_name(Path(item.name).stem.lstrip("-") or "stdin", ".png")
        return _Drawing(self._pool.submit(self._saved, item, result, target))

    def _to_film(self, item: Item) -> Callable[[Image.Image], None]:
        def add(image: Image.Image) -> None:
            if self._film is None or self._film.name != item.name:
                if self._film is not None:
                    self._film.close(whole=True)
                stem = Path(item.name.replace(":", "")).stem
                target = self.folder / self._free_name(stem, ".mp4")
                self._film = Film(item.name, target, item.rate or 25.0)
            self._film.add(image)

        return add

    def _settle(self) -> None:
        drawing = self._pending.popleft()
        image = drawing.made.result()
        if drawing.then is not None:
            drawing.then(image)

    def _drawn(self, item: Item, result: Result) -> Image.Image:
        return self._draws.draw(self._decode(item.content), result)

    def _saved(self, item: Item, result: Result, target: Path) -> None:
        part = target.with_name(f".{target.name}.part")
        try:
            self._drawn(item, result).save(part, "PNG", compress_level=_LIGHT)
            os.replace(part, target)
        finally:
            part.unlink(missing_ok=True)

    def _free_name(self, stem: str, suffix: str) -> str:
        """Pictures of one name, from several folders, get numbers."""
        number, name = 1, f"{stem}{suffix}"
        while name in self._names:
            number += 1
            name = f"{stem}_{number}{suffix}"
        self._names.add(name)
        return name


@dataclass
class _Drawing:
    """A drawing under way, and what becomes of it in its turn."""

    made: Future[Any]
    then: Callable[[Image.Image], None] | None = None


def orientation_of(answers: Any) -> str:
    """How a predictor, or a chain of them, turns the pictures it is given."""
    preprocessor = getattr(answers, "preprocessor", None)
    decode = getattr(preprocessor, "decode", None) or getattr(answers, "_decode", None)
    return getattr(decode, "orientation", "ignore")


def _is_picture(item: Item) -> bool:
    if item.path is not None:
        return item.path.suffix.lower() not in ARRAY_SUFFIXES
    return isinstance(item.content, (bytes, np.ndarray))
