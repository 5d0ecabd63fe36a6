"""Adaptive average pooling that keeps one of the sizes.

`output_size=(None, 1)` keeps the height. torch.export's path fixes it at the one that was traced, and
larger inputs give wrong values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn import functional

from modelport.frontends.rewrites.base import FunctionRewrite


class PoolAdaptiveAverage(FunctionRewrite):
    name = "pool_adaptive_average"
    summary = "pools one axis alone where the size of the other is kept"
    needed_by = "nn.AdaptiveAvgPool2d((None, 1)) as in text recognition, with free sizes"
    target = "torch.nn.functional.adaptive_avg_pool2d"

    def replace(
        self,
        original: Callable[..., Any],
        /,
        input: torch.Tensor,
        output_size: int | Sequence[int | None] | None,
    ) -> Any:
        sizes: list[Any] = [output_size] * 2
        if isinstance(output_size, (list, tuple)):
            sizes = list(output_size)
        if None not in sizes:
            return NotImplemented
        if sizes[1] is not None:
            return _pool_last(input, sizes[1])
        if sizes[0] is not None:
            return _pool_last(input.transpose(-1, -2), sizes[0]).transpose(-1, -2)
        return input


def _pool_last(input: torch.Tensor, size: int) -> torch.Tensor:
    if size == 1:
        return input.mean(-1, keepdim=True)
    rows = functional.adaptive_avg_pool1d(input.flatten(-3, -2), size)
    return rows.reshape(*input.shape[:-1], size)
