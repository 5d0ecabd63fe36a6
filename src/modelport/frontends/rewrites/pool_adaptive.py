"""Adaptive pooling to sizes that do not divide the input's.

Torch's path leaves adaptive maximum pooling, and all in three dimensions, without a translation. For
average pooling of free sizes it fixes the windows at those of the traced input: other sizes give wrong
numbers, in `F.interpolate(mode="area")` and `output_size=(None, 1)` too. Here each axis is pooled by
itself, over windows computed from its size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from modelport.frontends.rewrites.base import OperatorRewrite


def _average_needs(x: torch.Tensor, output_size: Sequence[int]) -> bool:
    """Torch does well with the mean of all, and in two dimensions with known sizes."""
    known = len(output_size) == 2 and all(type(size) is int for size in x.shape[-2:])
    return not known and any(type(count) is not int or count > 1 for count in output_size)


def _maximum_needs(x: torch.Tensor, output_size: Sequence[int]) -> bool:
    """Torch does well with windows of one size."""
    sizes = x.shape[-len(output_size) :]
    if all(type(count) is int and count == 1 for count in output_size):
        return False
    known = all(type(size) is int for size in sizes)
    return not known or any(s % c for s, c in zip(sizes, output_size, strict=True))


def _average(x: torch.Tensor, output_size: Sequence[int]) -> Any:
    if not _average_needs(x, output_size):
        return NotImplemented
    for axis, count in enumerate(output_size, start=-len(output_size)):
        if torch.fx.experimental.symbolic_shapes.statically_known_true(count == x.shape[axis]):
            continue
        if type(count) is int and count == 1:
            x = x.mean(axis, keepdim=True)
            continue
        windows = _windows(count, x.shape[axis], x.device).to(x.dtype)
        weights = windows / windows.sum(-1, keepdim=True)
        x = (x.transpose(axis, -1) @ weights.mT).transpose(axis, -1)
    return x


def _maximum(x: torch.Tensor, output_size: Sequence[int]) -> Any:
    if not _maximum_needs(x, output_size):
        return NotImplemented
    axes = len(output_size)
    values, spread = x, x
    inside = torch.ones([1] * (2 * axes), dtype=torch.bool, device=x.device)
    for axis, count in enumerate(output_size, start=-axes):
        windows = _windows(count, x.shape[axis], x.device)
        moved = values.transpose(axis, -1).unsqueeze(-2)
        values = moved.masked_fill(~windows, float("-inf")).amax(-1).transpose(axis, -1)
        # [places along the other axes..., windows] beside [size along the other axes..., size]
        shape = [1] * (2 * axes)
        shape[axis - axes], shape[axis] = windows.shape
        inside = inside & windows.reshape(shape)
    # Which element it was; torch drops these nodes where nobody asks.
    for _ in range(axes):
        spread = spread.unsqueeze(-axes - 1)
    spread = spread.masked_fill(~inside, float("-inf"))
    return values, spread.flatten(-axes).argmax(-1)


def _windows(count: int, size: int, device: torch.device) -> torch.Tensor:
    """Which of `size` places belong to each of `count` windows."""
    index = torch.arange(count, device=device)
    start = index * size // count
    end = ((index + 1) * size + count - 1) // count
    place = torch.arange(size, device=device)
    return (place >= start[:, None]) & (place < end[:, None])


class _Average(OperatorRewrite):
    summary = "pools each axis by a matrix of windows"

    def concerns(self, *args: Any, **kwargs: Any) -> bool:
        return _average_needs(*args, **kwargs)

    def decomposition(self) -> Callable[..., Any]:
        return _average


class _Maximum(OperatorRewrite):
    summary = "pools each axis by maxima over masked windows"

    def concerns(self, *args: Any, **kwargs: Any) -> bool:
        return _maximum_needs(*args, **kwargs)

    def decomposition(self) -> Callable[..., Any]:
        return _maximum


class AverageOf2d(_Average):
    name = "adaptive_avg_pool2d"
    needed_by = 'nn.AdaptiveAvgPool2d(7) or (None, 1), F.interpolate(mode="area"), with free sizes'
    target = "aten::adaptive_avg_pool2d"


class AverageOf3d(_Average):
    name = "adaptive_avg_pool3d"
    needed_by = "nn.AdaptiveAvgPool3d to more than one element"
    target = "aten::adaptive_avg_pool3d"


class MaximumOf2d(_Maximum):
    name = "adaptive_max_pool2d"
    needed_by = "nn.AdaptiveMaxPool2d to sizes that do not divide, or of free sizes"
    target = "aten::adaptive_max_pool2d"


class MaximumOf3d(_Maximum):
    name = "adaptive_max_pool3d"
    needed_by = "nn.AdaptiveMaxPool3d to sizes that do not divide, or of free sizes"
    target = "aten::adaptive_max_pool3d"
