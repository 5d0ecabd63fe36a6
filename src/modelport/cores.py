"""How many processors there are for this process."""

from __future__ import annotations

import os


def usable_cores() -> int:
    """Those that it may use, where the system tells; else all."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1
