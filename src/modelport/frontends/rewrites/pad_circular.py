"""Circular padding as a concatenation.

torch.export's path writes `Pad` of mode `wrap` (opset 19), which OpenVINO does not convert.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from modelport.frontends.rewrites.base import FunctionRewrite


class PadCircular(FunctionRewrite):
    name = "pad_circular"
    summary = "writes circular padding as a concatenation of slices"
    needed_by = 'nn.Conv2d(padding_mode="circular"), panorama and weather models; OpenVINO'
    target = "torch.nn.functional.pad"

    def replace(
        self,
        original: Callable[..., Any],
        /,
        input: torch.Tensor,
        pad: Sequence[int],
        mode: str = "constant",
        value: float | None = None,
    ) -> Any:
        if mode != "circular" or any(isinstance(size, int) and size < 0 for size in pad):
            return NotImplemented
        for index in range(len(pad) // 2):
            axis = input.dim() - 1 - index
            before, after = pad[2 * index], pad[2 * index + 1]
            size = input.shape[axis]
            parts = [
                input.narrow(axis, size - before, before) if before else None,
                input,
                input.narrow(axis, 0, after) if after else None,
            ]
            input = torch.cat([part for part in parts if part is not None], axis)
        return input
