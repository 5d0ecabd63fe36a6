"""torchvision's deformable convolution as ONNX's `DeformConv` of opset 19."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from modelport.frontends.rewrites.base import EXPORTERS, OperatorRewrite


def _deform_conv(
    input: Any,
    weight: Any,
    offset: Any,
    mask: Any,
    bias: Any,
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
    from onnxscript import opset19 as op

    return op.DeformConv(
        input,
        weight,
        offset,
        bias,
        mask if use_mask else None,
        strides=[stride_h, stride_w],
        pads=[pad_h, pad_w, pad_h, pad_w],
        dilations=[dilation_h, dilation_w],
        group=groups,
        offset_group=offset_groups,
    )


class DeformConv(OperatorRewrite):
    name = "deform_conv"
    summary = "writes torchvision.ops.deform_conv2d as DeformConv"
    needed_by = "torchvision.ops.DeformConv2d: DCNv2, BasicVSR++, TOOD"
    target = "torchvision::deform_conv2d"
    exporters = EXPORTERS

    def translation(self) -> Callable[..., Any]:
        return _deform_conv

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
