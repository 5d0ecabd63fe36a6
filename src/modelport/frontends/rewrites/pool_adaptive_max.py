"""Adaptive maximum pooling of free sizes.

Torch breaks the operator up only where the input's size is a known number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from modelport.frontends.rewrites.base import OperatorRewrite


class PoolAdaptiveMax(OperatorRewrite):
    name = "pool_adaptive_max"
    summary = "writes adaptive maximum pooling of free sizes as masked maxima"
    needed_by = "nn.AdaptiveMaxPool2d(7) with free height and width"
    target = "aten::adaptive_max_pool2d"

    def decomposition(self) -> Callable[..., Any]:
        return _pool


def _pool(input: torch.Tensor, output_size: Sequence[int]) -> Any:
    height, width = input.shape[-2:]
    if type(height) is type(width) is int:
        return NotImplemented
    rows = _window(output_size[0], height, input.device)
    columns = _window(output_size[1], width, input.device)
    low = float("-inf")
    tall = input.unsqueeze(-3).masked_fill(~rows.unsqueeze(-1), low).amax(-2)
    values = tall.unsqueeze(-2).masked_fill(~columns, low).amax(-1)
    # Which element it was; torch drops these nodes where nobody asks.
    inside = rows[:, None, :, None] & columns[None, :, None, :]
    spread = input.unsqueeze(-3).unsqueeze(-4).masked_fill(~inside, low)
    return values, spread.flatten(-2).argmax(-1)


def _window(count: int, size: int, device: torch.device) -> torch.Tensor:
    """Which of `size` places belong to each of `count` windows."""
    index = torch.arange(count, device=device)
    start = index * size // count
    end = ((index + 1) * size + count - 1) // count
    place = torch.arange(size, device=device)
    return (place >= start[:, None]) & (place < end[:, None])
