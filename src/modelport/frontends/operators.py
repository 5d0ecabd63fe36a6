"""Reads what a user hands over as libraries of operators."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from modelport.engines import ENGINES
from modelport.errors import UsageError

_LIBRARIES = (".so", ".dll", ".dylib")


def read_operators(given: Any) -> dict[str, tuple[str, ...]]:
    """The libraries by engine; a plain list is for ONNX Runtime.

    Args:
        given: entries, or entries by engine. An entry is the path of a shared library, or a package
            with `get_library_path`, such as `onnxruntime_extensions`, itself or by name.

    Raises:
        UsageError: for an entry that is neither, and for an engine that does not exist.
    """
    by_engine = given if isinstance(given, Mapping) else {"onnxruntime": given or ()}
    found = {}
    for engine, entries in by_engine.items():
        ENGINES.get(engine)
        names = [entries] if isinstance(entries, (str, Path, ModuleType)) else list(entries)
        if names:
            found[engine] = tuple(_entry(name, engine) for name in names)
    return found


def parse_operators(texts: Sequence[str] | None) -> dict[str, list[str]] | None:
    """Reads `LIBRARY` and `ENGINE=LIBRARY` as the command line has them."""
    found: dict[str, list[str]] = {}
    for text in texts or ():
        engine, separator, library = text.partition("=")
        found.setdefault(engine if separator else "onnxruntime", []).append(library or text)
    return found or None


def _entry(name: Any, engine: str) -> str:
    if isinstance(name, ModuleType):
        name = name.__name__
    path = Path(name)
    if path.is_file():
        return str(path.resolve())
    if path.suffix in _LIBRARIES or len(path.parts) > 1:
        raise UsageError(f"There is no library {name}", hint="Build it, and check its path")
    if engine != "onnxruntime" or not _has_library(str(name)):
        packages = ", or a package with get_library_path" if engine == "onnxruntime" else ""
        raise UsageError(
            f"{name!r} was given as a library of operators for {engine}",
            expected=f"the path of a shared library (.so){packages}",
            hint=f"Install it with: pip install {name}"
            if packages and not find_spec(name)
            else None,
        )
    return str(name)


def _has_library(name: str) -> bool:
    if not name.isidentifier() or find_spec(name) is None:
        return False
    return callable(getattr(importlib.import_module(name), "get_library_path", None))
