"""Features of boxes, each from the level of the pyramid that fits its size.

torchvision asks Python how many boxes there are; an export does not know that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from modelport.frontends.rewrites.base import TORCH_EXPORT, FunctionRewrite


class MultiScaleRoiAlign(FunctionRewrite):
    name = "detection_roi_align"
    summary = "pools boxes from the levels of a pyramid, however many boxes there are"
    needed_by = "torchvision.ops.MultiScaleRoIAlign: Faster, Mask and Keypoint R-CNN"
    target = "torchvision.ops.poolers._multiscale_roi_align"
    package = "torchvision>=0.20"
    exporters = (TORCH_EXPORT,)

    def replace(
        self,
        original: Callable[..., Any],
        /,
        x_filtered: Sequence[torch.Tensor],
        boxes: Sequence[torch.Tensor],
        output_size: Sequence[int],
        sampling_ratio: int,
        scales: Sequence[float] | None,
        mapper: Callable[..., torch.Tensor] | None,
    ) -> Any:
        if len(x_filtered) == 1 or scales is None or mapper is None:
            return NotImplemented
        from torchvision.ops import roi_align

        rois, levels = _rois(boxes), mapper(boxes)
        first = x_filtered[0]
        result = first.new_zeros(rois.shape[0], first.shape[1], *output_size)
        for level, (features, scale) in enumerate(zip(x_filtered, scales, strict=True)):
            chosen = torch.where(levels == level)[0]
            pooled = roi_align(
                features,
                rois[chosen],
                output_size=output_size,
                spatial_scale=scale,
                sampling_ratio=sampling_ratio,
            )
            result = result.index_put((chosen,), pooled.to(result.dtype))
        return result


def _rois(boxes: Sequence[torch.Tensor]) -> torch.Tensor:
    """K x 5: index of the picture, then the corners."""
    indexed = [
        torch.cat([torch.full_like(some[:, :1], index), some], 1)
        for index, some in enumerate(boxes)
    ]
    return torch.cat(indexed)
