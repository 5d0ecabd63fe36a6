"""The contract of a sink: where results go besides the terminal."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from pathlib import Path

from modelport.runtime.sources.base import Item
from modelport.runtime.tasks.base import Result


class Sink(ABC):
    """Takes results in the order of their inputs, from one thread."""

    @abstractmethod
    def open(self) -> None:
        """Makes ready. Nothing is there under the final name before `close`."""

    @abstractmethod
    def write(self, item: Item, result: Result) -> None:
        """Takes one result, which may be a `Failed`."""

    @abstractmethod
    def close(self, *, whole: bool) -> list[str]:
        """Ends it.

        Args:
            whole: whether all results came: then what was written moves into place. Else it is taken away,
                unless a part of it is of use.

        Returns:
            Sentences for the user: what is not where it might be expected.
        """


class FileSink(Sink):
    """One file, written beside its place under a name that ends in `.part`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.part = path.with_name(f"{path.name}.part")

    def open(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._open(self.part)

    def close(self, *, whole: bool) -> list[str]:
        try:
            self._finish(whole)
        except BaseException:
            self.part.unlink(missing_ok=True)
            raise
        if whole:
            os.replace(self.part, self.path)
            return []
        return self._left()

    @abstractmethod
    def _open(self, part: Path) -> None: ...

    @abstractmethod
    def _finish(self, whole: bool) -> None:
        """Writes what is left to write, and closes the file."""

    def _left(self) -> list[str]:
        self.part.unlink(missing_ok=True)
        return []
