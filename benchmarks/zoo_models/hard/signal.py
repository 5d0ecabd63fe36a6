"""Fourier transforms and complex numbers."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from zoo_models.case import Case, floats, pictures
from zoo_models.hard.small import case_of

of = partial(case_of, "signal")
WAVE = floats((2, 16), (3, 16))


class GlobalFilter(nn.Module):
    """GFNet's layer: a learned filter in the frequencies of a picture."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 5, 4, 2) * 0.5)

    def forward(self, x: Tensor) -> Tensor:
        spectrum = torch.fft.rfft2(x, dim=(1, 2), norm="ortho")
        spectrum = spectrum * torch.view_as_complex(self.weight)
        return torch.fft.irfft2(spectrum, s=(8, 8), dim=(1, 2), norm="ortho")


class Spectrogram(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(16))

    def forward(self, wave: Tensor) -> Tensor:
        spectrum = torch.stft(wave, 16, hop_length=8, window=self.window, return_complex=True)
        return spectrum.abs().pow(2).clamp(min=1e-6).log()


def rotary(x: Tensor) -> Tensor:
    """Llama's rotary positions by complex numbers."""
    steps = torch.outer(torch.arange(x.shape[1]).float(), torch.tensor([1.0, 0.1, 0.01, 0.001]))
    turns = torch.polar(torch.ones_like(steps), steps)
    pairs = torch.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * turns[None, :, None]).flatten(3)


CASES = [
    of("rfft", {"x": WAVE}, lambda x: torch.view_as_real(torch.fft.rfft(x))),
    of("rfft_magnitude", {"x": WAVE}, lambda x: torch.fft.rfft(x, norm="ortho").abs()),
    of("fft_and_back", {"x": WAVE}, lambda x: torch.fft.ifft(torch.fft.fft(x) * 2).real),
    of("irfft", {"x": WAVE}, lambda x: torch.fft.irfft(torch.fft.rfft(x)[:, :5], n=8)),
    of("fft2_real_part", {"x": pictures((2, 3, 8, 6))}, lambda x: torch.fft.fft2(x).real),
    of(
        "fft_mixing",
        {"x": floats((2, 6, 8))},
        lambda x: torch.fft.fft(torch.fft.fft(x, dim=-1), dim=-2).real,
    ),
    of("fftshift", {"x": WAVE}, lambda x: torch.fft.fftshift(torch.fft.fft(x).abs(), dim=1)),
    of(
        "complex_product",
        {"x": floats((3, 4, 2)), "y": floats((3, 4, 2))},
        lambda x, y: torch.view_as_real(torch.view_as_complex(x) * torch.view_as_complex(y)),
    ),
    of("rotary", {"x": floats((2, 5, 3, 8), (3, 7, 3, 8))}, rotary),
    Case("signal/global_filter", GlobalFilter, {"x": floats((2, 8, 8, 4), (3, 8, 8, 4))}),
    Case("signal/spectrogram", Spectrogram, {"wave": floats((2, 64))}),
]
