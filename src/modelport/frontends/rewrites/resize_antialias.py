"""Resizing with antialiasing as a product with a matrix for each axis.

OpenVINO 2026.4 ignores the attribute `antialias` of the operator Resize, without a word. The weights are
those of torch (and of Pillow): a filter as wide as the step is long, normalised.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from modelport.frontends.rewrites.base import OperatorRewrite

_Filter = Callable[[torch.Tensor], torch.Tensor]


def _triangle(distance: torch.Tensor) -> torch.Tensor:
    return (1 - distance).clamp(min=0)


def _cubic(distance: torch.Tensor) -> torch.Tensor:
    """Keys' cubic with a = -0.5."""
    near = (1.5 * distance - 2.5) * distance * distance + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return torch.where(distance < 1, near, torch.where(distance < 2, far, 0.0))


def _resized(shape: _Filter) -> Callable[..., Any]:
    def resize(
        x: torch.Tensor,
        output_size: Sequence[int] | None,
        align_corners: bool,
        scale_factors: Sequence[float] | None,
    ) -> Any:
        for position, axis in enumerate((-2, -1)):
            old = x.shape[axis]
            factor = scale_factors[position] if scale_factors else None
            down: Any = torch.sym_int
            new = down(old * factor) if factor is not None else (output_size or ())[position]
            step = (old - 1) / max(new - 1, 1) if align_corners else old / new
            if factor is not None and not align_corners:
                step = 1 / factor
            weights = _weights(old, new, step, align_corners, shape, x)
            x = (x.transpose(axis, -1) @ weights.mT).transpose(axis, -1)
        return x

    return resize


def _weights(
    old: int, new: int, step: Any, align_corners: bool, shape: _Filter, x: torch.Tensor
) -> torch.Tensor:
    place = torch.arange(old, dtype=x.dtype, device=x.device)
    index = torch.arange(new, dtype=x.dtype, device=x.device)
    middle = index * step if align_corners else (index + 0.5) * step - 0.5
    width = torch.ones(1, dtype=x.dtype, device=x.device) * step
    weights = shape((place - middle[:, None]).abs() / width.clamp(min=1))
    return weights / weights.sum(-1, keepdim=True)


class ResizeLinearAntialias(OperatorRewrite):
    name = "resize_linear_antialias"
    summary = "resizes by a matrix of weights for each axis"
    needed_by = 'F.interpolate(mode="bilinear", antialias=True); OpenVINO'
    target = "aten::_upsample_bilinear2d_aa.vec"

    def decomposition(self) -> Callable[..., Any]:
        return _resized(_triangle)


class ResizeCubicAntialias(OperatorRewrite):
    name = "resize_cubic_antialias"
    summary = "resizes by a matrix of weights for each axis"
    needed_by = (
        'F.interpolate(mode="bicubic", antialias=True), position embeddings of DINOv2; OpenVINO'
    )
    target = "aten::_upsample_bicubic2d_aa.vec"

    def decomposition(self) -> Callable[..., Any]:
        return _resized(_cubic)
