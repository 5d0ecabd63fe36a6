"""`torch.linspace` with as many steps as a size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from modelport.frontends.rewrites.base import TORCH_EXPORT, FunctionRewrite


class Linspace(FunctionRewrite):
    name = "linspace"
    summary = "counts steps of a free number with arange"
    needed_by = "torch.linspace(0.5, h - 0.5, h), the reference points of deformable DETR"
    target = "torch.linspace"
    exporters = (TORCH_EXPORT,)

    def replace(
        self,
        original: Callable[..., Any],
        /,
        start: Any,
        end: Any,
        steps: int,
        *,
        dtype: torch.dtype | None = None,
        device: Any = None,
        **kwargs: Any,
    ) -> Any:
        if type(steps) is int:
            return NotImplemented
        kind = dtype or torch.get_default_dtype()
        index = torch.arange(steps, dtype=kind, device=device)
        step = (end - start) / (steps - 1)
        # As torch does: the second half is counted from the end.
        upward, downward = start + step * index, end - step * (steps - 1 - index)
        return torch.where(index < steps // 2, upward, downward).to(kind)
