"""What the zoo holds: groups of cases, each a model with its inputs. See `docs/zoo.md`."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

from zoo_models.case import Case

GROUPS = {
    "hard": "zoo_models.hard",
    "timm": "zoo_models.timm_families",
    "huggingface": "zoo_models.huggingface",
    "text": "zoo_models.text_encoders",
    "torchvision": "zoo_models.torchvision_models",
}
"""Group and the module whose `cases()` lists it; that module is imported only when it is asked for."""


def cases(group: str) -> Mapping[str, Case]:
    """The cases of a group by name, in a fixed order. Nothing is built yet."""
    found = importlib.import_module(GROUPS[group]).cases()
    names = [case.name for case in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    assert not twice, f"Names given twice in {group}: {', '.join(twice)}"
    return {case.name: case for case in found}
