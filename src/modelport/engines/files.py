"""Files of an artifact for libraries that open only paths."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path

from modelport.types import Artifact, Blob


def as_file(blob: Blob, name: str, stack: ExitStack) -> Path:
    """The file itself, or for a slice of an archive a copy that is there until the stack is closed."""
    if blob.whole_file is not None:
        return blob.whole_file.resolve()
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="modelport-"))
    place = Path(folder) / name
    place.write_bytes(blob.view())
    return place


def as_folder(artifact: Artifact, stack: ExitStack) -> Path:
    """A folder with all files of the artifact, each named after its role."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="modelport-")))
    for role, blob in artifact.files.items():
        if blob.whole_file is not None:
            (folder / role).symlink_to(blob.whole_file.resolve())
        else:
            (folder / role).write_bytes(blob.view())
    return folder
