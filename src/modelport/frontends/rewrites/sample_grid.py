"""Affine grids of free sizes, and sampling volumes by a grid.

Torch's path fixes the size of an affine grid. OpenVINO takes GridSample for pictures alone, not volumes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch

from modelport.frontends.rewrites.base import TORCH_EXPORT, FunctionRewrite, OperatorRewrite


class AffineGrid(FunctionRewrite):
    name = "affine_grid"
    summary = "computes the grid from free sizes"
    needed_by = "F.affine_grid(theta, x.shape), spatial transformers, with free sizes"
    target = "torch.nn.functional.affine_grid"
    exporters = (TORCH_EXPORT,)

    def replace(
        self,
        original: Callable[..., Any],
        /,
        theta: torch.Tensor,
        size: Sequence[int],
        align_corners: bool | None = None,
    ) -> Any:
        sizes = list(size[2:])
        if all(type(each) is int for each in sizes):
            return NotImplemented
        # The last axis comes first in a coordinate.
        axes = [_coordinates(each, bool(align_corners), theta) for each in sizes]
        mesh = torch.meshgrid(*axes, indexing="ij")[::-1]
        base = torch.stack([*mesh, torch.ones_like(mesh[0])], -1)
        flat = base.reshape(1, -1, len(sizes) + 1) @ theta.mT
        return flat.reshape(theta.shape[0], *sizes, len(sizes))


def _coordinates(size: int, align_corners: bool, like: torch.Tensor) -> torch.Tensor:
    index = torch.arange(size, dtype=like.dtype, device=like.device)
    if align_corners:
        return index * 2 / (size - 1) - 1
    return (index * 2 + 1) / size - 1


def _is_known(mode: int, padding: int) -> bool:
    """Linear or nearest, zeros or the border around."""
    return mode <= 1 and padding <= 1


def _sample(
    input: torch.Tensor, grid: torch.Tensor, mode: int, padding: int, align_corners: bool
) -> Any:
    if not _is_known(mode, padding):
        return NotImplemented
    sizes = input.shape[2:]
    places = []
    for axis, size in enumerate(reversed(sizes)):
        place = grid[..., axis]
        place = (place + 1) / 2 * (size - 1) if align_corners else ((place + 1) * size - 1) / 2
        places.append(place.clamp(0, size - 1) if padding == 1 else place)
    places.reverse()
    if mode == 1:
        return _take(input, [place.round() for place in places])
    low = [place.floor() for place in places]
    result: Any = 0.0
    for corner in itertools.product((0, 1), repeat=3):
        weight = torch.ones_like(low[0])
        for place, floor, up in zip(places, low, corner, strict=True):
            share = place - floor
            weight = weight * (share if up else 1 - share)
        picked = _take(input, [floor + up for floor, up in zip(low, corner, strict=True)])
        result = result + picked * weight.unsqueeze(1)
    return result


def _take(input: torch.Tensor, places: Sequence[torch.Tensor]) -> torch.Tensor:
    """Elements at whole places, zeros outside; [N, C, D, H, W] and [N, d, h, w] give [N, C, d, h, w]."""
    index = torch.zeros_like(places[0], dtype=torch.int64)
    inside = torch.ones_like(places[0], dtype=torch.bool)
    for place, size in zip(places, input.shape[2:], strict=True):
        inside = inside & (place >= 0) & (place <= size - 1)
        index = index * size + place.clamp(0, size - 1).long()
    flat = index.flatten(1).unsqueeze(1).expand(-1, input.shape[1], -1)
    taken = input.flatten(2).gather(2, flat).reshape(*input.shape[:2], *places[0].shape[1:])
    return taken * inside.unsqueeze(1)


class SampleVolume(OperatorRewrite):
    name = "grid_sample_volume"
    summary = "samples volumes by gathering the corners around each place"
    needed_by = "F.grid_sample of 5-D tensors, stereo and medical registration; OpenVINO"
    target = "aten::grid_sampler_3d"
    inside = ("aten::grid_sampler",)

    def concerns(self, *args: Any, **kwargs: Any) -> bool:
        return _is_known(args[2], args[3])

    def decomposition(self) -> Callable[..., Any]:
        return _sample
