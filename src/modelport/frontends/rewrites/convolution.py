"""Convolutions over volumes without a bias.

onnxscript 0.7 writes zeros of shape [channels, 2] for the bias that is missing, which no engine takes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from modelport.frontends.rewrites.base import OperatorRewrite


def _convolution(
    input: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: Sequence[int] = (1, 1, 1),
    padding: Sequence[int] = (0, 0, 0),
    dilation: Sequence[int] = (1, 1, 1),
    groups: int = 1,
) -> Any:
    if bias is not None:
        return NotImplemented
    general = torch.ops.aten.convolution
    return general(input, weight, None, stride, padding, dilation, False, [0, 0, 0], groups)


class Conv3d(OperatorRewrite):
    name = "conv3d"
    summary = "leaves a missing bias out"
    needed_by = "nn.Conv3d(bias=False): torchvision's r3d_18, mc3_18, r2plus1d_18"
    target = "aten::conv3d.default"

    def concerns(self, *args: Any, **kwargs: Any) -> bool:
        return kwargs.get("bias", args[2] if len(args) > 2 else None) is None

    def decomposition(self) -> Callable[..., Any]:
        return _convolution
