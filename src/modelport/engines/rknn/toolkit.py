"""The toolkit behind its own words: it logs and prints its reasons, and gives numbers back."""

from __future__ import annotations

import ctypes
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rknn.api import RKNN

from modelport.errors import EngineError

NAME = "rknn"
PLATFORM = "rk3588"
LAST_WORDS = 300

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def platform_of(device: str) -> str:
    """`cpu`, which stands where nobody named a platform, and `npu` are the default one."""
    name = device.strip().lower()
    return PLATFORM if name in ("", "cpu", "npu") else name


class Toolkit:
    """One model in the toolkit; each step raises where the toolkit would only return -1.

    Args:
        platform: `rk3588`, say; None for a model whose files name it.
    """

    def __init__(self, platform: str | None) -> None:
        self.said = ""
        self.model = RKNN(verbose=False)
        if platform is not None:
            self.do("configuring", lambda: self.model.config(target_platform=platform))

    def do(self, doing: str, step: Callable[[], object]) -> None:
        with _captured() as read:
            try:
                status = step()
                problem = None
            except Exception as error:
                status, problem = -1, error
        self.said += (said := read())
        if status not in (0, None):
            words = _reason(str(problem or "")) or _errors(said) or f"it gave {status}"
            raise EngineError(f"{NAME} failed while {doing}: {words[:LAST_WORDS]}")

    def close(self) -> None:
        with _captured():
            self.model.release()


def _reason(text: str) -> str:
    """The message at the end of a traceback that was put into an error."""
    found = re.split(r"^[\w.]+(?:Error|Exception|Graph|Fail|Argument): ", text, flags=re.MULTILINE)
    return " ".join(found[-1].split())


def _errors(said: str) -> str:
    lines = [line for line in said.splitlines() if re.match(r"(E|ERROR)\b", line)]
    return " | ".join(" ".join(line.split()) for line in lines[-3:])


@contextmanager
def _captured() -> Iterator[Callable[[], str]]:
    """What Python and native code print meanwhile, without colours and progress bars."""
    with tempfile.TemporaryFile() as file:
        kept = {number: os.dup(number) for number in (1, 2)}
        for number in kept:
            os.dup2(file.fileno(), number)

        def read() -> str:
            return text

        text = ""
        try:
            yield read
        finally:
            ctypes.CDLL(None).fflush(None)  # native code keeps its lines until then
            for number, before in kept.items():
                os.dup2(before, number)
                os.close(before)
            file.seek(0)
            text = _COLOURS.sub("", file.read().decode(errors="replace"))


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    """The toolkit writes beside itself: its current folder is that one meanwhile."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
