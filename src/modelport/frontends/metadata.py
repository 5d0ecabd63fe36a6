"""What ONNX files say of themselves beside their graph."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from modelport.errors import SourceError
from modelport.graph import io


def labels_in(
    path: str | Path,
    key: str = "character",
    *,
    before: Sequence[str] = (),
    after: Sequence[str] = (),
) -> list[str]:
    """The labels that an ONNX file has in its metadata, one to a line, for `Source(labels=...)`.

    PaddleOCR's readers leave out the blank, which is their first class, and the space, the last one:

        Source("reader.onnx", labels=labels_in("reader.onnx", before=[""], after=[" "]), ...)

    Args:
        key: the name of the entry.
        before, after: labels of the first and last classes, which it lacks.

    Raises:
        SourceError: where the file has no such entry.
    """
    found = io.load(Path(path)).metadata_props
    if key not in found:
        raise SourceError(
            f"{path} has no entry {key!r} in its metadata",
            expected=f"one of {', '.join(found)}" if found else "metadata, and the file has none",
        )
    return [*before, *found[key].splitlines(), *after]
