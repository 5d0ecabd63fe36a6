"""One input whose bytes come on standard input."""

from __future__ import annotations

import sys
from collections.abc import Generator
from typing import Any

from modelport.errors import DataError
from modelport.runtime.sources.base import Item, Source

NAME = "-"


class StandardInput(Source):
    """All that comes there, as the bytes of one file; for a model of texts, as one text."""

    def __init__(self, medium: str) -> None:
        self._medium = medium

    def count(self) -> int | None:
        return 1

    def __iter__(self) -> Generator[Item, None, None]:
        content = sys.stdin.buffer.read()
        if content:
            yield self._item(content)
        else:
            yield Item(NAME, error=DataError("Nothing came on standard input"))

    def _item(self, content: bytes) -> Item:
        taken: Any = content
        if self._medium == "text":
            try:
                taken = content.decode("utf-8")
            except UnicodeDecodeError as error:
                return Item(NAME, error=DataError(f"Standard input is no text: {error}"))
        return Item(NAME, taken)
