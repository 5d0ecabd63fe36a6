"""torchvision's operators in plain torch, for the CPU.

Each does what torchvision's C++ kernel of the same name does, rounding at edges included.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from modelport.types import Array

BLOCK = 1024
"""Boxes compared with all others at a time, which bounds the memory."""


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Indices of the boxes that no better box overlaps by more than the threshold, best first.

    Args:
        boxes: N x 4, corners (x1, y1, x2, y2).
    """
    order = scores.argsort(descending=True, stable=True)
    ordered = boxes[order].numpy()
    kept = np.ones(len(order), bool)
    for start in range(0, len(order), BLOCK):
        # In double as in C++: 0.1 of float32 is more than a threshold of 0.1. NaN is not more.
        overlaps = _overlaps(ordered[start : start + BLOCK], ordered[start:]).astype(np.float64)
        apart = ~(overlaps > iou_threshold)
        for row, best in enumerate(range(start, min(start + BLOCK, len(order)))):
            if kept[best]:
                kept[best + 1 :] &= apart[row, row + 1 :]
    return order[torch.from_numpy(kept)]


def _overlaps(some: Array, others: Array) -> Array:
    """Shared area over joint area of each of some boxes with each of the others.

    In numpy, for torch hands out work of this size to threads that take longer to wake.
    """
    areas = [(boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) for boxes in (some, others)]
    one, other = some.T[:, :, None], others.T[:, None]
    wide = np.maximum(np.minimum(one[2], other[2]) - np.maximum(one[0], other[0]), 0)
    high = np.maximum(np.minimum(one[3], other[3]) - np.maximum(one[1], other[1]), 0)
    shared = wide * high
    with np.errstate(divide="ignore", invalid="ignore"):  # boxes without any area
        return np.asarray(shared / (areas[0][:, None] + areas[1] - shared))


def roi_align(
    features: Tensor,
    rois: Tensor,
    spatial_scale: float,
    pooled_height: int,
    pooled_width: int,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    """Averages of bilinear samples in the cells of each box (He et al., Mask R-CNN, 2017).

    Args:
        features: N x C x H x W.
        rois: K x 5, index of the picture and corners (x1, y1, x2, y2) of the box.

    Returns:
        K x C x pooled_height x pooled_width.
    """
    channels, height, width = features.shape[1:]
    out = features.new_zeros(len(rois), channels, pooled_height, pooled_width)
    pixels = features.permute(0, 2, 3, 1).reshape(-1, channels)
    corners = rois[:, 1:] * spatial_scale - (0.5 if aligned else 0.0)
    lengths = corners[:, 2:] - corners[:, :2]
    steps = (lengths if aligned else lengths.clamp(min=1.0)) / rois.new_tensor(
        [pooled_width, pooled_height]
    )
    counts = steps.ceil().long().clamp(min=0)
    if sampling_ratio > 0:
        counts = torch.full_like(counts, sampling_ratio)
    for across, down in sorted(set(map(tuple, counts.tolist()))):  # equal counts go together
        if not across * down:
            continue
        chosen = ((counts[:, 0] == across) & (counts[:, 1] == down)).nonzero()[:, 0]
        start, step = corners[chosen], steps[chosen]
        rows, row_shares = _samples(start[:, 1], step[:, 1], pooled_height, down, height)
        columns, column_shares = _samples(start[:, 0], step[:, 0], pooled_width, across, width)
        first = rois[chosen, 0].long() * height * width
        places = first[:, None, None, None, None] + rows[:, :, None, :, None] * width
        places = places + columns[:, None, :, None, :]
        shares = row_shares[:, :, None, :, None] * column_shares[:, None, :, None, :]
        totals = nn.functional.embedding_bag(
            places.flatten(3).flatten(0, 2),
            pixels,
            per_sample_weights=shares.flatten(3).flatten(0, 2),
            mode="sum",
        )
        cells = totals.view(len(chosen), pooled_height, pooled_width, channels)
        out[chosen] = cells.permute(0, 3, 1, 2) / (across * down)
    return out


def _samples(
    start: Tensor, step: Tensor, cells: int, count: int, size: int
) -> tuple[Tensor, Tensor]:
    """The pixels that samples along one axis lie between, and how near: two entries for each sample.

    Bilinear weights are products of those of the two axes.

    Args:
        start, step: of each box, where it begins and the length of a cell.
        size: of the axis in pixels.

    Returns:
        Positions and weights, boxes x cells x (2 * count).
    """
    grid = torch.arange(count, dtype=start.dtype) + 0.5
    cell = torch.arange(cells, dtype=start.dtype)[:, None]
    start, step = start[:, None, None], step[:, None, None]
    places = start + cell * step + grid * step / count
    inside = (places >= -1.0) & (places <= size)
    places = places.clamp(min=0.0, max=size - 1.0)
    low = places.long()
    share = places - low
    high = (low + 1).clamp(max=size - 1)
    return torch.cat([low, high], 2), torch.cat([(1 - share) * inside, share * inside], 2)


def roi_align_shape(
    features: Tensor,
    rois: Tensor,
    spatial_scale: float,
    pooled_height: int,
    pooled_width: int,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    return features.new_empty(rois.size(0), features.size(1), pooled_height, pooled_width)


def deform_conv2d(
    features: Tensor,
    weight: Tensor,
    offset: Tensor,
    mask: Tensor,
    bias: Tensor,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    groups: int,
    offset_groups: int,
    use_mask: bool,
) -> Tensor:
    """A convolution whose taps are moved by `offset` and weighed by `mask`.

    Dai et al., Deformable Convolutional Networks (2017), and with the mask Zhu et al. (2018).

    Args:
        features: N x C x H x W; outside of it is zero.
        offset: N x (offset_groups * taps * 2) x out_h x out_w, down before across.
        mask: N x (offset_groups * taps) x out_h x out_w, where `use_mask`.
    """
    batch, channels, _, _ = features.shape
    outputs, _, kernel_h, kernel_w = weight.shape
    out_h, out_w = offset.shape[-2:]
    taps = kernel_h * kernel_w
    moves = offset.view(batch, offset_groups, taps, 2, out_h, out_w)
    rows = torch.arange(kernel_h).repeat_interleave(kernel_w)[:, None, None] * dilation_h
    columns = torch.arange(kernel_w).repeat(kernel_h)[:, None, None] * dilation_w
    y = moves[:, :, :, 0] + (torch.arange(out_h)[:, None] * stride_h - pad_h + rows)
    x = moves[:, :, :, 1] + (torch.arange(out_w)[None, :] * stride_w - pad_w + columns)
    values = _sampled(features.view(batch, offset_groups, -1, *features.shape[2:]), y, x)
    if use_mask:
        values = values * mask.view(batch, offset_groups, 1, taps, out_h, out_w)
    taken = values.reshape(batch, groups, channels // groups * taps, out_h * out_w)
    filters = weight.view(groups, outputs // groups, -1)
    return (filters @ taken).view(batch, outputs, out_h, out_w) + bias.view(1, -1, 1, 1)


def _sampled(features: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Bilinear samples, zero outside.

    Args:
        features: N x groups x C x H x W.
        y, x: N x groups x taps x out_h x out_w.

    Returns:
        N x groups x C x taps x out_h x out_w.
    """
    batch, groups, channels, height, width = features.shape
    flat = features.flatten(3)
    total = features.new_zeros(batch, groups, channels, *y.shape[2:])
    for row, down in ((y.floor(), 1 - (y - y.floor())), (y.floor() + 1, y - y.floor())):
        for column, across in ((x.floor(), 1 - (x - x.floor())), (x.floor() + 1, x - x.floor())):
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            place = row.clamp(0, height - 1).long() * width + column.clamp(0, width - 1).long()
            index = place.flatten(2)[:, :, None].expand(-1, -1, channels, -1)
            total += flat.gather(3, index).view_as(total) * (down * across * inside)[:, :, None]
    return total


def deform_conv2d_shape(
    features: Tensor,
    weight: Tensor,
    offset: Tensor,
    mask: Tensor,
    bias: Tensor,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    groups: int,
    offset_groups: int,
    use_mask: bool,
) -> Tensor:
    return features.new_empty(features.size(0), weight.size(0), offset.size(2), offset.size(3))
