"""Models as ONNX Runtime leaves them after its own optimisation, kept for the next start.

It optimises whenever a session opens, which is half of what that takes. The outcome depends on the
processor, so it is kept on this machine and never in a bundle.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import onnxruntime as ort

from modelport.engines.cache import own_folder, prune_own
from modelport.types import Artifact

CONTENT = "content"
"""Option of an artifact: the digest of its model, so that opening it need not compute one."""


def content_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 22):
            digest.update(chunk)
    return digest.hexdigest()


def kept_at(artifact: Artifact) -> Path | None:
    """Where its optimised form is, or will be; None where it is not kept.

    A model with weights beside it is not: it is large, and would be on the disk twice.
    """
    content = artifact.options.get(CONTENT)
    folder = own_folder("onnxruntime")
    if folder is None or content is None or list(artifact.files) != ["model"]:
        return None
    blob = artifact.files["model"]
    # A file that was changed after it was compiled is another model, whatever the options say.
    told = [content, blob.size_bytes, blob.path.stat().st_mtime_ns, ort.get_build_info()]
    told += [artifact.options["layout"]] if "layout" in artifact.options else []
    told += ["quantized"] if artifact.options.get("quantized") else []
    return folder / f"{hashlib.sha256(json.dumps(told).encode()).hexdigest()[:32]}.onnx"


def reopened(
    place: Path, open_: Callable[[Path], ort.InferenceSession]
) -> ort.InferenceSession | None:
    """A session on what is kept there; None where nothing is, or nothing of use."""
    if not place.is_file():
        return None
    try:
        session = open_(place)
    except Exception:
        with suppress(OSError):
            place.unlink()
        return None
    with suppress(OSError):
        os.utime(place)
    return session


def kept(place: Path, open_: Callable[[Path | None], ort.InferenceSession]) -> ort.InferenceSession:
    """A session on the model itself; its optimised form is kept where the disk has room for it.

    Args:
        open_: opens the model and writes its optimised form to the path, if there is one.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="partial-", dir=place.parent) as scratch:
            session = open_(Path(scratch) / place.name)
            (Path(scratch) / place.name).replace(place)
    except Exception:  # the disk is full or only read; or the model is no model, which is said next
        return open_(None)
    with suppress(OSError):
        prune_own("onnxruntime")
    return session
