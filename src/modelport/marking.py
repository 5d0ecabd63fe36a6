"""Marks places in the source of a model."""

from __future__ import annotations

import re
from typing import Any, TypeVar

from modelport.errors import UsageError

Tensor = TypeVar("Tensor")

keeper: Any = None
"""What keeps marks while a model is exported; see `frontends/marks.py`."""


def mark(x: Tensor, name: str) -> Tensor:
    """Marks a place in a PyTorch model, to be cut there: `modelport extract --split`.

    Write `x = modelport.mark(x, "neck")`. It gives its argument back, and costs nothing. An export keeps
    the place: the value in the graph carries the mark, and its name where that is free; there is no node
    for it. Passes leave marked values alone. Several tensors may have one mark.

    Args:
        x: a tensor.
        name: letters, digits, `_`, `-` and `.`.

    Returns:
        The tensor itself.
    """
    if keeper is None:
        return x
    if re.fullmatch(r"[\w.-]+", name) is None:
        raise UsageError(
            f"A tensor is marked {name!r}", expected="a name of letters, digits, '_', '-' and '.'"
        )
    kept: Tensor = keeper(x, name)
    return kept
