"""Where inputs come from: files, folders, patterns, videos, cameras, standard input, lists."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from typing import TextIO

from modelport.errors import DataError, UsageError
from modelport.runtime.sources.base import Item, Source
from modelport.runtime.sources.files import Files, Listed, files_of
from modelport.runtime.sources.standard_input import NAME, StandardInput
from modelport.runtime.sources.video import Camera

__all__ = ["Item", "Source", "sources_of"]

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_CAMERA = re.compile(r"camera(?::(?P<device>.+))?")
_DEVICES = "/dev/video"


def sources_of(
    words: Sequence[str], *, medium: str = "picture", every: int = 1, lists: bool = False
) -> list[Source]:
    """The sources that words of a command line stand for, in their order.

    Args:
        words: files, folders, patterns with `*`, `camera`, `camera:1`, and `-` for standard input.
        medium: what the model takes: `picture`, `sound` or `text`.
        every: of a video or camera, each so manieth frame.
        lists: whether each word is a text that names files, one to a line.

    Raises:
        DataError: where a word stands for nothing that is there.
        UsageError: for a URL, and where standard input is named twice.
    """
    if sum(word == NAME for word in words) > 1:
        raise UsageError("Standard input (-) is named more than once", expected="it once")
    if lists:
        return [_listed(_no_url(word), medium, every) for word in words]
    return [_source(_no_url(word), medium, every) for word in words]


def _source(word: str, medium: str, every: int) -> Source:
    if word == NAME:
        return StandardInput(medium)
    camera = None if Path(word).exists() else _CAMERA.fullmatch(word)
    if word.startswith(_DEVICES):
        return Camera(word, every)
    if camera is not None:
        device = camera["device"] or "0"
        return Camera(int(device) if device.isdigit() else device, every)
    return Files(files_of(word, medium), medium, every)


def _no_url(word: str) -> str:
    if _URL.match(word):
        raise UsageError(
            f"{word} is an address on a network, and modelport fetches nothing",
            expected="a file, a folder, a pattern, camera:0, or - for standard input",
            hint="Fetch it with another program and pass the file, or pipe it in and pass -",
        )
    return word


def _listed(word: str, medium: str, every: int) -> Listed:
    if word != NAME and not Path(word).is_file():
        raise DataError(f"There is no list {word}", hint="Check its path")
    return Listed(partial(_list, word), medium, every, waits=word == NAME)


def _list(word: str) -> TextIO:
    if word == NAME:
        return TextIOWrapper(sys.stdin.buffer, encoding="utf-8", errors="surrogateescape")
    return open(word, encoding="utf-8", errors="surrogateescape")
