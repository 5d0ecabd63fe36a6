"""From a recording to a tensor of windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from modelport.errors import DataError, UsageError
from modelport.runtime.timeline import Timeline
from modelport.runtime.transforms.base import (
    FIRST,
    Prepared,
    Preprocessor,
    Stopwatch,
    Transform,
)
from modelport.runtime.transforms.resample import resampled
from modelport.runtime.transforms.sound import SoundLayout, Step, Waveform, Windows, arranged
from modelport.runtime.transforms.wav import from_array, is_rated, read_recording
from modelport.types import Array


class SoundPreprocessor(Preprocessor):
    """Decode, then windows and levels, then spectra, then the axes of the tensor.

    Attributes:
        waveform: how a recording is decoded.
        windows: how it is cut; None where it is taken as a whole.

    Raises:
        UsageError: where the transforms cannot be meant in the order they are given.
    """

    medium: ClassVar[str] = "sound"

    def __init__(self, transforms: Sequence[Transform]) -> None:
        super().__init__(_checked(transforms))
        first = transforms[0]
        assert isinstance(first, Waveform)
        self.waveform = first
        steps = [each for each in transforms if isinstance(each, Step)]
        self.windows = next((each for each in steps if isinstance(each, Windows)), None)
        cut = -1 if self.windows is None else steps.index(self.windows)
        self._before, self._after = steps[: max(cut, 0)], steps[cut + 1 :]
        self._axes = next((t.axes for t in transforms if isinstance(t, SoundLayout)), None)

    def prepare(self, item: Any, watch: Stopwatch | None = None) -> Prepared:
        """The windows of one recording: a path, bytes, `(rate, array)`, or an array at the model's rate.

        Arrays are of samples, or of samples x channels; see `wav.from_array`.
        """
        watch = watch or Stopwatch()
        rate, samples = read_recording(item, self.waveform.rate)
        watch.lap("decode")
        sound = self.heard(resampled(self._mixed(samples), rate, self.waveform.rate))
        watch.lap("resample")
        length = sound.shape[-1]
        for step in self._before:
            sound = step.apply(sound)
        hop = length
        if self.windows is not None:
            sound, hop = self.windows.apply(sound), self.windows.hop
        if not len(sound):
            raise DataError(
                f"The recording has {length} samples, and the model takes windows of {hop}",
                expected="a recording that is at least as long as one window",
            )
        tensor = self.tensor(sound)
        watch.lap("frames")
        return Prepared({FIRST: tensor}, timeline=Timeline(self.waveform.rate, length, hop))

    def is_one(self, item: Any) -> bool:
        return is_rated(item)

    def heard(self, samples: Array) -> Array:
        """1 x channels x samples at full scale, of samples x channels at the model's rate."""
        return np.ascontiguousarray(samples.T)[None] * np.float32(self.waveform.scale)

    def chunk(self, samples: Array) -> Array:
        """A part of a stream at the model's rate, as channels x samples.

        Raises:
            DataError: where it is no sound.
        """
        return np.asarray(self.heard(self._mixed(from_array(samples)))[0])

    def tensor(self, windows: Array) -> Array:
        """What the model takes, of windows x channels x samples."""
        for step in self._after:
            windows = step.apply(windows)
        return arranged(windows, self._axes)

    @property
    def streams(self) -> str | None:
        """Why it cannot work on a recording that has no end yet, or None where it can."""
        if self.windows is None:
            return "the transforms have no windows, so the model hears whole recordings"
        if self._before:
            kinds = ", ".join(str(getattr(each, "kind", "?")) for each in self._before)
            return f"{kinds} comes before windows, and needs the whole recording"
        return None

    def _mixed(self, samples: Array) -> Array:
        if not self.waveform.mono or samples.shape[1] == 1:
            return samples
        return np.asarray(samples.mean(1, keepdims=True, dtype=np.float32))


_ORDER = ("waveform", "standardize", "windows", "spectrogram", "mel", "sound_layout")


def _checked(transforms: Sequence[Transform]) -> Sequence[Transform]:
    kinds = [str(getattr(each, "kind", "?")) for each in transforms]
    numbers = [kind for kind in kinds if kind in ("spectrogram", "mel")]
    known = numbers in ([], ["spectrogram"], ["spectrogram", "mel"])
    if kinds[:1] != ["waveform"] or not known or kinds.count("windows") > 1:
        raise UsageError(
            f"The transforms are {', '.join(kinds)}",
            expected=f"waveform, and then any of {', '.join(_ORDER[1:])}, in this order",
        )
    return transforms
