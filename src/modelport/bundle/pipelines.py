"""What tells a pipeline of bundles from a bundle, without opening either."""

from __future__ import annotations

from pathlib import Path

from modelport.bundle.read import small_file
from modelport.errors import BundleError

PIPELINE_NAME = "pipeline.json"
PIPELINE_FORMAT = "modelport-pipeline"
"""Several bundles in one folder or archive, and how they work together."""


def is_pipeline(path: Path) -> bool:
    """Whether a pipeline of ours is there, folder or archive; other toolkits have files of that name too."""
    if not path.exists() or (path.is_file() and path.suffix != ".zip"):
        return False
    try:
        return PIPELINE_FORMAT.encode() in (small_file(path, PIPELINE_NAME) or b"")
    except BundleError:
        return False
