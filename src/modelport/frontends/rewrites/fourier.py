"""Fourier transforms as products with matrices of sines and cosines.

OpenVINO 2026.4 converts the operator DFT as the exporter writes it, and gives wrong numbers and shapes.
A product costs the square of the length, which matters above some hundred elements.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from modelport.frontends.rewrites.base import OperatorRewrite

_KINDS = ("fft", "ifft", "rfft", "irfft")
_FUNCTIONS = tuple(f"aten::fft_{kind}{end}" for kind in _KINDS for end in ("", "2", "n"))


def _basis(size: int, like: torch.Tensor, sign: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Real and imaginary parts of exp(sign * 2 pi i * j * k / size)."""
    index = torch.arange(size, device=like.device)
    # A free size as a tensor: the exporter has no remainder by a number that is computed.
    count = index[-1] + 1
    # Whole turns are taken off while numbers are whole: the angle stays exact.
    turns = torch.remainder(index * index[:, None], count)
    angle = turns.to(like.dtype) * (sign * 2 * math.pi) / count.to(like.dtype)
    return angle.cos(), angle.sin()


def _transformed(
    real: torch.Tensor, imag: torch.Tensor | None, axis: int, sign: float
) -> tuple[torch.Tensor, torch.Tensor]:
    cos, sin = _basis(real.shape[axis], real, sign)
    real = real.transpose(axis, -1)
    if imag is None:
        return (real @ cos).transpose(axis, -1), (real @ sin).transpose(axis, -1)
    imag = imag.transpose(axis, -1)
    parts = real @ cos - imag @ sin, real @ sin + imag @ cos
    return parts[0].transpose(axis, -1), parts[1].transpose(axis, -1)


def _scale(sizes: Sequence[int], normalization: int) -> Any:
    """0 leaves the sum as it is, 1 divides by the root of the count, 2 by the count."""
    count = math.prod(sizes)
    return {0: 1.0, 1: torch.sym_sqrt(count), 2: count}[normalization]


def _c2c(x: torch.Tensor, dim: Sequence[int], normalization: int, forward: bool) -> Any:
    real, imag = x.real, x.imag
    for axis in dim:
        real, imag = _transformed(real, imag, axis, -1.0 if forward else 1.0)
    scale = _scale([x.shape[axis] for axis in dim], normalization)
    return torch.complex(real / scale, imag / scale)


def _r2c(x: torch.Tensor, dim: Sequence[int], normalization: int, onesided: bool) -> Any:
    real, imag = _transformed(x, None, dim[-1], -1.0)
    if onesided:
        half = x.shape[dim[-1]] // 2 + 1
        real, imag = real.narrow(dim[-1], 0, half), imag.narrow(dim[-1], 0, half)
    for axis in dim[:-1]:
        real, imag = _transformed(real, imag, axis, -1.0)
    scale = _scale([x.shape[axis] for axis in dim], normalization)
    return torch.complex(real / scale, imag / scale)


def _c2r(x: torch.Tensor, dim: Sequence[int], normalization: int, last_dim_size: int) -> Any:
    real, imag = x.real, x.imag
    for axis in dim[:-1]:
        real, imag = _transformed(real, imag, axis, 1.0)
    last, size = dim[-1], last_dim_size
    cos, sin = _basis(size, real, 1.0)
    # The missing half mirrors the given one: all but the first, and the middle of an even size.
    place = torch.arange(size // 2 + 1, device=x.device)
    twice = torch.where((place == 0) | (2 * place == size), 1.0, 2.0).to(real.dtype)[:, None]
    half = size // 2 + 1
    cos, sin = cos.narrow(0, 0, half) * twice, sin.narrow(0, 0, half) * twice
    result = real.transpose(last, -1) @ cos - imag.transpose(last, -1) @ sin
    scale = _scale([size, *(x.shape[axis] for axis in dim[:-1])], normalization)
    return result.transpose(last, -1) / scale


class _Fourier(OperatorRewrite):
    inside = _FUNCTIONS


class FourierOfReal(_Fourier):
    name = "fourier_of_real"
    summary = "writes Fourier transforms of real numbers as matrix products"
    needed_by = "torch.fft.rfft2 in AFNO, GFNet, LaMa; FNet; OpenVINO"
    target = "aten::_fft_r2c"

    def decomposition(self) -> Callable[..., Any]:
        return _r2c


class FourierOfComplex(_Fourier):
    name = "fourier_of_complex"
    summary = "writes Fourier transforms of complex numbers as matrix products"
    needed_by = "torch.fft.fft of a spectrum, torch.fft.ifft; OpenVINO"
    target = "aten::_fft_c2c"

    def decomposition(self) -> Callable[..., Any]:
        return _c2c


class FourierToReal(_Fourier):
    name = "fourier_to_real"
    summary = "writes inverse Fourier transforms to real numbers as matrix products"
    needed_by = "torch.fft.irfft2 in AFNO, GFNet, LaMa; OpenVINO"
    target = "aten::_fft_c2r"

    def decomposition(self) -> Callable[..., Any]:
        return _c2r
