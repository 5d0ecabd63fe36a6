"""When somebody speaks in a recording."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from PIL import Image
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from modelport.errors import EngineError, FeedsError
from modelport.runtime.state import StateParameters
from modelport.runtime.tasks.base import Context, Parameters, Result, Task
from modelport.runtime.timeline import Timeline
from modelport.types import Array, Outputs


@dataclass(frozen=True)
class Speech:
    """From when to when somebody speaks, in samples at the model's rate and in seconds."""

    start: int
    end: int
    start_s: float
    end_s: float


@dataclass(frozen=True, eq=False)
class VoiceActivity(Result):
    """Attributes:
    segments: speech, in order; none overlaps another.
    probabilities: that somebody speaks, one for each window, float32.
    starts_s: when each window starts.
    """

    segments: tuple[Speech, ...]
    probabilities: Array
    starts_s: Array

    @property
    def probability(self) -> float:
        """Of the last window: that of a stream has one alone."""
        return float(self.probabilities[-1])

    @property
    def speech_s(self) -> float:
        """Seconds of speech."""
        return sum(each.end_s - each.start_s for each in self.segments)

    def to_json(self) -> dict[str, Any]:
        return {
            "speech_s": self.speech_s,
            "segments": [vars(each) for each in self.segments],
            "probabilities": [float(value) for value in self.probabilities],
        }

    def rows(self) -> list[dict[str, Any]]:
        return [dict(vars(each)) for each in self.segments]


class VoiceActivityParameters(StateParameters):
    """Attributes:
    output: name of the output with a probability for each window; by default the first.
    threshold: from this probability on, speech begins.
    release: below it, speech may end; by default 0.15 less than `threshold`, and 0.01 at least.
    min_speech_ms: what is not longer is no speech.
    min_silence_ms: speech ends where silence lasts that long.
    pad_ms: added on both sides of speech, or half of the silence between two where that is less.
    max_speech_s: longer speech is cut at its longest pause, or anywhere where it has none.
    min_pause_ms: what is not longer is no pause to cut at.
    rate, hop: samples in a second and from window to window, where nobody prepared a recording.
    """

    output: str | None = None
    threshold: float = Field(default=0.5, gt=0, le=1)
    release: float | None = Field(default=None, gt=0, le=1)
    min_speech_ms: NonNegativeFloat = 250
    min_silence_ms: NonNegativeFloat = 100
    pad_ms: NonNegativeFloat = 30
    max_speech_s: PositiveFloat | None = None
    min_pause_ms: NonNegativeFloat = 98
    rate: PositiveInt = 16000
    hop: PositiveInt = 512


class VoiceActivityTask(Task[VoiceActivityParameters, VoiceActivity]):
    name: ClassVar[str] = "voice_activity"
    summary: ClassVar[str] = "when somebody speaks in a recording"
    Parameters: ClassVar[type[Parameters]] = VoiceActivityParameters

    def decode(self, outputs: Outputs, context: Context[VoiceActivityParameters]) -> VoiceActivity:
        wanted = context.parameters
        found = _probabilities(outputs, wanted.output)
        timeline = context.timeline or Timeline(wanted.rate, len(found) * wanted.hop, wanted.hop)
        starts = [timeline.start(index) / timeline.rate for index in range(len(found))]
        return VoiceActivity(
            tuple(_speech(*ends, timeline) for ends in speech_of(found.tolist(), wanted, timeline)),
            found,
            np.asarray(starts),
        )

    def draw(self, image: Image.Image, result: VoiceActivity) -> Image.Image:
        return image.copy()

    def describe(self, result: VoiceActivity) -> str:
        few = ", ".join(f"{each.start_s:.1f} to {each.end_s:.1f} s" for each in result.segments[:5])
        more = ", ..." if len(result.segments) > 5 else ""
        return f"speech {few}{more}" if few else "no speech"


def _probabilities(outputs: Outputs, name: str | None) -> Array:
    given = next(iter(outputs.values())) if name is None else outputs.get(name)
    if given is None:
        raise FeedsError(
            f"There is no output {name!r}", expected=f"one of {', '.join(map(repr, outputs))}"
        )
    if given.size == 0 or given.size != max(given.shape, default=0):
        raise FeedsError(
            f"The output has shape {list(given.shape)}",
            expected="one probability for each window",
            hint="Name the right one in the parameter output",
        )
    found = np.asarray(given, np.float32).reshape(-1)
    if not np.isfinite(found).all():
        raise EngineError(
            "The probabilities hold a NaN or an infinity",
            expected="numbers from 0 to 1",
            hint="Look at the recording, and prove the bundle again with modelport verify",
        )
    return found


def _speech(start: int, end: int, timeline: Timeline) -> Speech:
    return Speech(start, end, start / timeline.rate, end / timeline.rate)


def speech_of(
    probabilities: Sequence[float], wanted: VoiceActivityParameters, timeline: Timeline
) -> list[tuple[int, int]]:
    """Start and end of speech in samples, as Silero's `get_speech_timestamps` finds them."""
    tracker = _Tracker(wanted, timeline)
    for index, probability in enumerate(probabilities):
        tracker.hear(probability, timeline.start(index))
    return _padded(tracker.ended(), wanted.pad_ms * timeline.rate / 1000, timeline)


class _Tracker:
    """Goes from window to window, and is in speech or in silence."""

    def __init__(self, wanted: VoiceActivityParameters, timeline: Timeline) -> None:
        per_ms = timeline.rate / 1000
        self._begin = wanted.threshold
        self._release = wanted.release or max(wanted.threshold - 0.15, 0.01)
        self._least, self._silence = wanted.min_speech_ms * per_ms, wanted.min_silence_ms * per_ms
        self._pause = wanted.min_pause_ms * per_ms
        self._most = float("inf")
        if wanted.max_speech_s is not None:  # room for the padding, and for the window it ends in
            room = timeline.hop + 2 * wanted.pad_ms * per_ms
            self._most = wanted.max_speech_s * timeline.rate - room
        self._last = timeline.start(0) + timeline.samples
        self._found: list[tuple[int, int]] = []
        self._silent()

    def _silent(self) -> None:
        self._start: int | None = None
        self._quiet: int | None = None  # since when, in speech that may be over
        self._pauses: list[tuple[int, int]] = []  # length and start of those in this speech

    def hear(self, probability: float, now: int) -> None:
        if probability >= self._begin:
            self._speaks(now)
        if self._start is None or self._start == now:
            return
        if now - self._start > self._most and not self._cut(now):
            return
        if probability < self._release:
            self._may_end(now)

    def _speaks(self, now: int) -> None:
        if self._quiet is not None:
            if now - self._quiet > self._pause:
                self._pauses.append((now - self._quiet, self._quiet))
            self._quiet = None
        if self._start is None:
            self._start = now

    def _cut(self, now: int) -> bool:
        """Ends speech that is too long; whether it goes on after a pause."""
        assert self._start is not None
        if not self._pauses:
            self._found.append((self._start, now))
            self._silent()
            return False
        length, pause = max(self._pauses, key=lambda each: each[0])
        self._found.append((self._start, pause))
        self._silent()
        self._start = pause + length
        return True

    def _may_end(self, now: int) -> None:
        assert self._start is not None
        if self._quiet is None:
            self._quiet = now
        if now - self._quiet < self._silence:
            return
        if self._quiet - self._start > self._least:
            self._found.append((self._start, self._quiet))
        self._silent()

    def ended(self) -> list[tuple[int, int]]:
        """All speech, at the end of the recording."""
        if self._start is not None and self._last - self._start > self._least:
            self._found.append((self._start, self._last))
        return self._found


def _padded(
    found: Sequence[tuple[int, int]], pad: float, timeline: Timeline
) -> list[tuple[int, int]]:
    """Some more on both sides; where two would meet, they share the silence between them."""
    first, last = timeline.start(0), timeline.start(0) + timeline.samples
    starts, ends = [start for start, _ in found], [end for _, end in found]
    for index in range(len(found)):
        if index == 0:
            starts[0] = int(max(first, starts[0] - pad))
        if index + 1 == len(found):
            ends[index] = int(min(last, ends[index] + pad))
            continue
        silence = starts[index + 1] - ends[index]
        if silence < 2 * pad:
            ends[index] += silence // 2
            starts[index + 1] = max(first, starts[index + 1] - silence // 2)
        else:
            ends[index] = int(min(last, ends[index] + pad))
            starts[index + 1] = int(max(first, starts[index + 1] - pad))
    return list(zip(starts, ends, strict=True))
