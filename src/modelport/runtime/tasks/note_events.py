"""Which notes are played in a recording, when, and how strongly.

The way from activations to notes is that of Basic Pitch (Bittner et al., A Lightweight Instrument-Agnostic
Model for Polyphonic Note Transcription and Multipitch Estimation, 2022): notes begin at peaks of the onsets
and last as long as their pitch is active; what then is left of the activations gives notes without an onset.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from PIL import Image
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from modelport.errors import EngineError, FeedsError
from modelport.runtime.state import StateParameters
from modelport.runtime.tasks.base import Context, Parameters, Result, Task
from modelport.runtime.timeline import Timeline
from modelport.types import Array, Outputs

_NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")


@dataclass(frozen=True)
class Note:
    """Attributes:
    start_s, end_s: when it sounds.
    pitch: its MIDI number: 69 is the A of 440 Hz.
    strength: mean activation, 0 to 1.
    """

    start_s: float
    end_s: float
    pitch: int
    strength: float

    @property
    def name(self) -> str:
        """`A4`, say."""
        return f"{_NAMES[self.pitch % 12]}{self.pitch // 12 - 1}"


@dataclass(frozen=True)
class Notes(Result):
    """The notes, by their start and then from low to high."""

    notes: tuple[Note, ...]

    def to_json(self) -> dict[str, Any]:
        return {"notes": self.rows()}

    def rows(self) -> list[dict[str, Any]]:
        return [{**vars(note), "name": note.name} for note in self.notes]


class NotesParameters(StateParameters):
    """Attributes:
    active, onsets: names of the outputs with the activations of pitches and of their onsets, each windows x
        frames x pitches.
    lowest: MIDI number of the first pitch.
    hop: samples from frame to frame.
    overlap: frames that neighbouring windows share; half of them are cut off at both ends of a window.
    frames_per_s: the whole is cut to as many frames for each second of the recording.
    onset_threshold: peaks of the onsets from here on begin a note.
    threshold: from this activation on, a pitch sounds.
    patience: a note ends where its pitch is below for so many frames.
    longer_than: a note has more frames.
    infer_onsets: whether sudden rises of a pitch count as onsets too.
    without_onset: whether pitches that sound without one give notes too.
    rate: samples in a second, where nobody prepared a recording.
    """

    active: str
    onsets: str
    lowest: NonNegativeInt = 21
    hop: PositiveInt = 256
    overlap: NonNegativeInt = 30
    frames_per_s: PositiveFloat = 86
    onset_threshold: float = Field(default=0.5, gt=0, le=1)
    threshold: float = Field(default=0.3, gt=0, le=1)
    patience: PositiveInt = 11
    longer_than: NonNegativeInt = 11
    infer_onsets: bool = True
    without_onset: bool = True
    rate: PositiveInt = 22050


class NotesTask(Task[NotesParameters, Notes]):
    name: ClassVar[str] = "notes"
    summary: ClassVar[str] = "which notes are played in a recording"
    Parameters: ClassVar[type[Parameters]] = NotesParameters

    def decode(self, outputs: Outputs, context: Context[NotesParameters]) -> Notes:
        wanted = context.parameters
        active, onsets = (_windows(outputs, name) for name in (wanted.active, wanted.onsets))
        if active.shape != onsets.shape or active.shape[1] <= wanted.overlap:
            raise FeedsError(
                f"The outputs have shapes {list(active.shape)} and {list(onsets.shape)}",
                expected=f"equal ones of windows x more than {wanted.overlap} frames x pitches",
            )
        windows, frames, _ = active.shape
        kept = frames - 2 * (wanted.overlap // 2)
        timeline = context.timeline or Timeline(
            wanted.rate, windows * kept * wanted.hop, kept * wanted.hop
        )
        count = int(timeline.samples * (wanted.frames_per_s / timeline.rate))
        cut = wanted.overlap // 2
        active, onsets = _joined(active, cut)[:count], _joined(onsets, cut)[:count]
        times = _times(windows, kept, wanted.hop, timeline)
        found = [
            Note(float(times[start]), float(times[end]), pitch + wanted.lowest, strength)
            for start, end, pitch, strength in notes_of(active, onsets, wanted)
        ]
        return Notes(tuple(sorted(found, key=lambda note: (note.start_s, note.pitch))))

    def draw(self, image: Image.Image, result: Notes) -> Image.Image:
        return image.copy()

    def describe(self, result: Notes) -> str:
        few = ", ".join(f"{note.name} {note.start_s:.1f} s" for note in result.notes[:5])
        more = ", ..." if len(result.notes) > 5 else ""
        return f"{len(result.notes)} notes: {few}{more}" if few else "no notes"


def _windows(outputs: Outputs, name: str) -> Array:
    if name not in outputs or outputs[name].ndim != 3:
        shapes = ", ".join(f"{each!r} {list(array.shape)}" for each, array in outputs.items())
        raise FeedsError(
            f"The outputs are {shapes}", expected=f"windows x frames x pitches named {name!r}"
        )
    found = np.asarray(outputs[name], np.float64)
    if not np.isfinite(found).all():
        raise EngineError(
            f"The output {name!r} holds a NaN or an infinity",
            expected="activations from 0 to 1",
            hint="Look at the recording, and prove the bundle again with modelport verify",
        )
    return found


def _joined(windows: Array, cut: int) -> Array:
    """One row of frames after another, without those that the neighbours have too."""
    return windows[:, cut : windows.shape[1] - cut].reshape(-1, windows.shape[2])


def _times(windows: int, kept: int, hop: int, timeline: Timeline) -> Array:
    """When each frame is, in seconds; a window's first frame is where its own samples begin."""
    starts = np.array([timeline.start(index) for index in range(windows)])
    return np.asarray((starts[:, None] + np.arange(kept) * hop).reshape(-1) / timeline.rate)


Span = tuple[int, int, int, float]
"""First frame, frame after the last, pitch, strength."""


def notes_of(active: Array, onsets: Array, wanted: NotesParameters) -> list[Span]:
    """The notes in activations of frames x pitches, those with an onset first."""
    if len(active) < 3:
        return []
    if wanted.infer_onsets:
        onsets = _with_rises(onsets, active)
    left = active.copy()
    found = list(_begun(active, left, onsets, wanted))
    if wanted.without_onset:
        found += _remaining(active, left, wanted)
    return found


def _with_rises(onsets: Array, active: Array) -> Array:
    """Rises over one frame and over two, the smaller of both, scaled to the strongest onset."""
    rises = np.zeros_like(active)
    rises[2:] = np.minimum(active[2:] - active[1:-1], active[2:] - active[:-2]).clip(0)
    most = rises.max(initial=0)
    return np.maximum(onsets, onsets.max() * rises / most) if most > 0 else onsets


def _begun(active: Array, left: Array, onsets: Array, wanted: NotesParameters) -> Iterator[Span]:
    """Notes from their onset on, the last ones first; takes them out of what is left."""
    inner = onsets[1:-1]
    peaks = (inner > onsets[:-2]) & (inner > onsets[2:]) & (inner >= wanted.onset_threshold)
    for before, pitch in np.argwhere(peaks)[::-1].tolist():
        start = before + 1
        stop, below = _followed(left[:, pitch], start + 1, len(left) - 1, wanted)
        end = stop - below
        if end - start > wanted.longer_than:
            _take(left, start, end, pitch)
            yield start, end, pitch, float(active[start:end, pitch].mean())


def _remaining(active: Array, left: Array, wanted: NotesParameters) -> Iterator[Span]:
    """Notes around the strongest activation that is left, as long as one sounds."""
    while True:
        middle, pitch = (int(place) for place in np.unravel_index(left.argmax(), left.shape))
        if left[middle, pitch] <= wanted.threshold:
            return
        left[middle, pitch] = 0
        column = left[:, pitch]
        stop, below = _followed(column, middle + 1, len(left) - 1, wanted)
        end = stop - 1 - below
        steps, above = _followed(column[::-1], len(left) - middle, len(left) - 1, wanted)
        first = len(left) - 1 - steps  # the frame where looking back came to its end
        start = first + 1 + above
        _take(left, middle + 1, stop, pitch)
        _take(left, first + 1, middle, pitch)
        if end - start > wanted.longer_than:
            yield start, end, pitch, float(active[start:end, pitch].mean())


def _followed(column: Array, start: int, stop: int, wanted: NotesParameters) -> tuple[int, int]:
    """How far a pitch sounds from there: the frame after the last one seen, and how many were below."""
    below, place = 0, start
    while place < stop and below < wanted.patience:
        below = below + 1 if column[place] < wanted.threshold else 0
        place += 1
    return place, below


def _take(left: Array, start: int, end: int, pitch: int) -> None:
    """A note also excites its neighbours in pitch."""
    left[start:end, max(0, pitch - 1) : pitch + 2] = 0
