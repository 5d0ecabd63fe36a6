"""Nearest resizing to a size that is no multiple.

Torch picks row `floor(i * (in / out))` in float32. ONNX's `Resize` divides by `out / in`, which falls
below a whole number where torch's product does not: 14 rows to 8 take row 6 instead of 7.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from modelport.frontends.rewrites.base import FunctionRewrite


class ResizeNearest(FunctionRewrite):
    name = "resize_nearest"
    summary = "picks the rows and columns that torch's nearest resizing picks"
    needed_by = 'F.interpolate(x, size=y.shape[-2:], mode="nearest") where sizes are no multiples'
    target = "torch.nn.functional.interpolate"

    def replace(
        self,
        original: Callable[..., Any],
        /,
        input: torch.Tensor,
        size: int | Sequence[int] | None = None,
        scale_factor: float | Sequence[float] | None = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
        antialias: bool = False,
    ) -> Any:
        if mode != "nearest" or (size is None and not recompute_scale_factor):
            return NotImplemented
        before = list(input.shape[2:])
        after = _sizes(before, size, scale_factor)
        if all(_is_multiple(old, new) for old, new in zip(before, after, strict=True)):
            return NotImplemented
        for axis, (old, new) in enumerate(zip(before, after, strict=True), start=2):
            input = input.index_select(axis, _picked(old, new, input.device))
        return input


def _sizes(before: list[int], size: Any, scale: Any) -> list[int]:
    if size is not None:
        return list(size) if isinstance(size, (list, tuple)) else [size] * len(before)
    scales = scale if isinstance(scale, (list, tuple)) else [scale] * len(before)
    down: Any = torch.sym_int
    return [down(old * factor) for old, factor in zip(before, scales, strict=True)]


def _is_multiple(old: int, new: int) -> bool:
    """Known to be one; of sizes that are free it is not known."""
    return isinstance(old, int) and isinstance(new, int) and new % old == 0


def _picked(old: int, new: int, device: torch.device) -> torch.Tensor:
    scale = torch.full((1,), old, dtype=torch.float32, device=device) / new
    index = torch.arange(new, dtype=torch.float32, device=device) * scale
    return index.floor().long().clamp(max=old - 1)
