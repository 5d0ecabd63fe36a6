"""Files: one, those of a folder, those that a pattern matches, and those of a list."""

from __future__ import annotations

import glob
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import TextIO

from modelport.errors import DataError
from modelport.feeds import ARRAY_SUFFIXES, SUFFIXES
from modelport.runtime.sources.base import Item, Source
from modelport.runtime.sources.video import VIDEO_SUFFIXES, Video


class Files(Source):
    """Files of any kind; a video among them is all its frames.

    Args:
        paths: in their order.
        medium: what the model takes; only one of pictures takes the frames of a video.
        every: of a video, each so manieth frame.
    """

    def __init__(self, paths: Sequence[Path], medium: str, every: int = 1) -> None:
        self._paths, self._medium, self._every = paths, medium, every

    def count(self) -> int | None:
        videos = [source for path in self._paths if (source := self._video(path)) is not None]
        frames = [video.count() for video in videos]
        known = [number for number in frames if number is not None]
        return len(self._paths) - len(videos) + sum(known) if len(known) == len(videos) else None

    def __iter__(self) -> Generator[Item, None, None]:
        for path in self._paths:
            yield from self.of(path)

    def of(self, path: Path) -> Generator[Item, None, None]:
        """The items of one file."""
        video = self._video(path)
        if video is not None:
            yield from video
        else:
            yield Item(str(path), path, path)

    def _video(self, path: Path) -> Video | None:
        frames = self._medium == "picture" and path.suffix.lower() in VIDEO_SUFFIXES
        return Video(path, self._every) if frames else None


class Listed(Source):
    """The files that a text names, one to a line, read as results are taken."""

    def __init__(
        self, open_list: Callable[[], TextIO], medium: str, every: int = 1, *, waits: bool = False
    ) -> None:
        self._open, self._files = open_list, Files((), medium, every)
        self.waits = waits

    def count(self) -> int | None:
        return None

    def __iter__(self) -> Generator[Item, None, None]:
        with self._open() as lines:
            for line in lines:
                name = line.rstrip("\r\n")
                if name.strip():
                    yield from self._named(name)

    def _named(self, name: str) -> Generator[Item, None, None]:
        path = Path(name)
        if path.is_file():
            yield from self._files.of(path)
        else:
            error = DataError(f"There is no file {name}", hint="Check the lines of the list")
            yield Item(name, error=error)


def files_of(text: str, medium: str) -> list[Path]:
    """The files that a word of the command line stands for.

    Raises:
        DataError: where there are none.
    """
    path = Path(text)
    if path.is_dir():
        return _in_folder(path, medium)
    if path.exists():
        return [path]
    if not glob.has_magic(text):
        raise DataError(f"There is no file or folder {text}", hint="Check the path of the data")
    found = sorted(map(Path, glob.glob(text, recursive=True)))
    files = [each for each in found if each.is_file()]
    if not files:
        raise DataError(
            f"No file matches {text}", hint="Check the pattern; ** goes through all folders"
        )
    return files


def _in_folder(folder: Path, medium: str) -> list[Path]:
    known = SUFFIXES[medium] | ARRAY_SUFFIXES
    if medium == "picture":
        known |= VIDEO_SUFFIXES
    files = sorted(
        path for path in folder.rglob("*") if path.suffix.lower() in known and path.is_file()
    )
    if not files:
        raise DataError(
            f"The folder {folder} holds no data",
            expected=f"files ending in {', '.join(sorted(known))}",
        )
    return files
