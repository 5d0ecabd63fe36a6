"""Cumulative products, maxima and minima, which ONNX lacks.

Each is a reduction over the elements up to a place: time and memory grow with the square of the length.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from modelport.frontends.rewrites.base import OperatorRewrite


def _prefixes(x: torch.Tensor, dim: int, fill: float | int) -> torch.Tensor:
    """Moves `dim` to the end, then adds an axis of the elements up to each place."""
    moved = x.movedim(dim, -1)
    index = torch.arange(moved.shape[-1], device=x.device)
    return moved.unsqueeze(-2).masked_fill(index > index[:, None], fill)


def _lowest(x: torch.Tensor) -> float | int:
    return float("-inf") if x.is_floating_point() else torch.iinfo(x.dtype).min


def _cumprod(x: torch.Tensor, dim: int, *, dtype: torch.dtype | None = None) -> Any:
    kind = dtype or (x.dtype if x.is_floating_point() else torch.int64)
    return _prefixes(x.to(kind), dim, 1).prod(-1).movedim(-1, dim)


def _cummax(x: torch.Tensor, dim: int) -> Any:
    prefixes = _prefixes(x, dim, _lowest(x))
    # Of equal elements torch names the last, argmax the first.
    back = prefixes.flip(-1).argmax(-1)
    return prefixes.amax(-1).movedim(-1, dim), (x.shape[dim] - 1 - back).movedim(-1, dim)


def _cummin(x: torch.Tensor, dim: int) -> Any:
    values, indices = _cummax(-x, dim)
    return -values, indices


class CumulativeProduct(OperatorRewrite):
    name = "cumprod"
    summary = "writes a cumulative product as products of prefixes"
    needed_by = "torch.cumprod, as in the transmittance of NeRF"
    target = "aten::cumprod"

    def decomposition(self) -> Callable[..., Any]:
        return _cumprod


class CumulativeMaximum(OperatorRewrite):
    name = "cummax"
    summary = "writes a cumulative maximum as maxima of prefixes"
    needed_by = "torch.cummax, as in the corner pooling of CornerNet"
    target = "aten::cummax"

    def decomposition(self) -> Callable[..., Any]:
        return _cummax


class CumulativeMinimum(OperatorRewrite):
    name = "cummin"
    summary = "writes a cumulative minimum as minima of prefixes"
    needed_by = "torch.cummin"
    target = "aten::cummin"

    def decomposition(self) -> Callable[..., Any]:
        return _cummin
