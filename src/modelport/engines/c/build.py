"""Makes a library of a C file with the compiler of this machine."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from modelport.engines.native import COMPILERS, missing_compiler
from modelport.errors import EngineError, EngineUnavailableError

SOURCE, HEADER, WEIGHTS, LIBRARY = "model.c", "model.h", "weights.bin", "model.so"

FLAGS = ("-std=gnu11", "-O3", "-march=native", "-fPIC", "-shared")
"""For the library alone, which never leaves this kind of processor."""

COMPILE_S = 600.0


def compiler() -> str | None:
    """The first of the usual names that is on PATH."""
    return next(filter(None, map(shutil.which, COMPILERS)), None)


def build(folder: Path, library: Path) -> None:
    """Compiles the source in the folder; the compiler's first error becomes ours.

    Raises:
        EngineUnavailableError: where there is no compiler.
        EngineError: where it fails.
    """
    program = compiler()
    if program is None:
        raise EngineUnavailableError(missing_compiler() or "there is no C compiler")
    command = [program, *FLAGS, SOURCE, "-o", str(library), "-lm"]
    try:
        done = subprocess.run(  # noqa: S603  (a compiler, no shell)
            command, cwd=folder, capture_output=True, text=True, errors="replace",
            timeout=COMPILE_S, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise EngineError(f"{program} was stopped after {COMPILE_S:g} s") from error
    if done.returncode != 0:
        lines = done.stderr.splitlines()
        told = [line for line in lines if "error" in line] or lines[-3:] or ["nothing"]
        raise EngineError(f"{program} cannot compile the generated C. It said: {told[0]}")
