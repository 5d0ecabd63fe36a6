"""Whether a package is here."""

from __future__ import annotations

from importlib.util import find_spec


def is_installed(module: str) -> bool:
    """Whether a module can be found; nothing of it is imported, but for the packages it lies in."""
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False
