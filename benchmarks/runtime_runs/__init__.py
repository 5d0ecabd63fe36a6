"""The models of `benchmarks/runtime.py`. Another one is a file here with a `CASE`, and its line below."""

from __future__ import annotations

from importlib import import_module

from runtime_runs.case import Case

NAMES = ("classification", "detection", "segmentation", "ocr")


def cases(only: str = "") -> list[Case]:
    """Those whose name contains a text."""
    return [import_module(f"runtime_runs.{name}").CASE for name in NAMES if only in name]
