"""Where modelport keeps what it can make again: environments of engines, compiled artifacts."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def home() -> Path:
    """`MODELPORT_HOME`, or a folder of ours where the system keeps caches. It may not exist yet."""
    chosen = os.environ.get("MODELPORT_HOME")
    if chosen:
        return Path(chosen).expanduser().absolute()
    return _caches() / "modelport"


def _caches() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
