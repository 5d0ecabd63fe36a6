"""Keypoints: where the heatmaps of each box are highest, to the pixel of the box.

torchvision resizes the heatmaps of one box after the other to the size of the box, which is a value
in a tensor. Here all boxes get the size of the largest, and places beyond a box don't count.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from modelport.frontends.rewrites.base import TORCH_EXPORT, FunctionRewrite

CUBIC = -0.75
"""The coefficient of torch's bicubic interpolation."""


class HeatmapsToKeypoints(FunctionRewrite):
    name = "detection_keypoints"
    summary = "resizes heatmaps by matrices of weights and finds their highest places"
    needed_by = "torchvision's Keypoint R-CNN"
    target = "torchvision.models.detection.roi_heads.heatmaps_to_keypoints"
    package = "torchvision>=0.20"
    exporters = (TORCH_EXPORT,)

    def replace(
        self, original: Callable[..., Any], /, maps: torch.Tensor, rois: torch.Tensor
    ) -> Any:
        lengths = (rois[:, 2:] - rois[:, :2]).clamp(min=1)
        counts = lengths.ceil()
        columns, outside_columns = _resizing(counts[:, 0], maps.shape[3])
        rows, outside_rows = _resizing(counts[:, 1], maps.shape[2])
        outside = outside_rows[:, :, None] + outside_columns[:, None]
        # One keypoint at a time: all of them at the size of a picture take gigabytes.
        resized = (rows @ each @ columns.transpose(1, 2) + outside for each in maps.unbind(1))
        found = [_highest(each) for each in resized]
        pixels, scores = (torch.stack(parts, 1) for parts in zip(*found, strict=True))
        places = (pixels.to(rois) + 0.5) * (lengths / counts)[:, None] + rois[:, None, :2]
        return torch.cat([places, torch.ones_like(places[..., :1])], 2), scores


def _highest(maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Column and row of the highest pixel of each map, the first in order of rows, and its value."""
    best, column = maps.max(2)
    row = best.argmax(1, keepdim=True)
    return torch.cat([column.gather(1, row), row], 1), best.amax(1)


def _resizing(counts: torch.Tensor, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights that resize an axis bicubically, as torch does, for boxes of different sizes.

    Args:
        counts: pixels of each box along the axis.
        size: of the heatmaps along the axis.

    Returns:
        boxes x pixels x size, with as many pixels as the largest box has; and boxes x pixels, with
        minus infinity at those that a box does not have.
    """
    most: Any = torch.cat([counts, counts.new_ones(1)]).to(torch.int64).max().item()
    checked: Any = torch._check
    checked(most >= 1)
    pixel = torch.arange(most, device=counts.device).to(counts)
    place = (pixel + 0.5) * (size / counts)[:, None] - 0.5
    low = place.floor()
    element = torch.arange(size, device=counts.device).to(counts)
    weights = torch.zeros_like(place)[:, :, None] * element
    for tap in range(-1, 3):
        at = (low + tap).clamp(0, size - 1)[:, :, None] == element
        weights = weights + at.to(counts) * _cubic((place - low - tap).abs())[:, :, None]
    outside = torch.where(pixel < counts[:, None], 0.0, -torch.inf).to(counts)
    return weights, outside


def _cubic(x: torch.Tensor) -> torch.Tensor:
    """Keys, Cubic convolution interpolation (1981)."""
    near = ((CUBIC + 2) * x - (CUBIC + 3)) * x * x + 1
    far = ((CUBIC * x - 5 * CUBIC) * x + 8 * CUBIC) * x - 4 * CUBIC
    return torch.where(x <= 1, near, far)
