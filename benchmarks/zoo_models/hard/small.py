"""Modules around a single function, so that a case of one line stays one line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from zoo_models.case import Case, Inputs


class OfX(nn.Module):
    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


class OfXY(nn.Module):
    def __init__(self, function: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor, y: Tensor) -> Any:
        return self.function(x, y)


def case_of(
    theme: str, name: str, inputs: Inputs, function: Callable[..., Any], **settings: Any
) -> Case:
    """A case around a function of `x`, or of `x` and `y`."""
    wrapper = OfX if len(inputs) == 1 else OfXY
    return Case(f"{theme}/{name}", lambda: wrapper(function), inputs, **settings)
