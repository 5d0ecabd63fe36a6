"""Rolling by a number that depends on a size.

The translation of torch's exporter writes shifts as attributes, which have to be numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from modelport.frontends.rewrites.base import OperatorRewrite


class Roll(OperatorRewrite):
    name = "roll"
    summary = "writes a roll by a free number as a concatenation"
    needed_by = "torch.roll(x, x.shape[2] // 2, 2), torch.fft.fftshift with free sizes"
    target = "aten::roll"
    inside = ("aten::fft_fftshift", "aten::fft_ifftshift")

    def concerns(self, *args: Any, **kwargs: Any) -> bool:
        return _roll_is_free(*args, **kwargs)

    def decomposition(self) -> Callable[..., Any]:
        return _roll


def _roll_is_free(x: torch.Tensor, shifts: Sequence[int], dims: Sequence[int] = ()) -> bool:
    return bool(dims) and any(type(shift) is not int for shift in shifts)


def _roll(x: torch.Tensor, shifts: Sequence[int], dims: Sequence[int] = ()) -> Any:
    if not _roll_is_free(x, shifts, dims):
        return NotImplemented
    for shift, dim in zip(shifts, dims, strict=True):
        size = x.shape[dim]
        index = torch.arange(size, device=x.device) - shift % size
        x = x.index_select(dim, torch.where(index < 0, index + size, index))
    return x
