"""Non-maximum suppression in each class by itself, for a number of boxes that nobody knows.

torchvision moves boxes of different classes apart where there are few boxes, and loops over the
classes where there are many. An export knows neither the number of boxes nor that of classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from modelport.frontends.rewrites.base import TORCH_EXPORT, FunctionRewrite

MANY = {"cpu": 4000}
"""Number of coordinates above which torchvision loops over classes, by device; else 100000."""


class BatchedNms(FunctionRewrite):
    name = "detection_nms"
    summary = "moves boxes of different classes apart, however many boxes there are"
    needed_by = "torchvision.ops.batched_nms: Faster R-CNN, RetinaNet, FCOS, SSD"
    target = "torchvision.ops.boxes.batched_nms"
    package = "torchvision>=0.20"
    exporters = (TORCH_EXPORT,)

    def replace(
        self,
        original: Callable[..., Any],
        /,
        boxes: torch.Tensor,
        scores: torch.Tensor,
        idxs: torch.Tensor,
        iou_threshold: float,
    ) -> Any:
        from torchvision.ops import nms

        many = torch.scalar_tensor(boxes.shape[0] * 4) > MANY.get(boxes.device.type, 100_000)
        offsets = torch.where(many.to(boxes.device), _grid(boxes, idxs), _line(boxes, idxs))
        return nms(boxes + torch.cat([offsets, offsets], 1), scores, iou_threshold)


def _line(boxes: torch.Tensor, idxs: torch.Tensor) -> torch.Tensor:
    """Classes along the diagonal, as torchvision has them: the rounding is the same."""
    apart = idxs.to(boxes) * (_largest(boxes) + 1)
    return torch.stack([apart, apart], 1)


def _grid(boxes: torch.Tensor, idxs: torch.Tensor) -> torch.Tensor:
    """Classes in rows and columns: offsets stay small, so boxes are rounded little.

    torchvision's loop moves nothing, and a pair of boxes close to the threshold decides alike only
    if rounding does not change its overlap.
    """
    side = (_largest(idxs).to(boxes) + 1).sqrt().ceil()
    row = (idxs.to(boxes) / side).floor()
    span = _largest(boxes) + _largest(-boxes) + 1
    return torch.stack([idxs.to(boxes) - row * side, row], 1) * span


def _largest(values: torch.Tensor) -> torch.Tensor:
    """The largest value, or zero: there may be none at all."""
    return torch.cat([values.flatten(), values.new_zeros(1)]).max()
