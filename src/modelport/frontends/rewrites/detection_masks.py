"""Masks of boxes put in their places in the picture.

torchvision resizes each mask to the size of its box, which is a value in a tensor. Here every pixel
of the picture asks each mask for its value instead, all at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from modelport.frontends.rewrites.base import TORCH_EXPORT, FunctionRewrite


class PasteMasks(FunctionRewrite):
    name = "detection_masks"
    summary = "resizes masks into the picture by matrices of weights, one for each axis"
    needed_by = "torchvision's Mask R-CNN"
    target = "torchvision.models.detection.roi_heads.paste_masks_in_image"
    package = "torchvision>=0.20"
    exporters = (TORCH_EXPORT,)

    def replace(
        self,
        original: Callable[..., Any],
        /,
        masks: torch.Tensor,
        boxes: torch.Tensor,
        img_shape: tuple[int, int],
        padding: int = 1,
    ) -> Any:
        from torchvision.models.detection.roi_heads import expand_boxes, expand_masks

        masks, scale = expand_masks(masks, padding=padding)
        corners = expand_boxes(boxes, scale).to(torch.int64)
        rows = _weights(corners[:, 1], corners[:, 3], img_shape[0], masks)
        columns = _weights(corners[:, 0], corners[:, 2], img_shape[1], masks)
        return (rows @ masks[:, 0] @ columns.transpose(1, 2))[:, None]


def _weights(
    first: torch.Tensor, last: torch.Tensor, pixels: int, masks: torch.Tensor
) -> torch.Tensor:
    """What each element of a mask adds to a pixel when it is resized bilinearly along one axis.

    Args:
        first, last: of each box, its pixels along the axis; some may lie outside of the picture.
        pixels: of the picture.

    Returns:
        boxes x pixels x elements; zero outside of the box.
    """
    size = masks.shape[-1]
    first, last = first[:, None], last[:, None]
    pixel = torch.arange(pixels, device=masks.device)
    length = (last - first + 1).clamp(min=1).to(masks)
    place = ((pixel - first).to(masks) + 0.5) * (size / length) - 0.5
    element = torch.arange(size, device=masks.device).to(masks)
    shares = (1 - (place.clamp(0, size - 1)[:, :, None] - element).abs()).clamp(min=0)
    inside = (pixel >= first) & (pixel <= last)
    return shares * inside[:, :, None].to(masks)
