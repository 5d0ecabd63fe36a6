"""Operators on complex numbers that torch's exporter translates for real ones only.

It keeps a complex tensor as a real one with a last axis of two. The operators here are done on that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from modelport.frontends.rewrites.base import OperatorRewrite


def _unsqueeze(x: torch.Tensor, dim: int) -> Any:
    if not x.is_complex():
        return NotImplemented
    axis = dim if dim >= 0 else dim + x.dim() + 1
    return torch.view_as_complex(torch.view_as_real(x).unsqueeze(axis))


def _exp(x: torch.Tensor) -> Any:
    return torch.polar(torch.exp(x.real), x.imag) if x.is_complex() else NotImplemented


class _OfComplex(OperatorRewrite):
    def concerns(self, *args: Any, **kwargs: Any) -> bool:
        return bool(args[0].is_complex())


class ComplexUnsqueeze(_OfComplex):
    name = "complex_unsqueeze"
    summary = "adds an axis to complex numbers"
    needed_by = "rotary embeddings written with torch.polar: freqs[None, :, None]"
    target = "aten::unsqueeze"

    def decomposition(self) -> Callable[..., Any]:
        return _unsqueeze


class ComplexExp(_OfComplex):
    name = "complex_exp"
    summary = "writes the exponential of complex numbers in polar form"
    needed_by = "torch.exp(1j * angle)"
    target = "aten::exp"

    def decomposition(self) -> Callable[..., Any]:
        return _exp
