"""Average pooling whose divisor is not that of ONNX's `AveragePool`.

Both exporters drop `divisor_override` without a word. With `ceil_mode` and `count_include_pad` OpenVINO
counts places beyond the padding that torch leaves out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn import functional

from modelport.frontends.rewrites.base import FunctionRewrite


class PoolAverage(FunctionRewrite):
    name = "pool_average"
    summary = "divides sums of average pooling by what torch divides by"
    needed_by = "nn.AvgPool2d with divisor_override, or with ceil_mode and padding"
    target = "torch.nn.functional.avg_pool2d"

    def replace(
        self,
        original: Callable[..., Any],
        /,
        input: torch.Tensor,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] | None = None,
        padding: int | Sequence[int] = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> Any:
        kernel, pads = _pair(kernel_size), _pair(padding)
        steps = _pair(stride or kernel_size)
        clipped = ceil_mode and count_include_pad
        if divisor_override is None and not clipped:
            return NotImplemented
        # Torch drops a last window that begins in the padding; with these sizes there is none.
        if ceil_mode and any(p + s > k for p, s, k in zip(pads, steps, kernel, strict=True)):
            return NotImplemented
        more = [step - 1 if ceil_mode else 0 for step in steps]
        around = [pads[1], pads[1], pads[0], pads[0]]
        beyond = [0, more[1], 0, more[0]]
        padded = functional.pad(functional.pad(input, around), beyond)
        mean = original(padded, kernel, steps)
        if divisor_override is not None:
            return mean * (kernel[0] * kernel[1] / divisor_override)
        counted = torch.ones_like(input[:1, :1] if input.dim() == 4 else input[:1])
        counted = functional.pad(functional.pad(counted, around, value=1.0), beyond)
        return mean / original(counted, kernel, steps)


def _pair(value: int | Sequence[int]) -> list[int]:
    sizes = [value] if isinstance(value, int) else list(value)
    return sizes * 2 if len(sizes) == 1 else sizes
