"""torchvision's deformable convolution as ONNX's `DeformConv` of opset 19.

The TorchScript-based exporter has no translation; that of torch.export has one.
OpenVINO 2026.4 does not convert that operator; for it alone the places are sampled by a grid.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from modelport.frontends.rewrites.base import TORCH_EXPORT, TORCHSCRIPT, OperatorRewrite


class DeformConv(OperatorRewrite):
    name = "deform_conv"
    summary = "writes torchvision.ops.deform_conv2d as DeformConv"
    needed_by = "torchvision.ops.DeformConv2d: DCNv2, BasicVSR++, TOOD"
    target = "torchvision::deform_conv2d"
    exporters = (TORCHSCRIPT,)

    def symbolic(self, g: Any, *args: Any) -> Any:
        input, weight, offset, mask, bias = args[:5]
        numbers = [int(value.node().t("value")) for value in args[5:]]
        inputs = [input, weight, offset, bias, *([mask] if numbers[8] else [])]
        strides, pads, dilations = numbers[0:2], numbers[2:4], numbers[4:6]
        return g.op(
            "DeformConv",
            *inputs,
            strides_i=strides,
            pads_i=pads * 2,
            dilations_i=dilations,
            group_i=numbers[6],
            offset_group_i=numbers[7],
        )


def _sampled(
    input: torch.Tensor,
    weight: torch.Tensor,
    offset: torch.Tensor,
    mask: torch.Tensor,
    bias: torch.Tensor,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    groups: int,
    offset_groups: int,
    use_mask: bool,
) -> Any:
    batch, (high, wide), (rows, columns) = input.shape[0], input.shape[2:], weight.shape[2:]
    out = offset.shape[-2:]
    moves = offset.reshape(batch, offset_groups, rows * columns, 2, *out)
    shares = mask.reshape(batch, offset_groups, rows * columns, *out) if use_mask else None
    down = torch.arange(out[0], device=input.device)[:, None] * stride_h - pad_h
    right = torch.arange(out[1], device=input.device) * stride_w - pad_w
    taps = []
    for tap in range(rows * columns):
        parts = []
        for index, part in enumerate(input.chunk(offset_groups, 1)):
            y = down + tap // columns * dilation_h + moves[:, index, tap, 0]
            x = right + tap % columns * dilation_w + moves[:, index, tap, 1]
            grid = torch.stack([(2 * x + 1) / wide - 1, (2 * y + 1) / high - 1], -1)
            sampled = functional.grid_sample(part, grid, align_corners=False)
            parts.append(sampled if shares is None else sampled * shares[:, index, None, tap])
        taps.append(torch.cat(parts, 1))
    unfolded = torch.stack(taps, 2).reshape(batch, groups, -1, out[0] * out[1])
    product = weight.reshape(groups, weight.shape[0] // groups, -1) @ unfolded
    return product.reshape(batch, weight.shape[0], *out) + bias[:, None, None]


class DeformConvSampled(OperatorRewrite):
    name = "deform_conv_sampled"
    summary = "samples each tap of a deformable convolution by a grid"
    needed_by = "torchvision.ops.DeformConv2d in OpenVINO"
    target = "torchvision::deform_conv2d"
    engine = "openvino"
    exporters = (TORCH_EXPORT,)

    def decomposition(self) -> Callable[..., Any]:
        return _sampled
