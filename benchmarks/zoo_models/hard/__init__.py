"""Hard little modules, one file for each theme: what exporters stumble over in real networks."""

from __future__ import annotations

import importlib

from zoo_models.case import Case

THEMES = (
    "attention",
    "containers",
    "control",
    "dynamic",
    "indexing",
    "kinds",
    "recurrent",
    "signal",
    "structure",
    "vision",
)


def cases() -> list[Case]:
    """Every case of every theme, named `theme/case`."""
    found = []
    for theme in THEMES:
        found += importlib.import_module(f"zoo_models.hard.{theme}").CASES
    return found
