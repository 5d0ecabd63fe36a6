"""Scattering means: torch's exporter adds up and never divides, without a word."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from modelport.frontends.rewrites.base import OperatorRewrite


def _is_mean(x: torch.Tensor, dim: int, index: Any, source: Any, reduce: str, **_: Any) -> bool:
    return reduce == "mean" and x.is_floating_point()


def _scatter(
    x: torch.Tensor,
    dim: int,
    index: torch.Tensor,
    source: torch.Tensor,
    reduce: str,
    *,
    include_self: bool = True,
) -> Any:
    if not _is_mean(x, dim, index, source, reduce):
        return NotImplemented
    begin = x if include_self else torch.zeros_like(x)
    count = torch.ones_like(x) if include_self else torch.zeros_like(x)
    # The source may be larger than the index.
    for axis, size in enumerate(index.shape):
        source = source.narrow(axis, 0, size)
    count = count.scatter_add(dim, index, torch.ones_like(source))
    mean = begin.scatter_add(dim, index, source) / count.clamp(min=1)
    return torch.where(count > 0, mean, x)


class ScatterMean(OperatorRewrite):
    name = "scatter_mean"
    summary = "divides scattered sums by their counts"
    needed_by = 'x.scatter_reduce(dim, index, source, "mean"), voxels and graphs'
    target = "aten::scatter_reduce.two"

    def concerns(self, *args: Any, **kwargs: Any) -> bool:
        return _is_mean(*args, **kwargs)

    def decomposition(self) -> Callable[..., Any]:
        return _scatter
