"""The angle of a point, right on the negative half of the first axis.

torch's exporter says -pi where the second coordinate is zero and the first is negative; torch says pi.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from modelport.frontends.rewrites.base import OperatorRewrite


def _atan2(y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    slope = torch.atan(y / x)
    turned = torch.where(y >= 0, slope + math.pi, slope - math.pi)
    angle = torch.where(x < 0, turned, slope)
    return torch.where((x == 0) & (y == 0), torch.zeros_like(angle), angle)


def _angle(x: torch.Tensor) -> Any:
    return _atan2(x.imag, x.real) if x.is_complex() else NotImplemented


class Atan2(OperatorRewrite):
    name = "atan2"
    summary = "gives pi and not -pi where y is 0 and x negative"
    needed_by = "torch.atan2 of coordinates, rotated boxes say, where one is exactly zero"
    target = "aten::atan2"

    def decomposition(self) -> Callable[..., Any]:
        return _atan2


class Angle(OperatorRewrite):
    name = "angle"
    summary = "gives pi and not -pi for negative real numbers"
    needed_by = "torch.angle of a spectrum"
    target = "aten::angle"

    def concerns(self, *args: Any, **kwargs: Any) -> bool:
        return bool(args[0].is_complex())

    def decomposition(self) -> Callable[..., Any]:
        return _angle
