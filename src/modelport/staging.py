"""Folders that are filled beside their final place, so that nothing half-written ever stands there."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from modelport.errors import ModelportError


@contextmanager
def stage_beside(output: Path, error: type[ModelportError]) -> Iterator[Path]:
    """A new folder beside `output`, which goes away with the block, as do parents that were made for it.

    Args:
        error: raised where nothing can be written there.
    """
    missing = [folder for folder in output.parents if not folder.exists()]
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=f".{output.name}-", dir=output.parent))
    except OSError as problem:
        raise error(
            f"Nothing can be written at {output.parent} ({problem.strerror})",
            hint="Choose another place with -o",
        ) from problem
    try:
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        for folder in missing:  # the innermost first; one that holds the result stays
            with suppress(OSError):
                folder.rmdir()
