"""Transforms of sound: from a recording to windows of samples, and to the axes a model wants.

Between them a sound is float32 of windows x channels x samples; after `spectrogram`, of windows x
channels x bins x frames.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, field_validator

from modelport.errors import FeedsError
from modelport.runtime.transforms.base import Stage, Transform
from modelport.types import Array


class Waveform(Transform):
    """Decodes a recording.

    Attributes:
        rate: samples in a second that the model hears; others are resampled, band-limited.
        mono: whether the channels are averaged into one.
        scale: what full scale becomes: 1, or 32768 for models that were trained on 16-bit numbers.
    """

    stage: ClassVar[Stage] = Stage.DECODE
    medium: ClassVar[str] = "sound"

    kind: Literal["waveform"] = "waveform"
    rate: PositiveInt
    mono: bool = True
    scale: PositiveFloat = 1.0


class Step(Transform, ABC):
    """A transform that changes a sound."""

    medium: ClassVar[str] = "sound"

    @abstractmethod
    def apply(self, sound: Array) -> Array:
        """The sound after it, float32."""


class Standardize(Step):
    """Gives each channel of each window the mean zero and the variance one, as Wav2Vec2 wants it.

    Attributes:
        epsilon: added to the variance, against silence.
    """

    stage: ClassVar[Stage] = Stage.SPACE

    kind: Literal["standardize"] = "standardize"
    epsilon: float = Field(default=1e-7, ge=0)

    def apply(self, sound: Array) -> Array:
        mean = sound.mean(-1, keepdims=True, dtype=np.float64)
        deviation = np.sqrt(sound.var(-1, keepdims=True, dtype=np.float64) + self.epsilon)
        return np.asarray((sound - mean) / np.maximum(deviation, 1e-30), np.float32)


class Windows(Step):
    """Cuts a recording into windows, each with some samples of its neighbours.

    A window is `before + hop + after` samples long. Those of the middle are its own, and every sample of
    the recording is some window's own. Before the recording and after it is silence.

    Attributes:
        hop: samples that are a window's own.
        before, after: samples on either side that it sees besides.
        tail: `pad` fills the last window up with silence; `drop` leaves it out unless it is whole.
        most: windows that a recording may give; None for all. 1 and a long hop cut every recording to
            one length.
    """

    stage: ClassVar[Stage] = Stage.SPACE

    kind: Literal["windows"] = "windows"
    hop: PositiveInt
    before: NonNegativeInt = 0
    after: NonNegativeInt = 0
    tail: Literal["pad", "drop"] = "pad"
    most: PositiveInt | None = None

    @property
    def length(self) -> int:
        return self.before + self.hop + self.after

    def count(self, samples: int) -> int:
        """How many windows a recording of that length gives."""
        found = -(-samples // self.hop) if self.tail == "pad" else samples // self.hop
        return found if self.most is None else min(found, self.most)

    def apply(self, sound: Array) -> Array:
        """Windows of a single long one, 1 x channels x samples."""
        samples = sound.shape[-1]
        count = self.count(samples)
        missing = max(0, count * self.hop + self.after - samples)
        padded = np.pad(sound[0], ((0, 0), (self.before, missing)))
        return self.of_padded(padded)[:count]

    def of_padded(self, padded: Array) -> Array:
        """All whole windows of channels x samples whose first begins at the first sample."""
        if padded.shape[-1] < self.length:
            return np.empty((0, len(padded), self.length), np.float32)
        windows = np.lib.stride_tricks.sliding_window_view(padded, self.length, axis=-1)
        return np.ascontiguousarray(windows[:, :: self.hop].swapaxes(0, 1))


class SoundLayout(Transform):
    """The axes of the tensor.

    Attributes:
        axes: letters in their order: `n` windows, `c` channels, `f` bins of frequency, `t` samples or
            frames; and `1` for an axis of one. `c` may be left out where there is one channel. By
            default `nt` for samples and `nft` for spectra.
    """

    stage: ClassVar[Stage] = Stage.LAYOUT
    medium: ClassVar[str] = "sound"

    kind: Literal["sound_layout"] = "sound_layout"
    axes: str

    @field_validator("axes")
    @classmethod
    def _check(cls, axes: str) -> str:
        letters = axes.replace("1", "")
        if set(letters) - set("ncft") or len(set(letters)) != len(letters) or axes[:1] != "n":
            raise ValueError("axes are n, then each of c, f and t at most once, and ones")
        return axes


def arranged(sound: Array, axes: str | None) -> Array:
    """The tensor with these axes.

    Raises:
        FeedsError: where an axis is missing, or too many.
    """
    has = "nct" if sound.ndim == 3 else "ncft"
    axes = axes or has.replace("c", "")
    kept = [letter for letter in axes if letter != "1"]
    dropped = [letter for letter in has if letter not in kept]
    wrong = [letter for letter in kept if letter not in has]
    if wrong or any(letter != "c" for letter in dropped) or (dropped and sound.shape[1] != 1):
        sizes = ", ".join(f"{letter} {size}" for letter, size in zip(has, sound.shape, strict=True))
        raise FeedsError(
            f"The sound has the axes {sizes}, and the layout wants {axes!r}",
            expected="every axis, but for channels where there is one",
            hint="Change the axes of sound_layout, or set mono in waveform",
        )
    sound = sound[:, 0] if dropped else sound
    left = [letter for letter in has if letter in kept]
    sound = sound.transpose([left.index(letter) for letter in kept])
    ones = tuple(place for place, letter in enumerate(axes) if letter == "1")
    return np.ascontiguousarray(np.expand_dims(sound, ones))
