"""What is open, and is closed again at the end of a `with` block."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import TypeVar

Open = TypeVar("Open", bound="Closing")


class Closing(ABC):
    """Base of context managers that are open from the start, and have a `close` for those without a block."""

    @abstractmethod
    def close(self) -> None:
        """Lets go of everything. May be called twice."""

    def __enter__(self: Open) -> Open:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
