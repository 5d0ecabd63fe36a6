"""Spectrograms and mel spectrograms, as torch, librosa, torchaudio and Whisper define them.

The transform is the short-time Fourier transform with a window (Allen and Rabiner, 1977). The mel scales are
that of HTK (O'Shaughnessy, 1987: 2595 log10(1 + f / 700)) and that of Slaney's Auditory Toolbox (1998:
linear to 1000 Hz at 200/3 Hz a mel, then 27 steps to a factor of 6.4).
"""

from __future__ import annotations

from functools import lru_cache
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from modelport.runtime.transforms.base import Stage
from modelport.runtime.transforms.sound import Step
from modelport.types import Array

Logarithm = Literal["none", "log10", "ln", "db"]
Scale = Literal["htk", "slaney"]

_BLOCK_FRAMES = 4096
"""Frames transformed at once, so that an hour of sound takes no gigabytes."""


class Spectrogram(Step):
    """The short-time Fourier transform: windows x channels x bins x frames.

    Attributes:
        fft: samples of a transform; there are fft / 2 + 1 bins.
        hop: samples from frame to frame.
        window: samples of the window, in the middle of `fft`; by default as many.
        shape: of the window, periodic as torch's: `hann`, `hamming` or `ones`.
        centre: whether a frame stands around its sample, so that sound is padded by fft / 2 on both sides.
        padding: of a centred one: `reflect`, or `zeros`.
        power: 2 for the squared magnitude, 1 for the magnitude.
        drop_last: whether the last frame is left out, as Whisper does.
    """

    stage: ClassVar[Stage] = Stage.NUMBERS

    kind: Literal["spectrogram"] = "spectrogram"
    fft: PositiveInt
    hop: PositiveInt
    window: PositiveInt | None = None
    shape: Literal["hann", "hamming", "ones"] = "hann"
    centre: bool = True
    padding: Literal["reflect", "zeros"] = "reflect"
    power: Literal[1, 2] = 2
    drop_last: bool = False

    def apply(self, sound: Array) -> Array:
        if self.centre:
            half = self.fft // 2
            # numpy reflects a sound shorter than the padding again and again; torch would refuse it.
            mode: Literal["reflect", "constant"] = (
                "reflect" if self.padding == "reflect" else "constant"
            )
            sound = np.pad(sound, ((0, 0), (0, 0), (half, half)), mode=mode)
        elif sound.shape[-1] < self.fft:
            sound = np.pad(sound, ((0, 0), (0, 0), (0, self.fft - sound.shape[-1])))
        frames = np.lib.stride_tricks.sliding_window_view(sound, self.fft, axis=-1)
        frames = frames[:, :, :: self.hop]
        frames = frames[:, :, :-1] if self.drop_last else frames
        found = np.empty((*frames.shape[:2], self.fft // 2 + 1, frames.shape[2]), np.float32)
        weights = _window(self.shape, self.window or self.fft, self.fft)
        for first in range(0, frames.shape[2], _BLOCK_FRAMES):
            last = first + _BLOCK_FRAMES
            bins = np.fft.rfft(frames[:, :, first:last] * weights, axis=-1)
            values = bins.real**2 + bins.imag**2
            values = np.sqrt(values) if self.power == 1 else values
            found[..., first:last] = values.swapaxes(-1, -2)
        return found


class Mel(Step):
    """Sums the bins of a spectrogram to bands of hearing, and takes the logarithm.

    Attributes:
        bands: how many.
        rate: samples in a second of what the spectrogram was made of.
        lowest, highest: frequencies in Hz where the first band begins and the last one ends; by default
            the last one ends at half the rate.
        scale: `htk` as torchaudio by default, `slaney` as librosa and Whisper.
        area: whether each band is divided by its width, which makes its area equal (`norm="slaney"`).
        logarithm: `log10`, `ln`, `db` (ten times log10), or `none`.
        floor: smaller values are raised to it before the logarithm.
        offset: added before the logarithm, after the floor.
        range: after the logarithm, what is further than this below the largest value of a window is
            raised to there; None leaves it.
        shift, gain: the result is (value + shift) * gain.
    """

    stage: ClassVar[Stage] = Stage.NUMBERS

    kind: Literal["mel"] = "mel"
    bands: PositiveInt
    rate: PositiveInt
    lowest: NonNegativeFloat = 0.0
    highest: PositiveFloat | None = None
    scale: Scale = "slaney"
    area: bool = True
    logarithm: Logarithm = "log10"
    floor: float = Field(default=1e-10, ge=0)
    offset: float = Field(default=0.0, ge=0)
    range: PositiveFloat | None = None
    shift: float = 0.0
    gain: float = 1.0

    def apply(self, sound: Array) -> Array:
        bank = mel_bank(
            sound.shape[-2], self.rate, self.bands, self.lowest,
            self.highest or self.rate / 2, self.scale, self.area,
        )  # fmt: skip
        values = np.maximum(bank @ sound, np.float32(self.floor)) + np.float32(self.offset)
        if self.logarithm != "none":
            values = np.log(values) if self.logarithm == "ln" else np.log10(values)
            values = values * np.float32(10) if self.logarithm == "db" else values
        if self.range is not None:
            values = np.maximum(values, values.max((1, 2, 3), keepdims=True) - self.range)
        return np.asarray((values + self.shift) * self.gain, np.float32)


def whisper(*, bands: int = 80, seconds: int = 30) -> list[Step]:
    """What Whisper hears: 16 kHz, cut and filled up to half a minute."""
    from modelport.runtime.transforms.sound import Windows

    return [
        Windows(hop=16000 * seconds, most=1),
        Spectrogram(fft=400, hop=160, drop_last=True),
        Mel(bands=bands, rate=16000, range=8.0, shift=4.0, gain=0.25),
    ]


@lru_cache(maxsize=8)
def _window(shape: str, length: int, size: int) -> Array:
    """The window, periodic, between zeros."""
    turn = np.cos(2 * np.pi * np.arange(length) / length)
    weights = {"hann": 0.5 - 0.5 * turn, "hamming": 0.54 - 0.46 * turn, "ones": np.ones(length)}
    left = (size - length) // 2
    return np.pad(weights[shape], (left, size - length - left)).astype(np.float32)


@lru_cache(maxsize=8)
def mel_bank(
    bins: int, rate: int, bands: int, lowest: float, highest: float, scale: Scale, area: bool
) -> Array:
    """Triangles between neighbouring points of the mel scale: bands x bins, float32."""
    centres = np.linspace(0, rate / 2, bins)
    first, last = _mel(np.array([lowest, highest]), scale).tolist()
    points = _hertz(np.linspace(first, last, bands + 2), scale)
    widths = np.diff(points)
    slopes = points[:, None] - centres
    rising, falling = -slopes[:-2] / widths[:-1, None], slopes[2:] / widths[1:, None]
    bank = np.maximum(0, np.minimum(rising, falling))
    if area:
        bank *= (2 / (points[2:] - points[:-2]))[:, None]
    return bank.astype(np.float32)


_KNEE = 15.0
"""Mels at 1000 Hz on Slaney's scale."""
_STEP = np.log(6.4) / 27


def _mel(hertz: Array, scale: Scale) -> Array:
    if scale == "htk":
        return np.asarray(2595 * np.log10(1 + hertz / 700))
    return np.where(
        hertz < 1000, hertz * 3 / 200, _KNEE + np.log(np.maximum(hertz, 1) / 1000) / _STEP
    )


def _hertz(mels: Array, scale: Scale) -> Array:
    if scale == "htk":
        return np.asarray(700 * (10 ** (mels / 2595) - 1))
    return np.where(mels < _KNEE, mels * 200 / 3, 1000 * np.exp((mels - _KNEE) * _STEP))
