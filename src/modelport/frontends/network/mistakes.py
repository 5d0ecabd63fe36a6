"""Mistakes in a network, told in the words of the layer that was called and of the user's own line."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Iterable
from pathlib import Path, PurePath
from types import FrameType

from modelport.errors import UsageError

_HERE = str(Path(__file__).parent) + os.sep
_LIBRARY = (os.sep + "site-packages" + os.sep, os.sep + "dist-packages" + os.sep)


class Refused(UsageError):
    """A layer cannot be built; the layer that the user called adds its name and line."""


def user_line() -> str | None:
    """The innermost place outside the builder from which it was called, as `file:line`."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if not file.startswith(_HERE) and not _is_contextlib(file):
            return f"{PurePath(file).name}:{frame.f_lineno}"
        frame = frame.f_back
    return None


def _is_contextlib(file: str) -> bool:
    return file.endswith(f"{os.sep}contextlib.py") and not any(part in file for part in _LIBRARY)


def nearest(name: str, known: Iterable[str], most: int = 3) -> str | None:
    """What the user may have meant, as a hint."""
    choices = list(known)
    lowered = {choice.lower(): choice for choice in choices}
    found = difflib.get_close_matches(name, choices, n=most)
    found = found or [
        lowered[near] for near in difflib.get_close_matches(name.lower(), lowered, n=most)
    ]
    if not found:
        return None
    return f"Perhaps you meant {' or '.join(repr(choice) for choice in found)}"
