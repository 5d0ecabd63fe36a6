"""Reading and editing an `onnx_ir.Model`; no class of ours wraps it.

`find`, `edit`, `ports`, `weights`, `extract`, `merge`, `diff` and `recipe` are what users call; each is
imported on first use.
"""

from __future__ import annotations

import importlib
from typing import Any

_FOR_USERS = (
    "describe",
    "diff",
    "edit",
    "extract",
    "find",
    "group",
    "io",
    "merge",
    "ports",
    "recipe",
    "retype",
    "weights",
)


def __getattr__(name: str) -> Any:
    if name in _FOR_USERS:
        return importlib.import_module(f"modelport.graph.{name}")
    raise AttributeError(f"module 'modelport.graph' has no attribute {name!r}")
