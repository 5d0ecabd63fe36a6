"""The same objects from frame to frame.

`Tracker` follows what a detector finds, by where it should be next and by overlap. It looks at no pixels. It
associates as ByteTrack does (Zhang et al., 2022): sure boxes first, then boxes that are not sure, which
are often objects that something hides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import Field, NonNegativeInt

from modelport.errors import UsageError
from modelport.runtime.decoding.boxes import overlaps
from modelport.runtime.tasks.base import Parameters, Result
from modelport.runtime.tasks.detection import Box, row_of
from modelport.runtime.tracking.assignment import pairs_below
from modelport.runtime.tracking.motion import Motion
from modelport.types import Array


class TrackerParameters(Parameters):
    """Attributes:
    sure: score from which on a box is looked for first.
    least: score from which on a box may go on with a track.
    new: score from which on a box that belongs to no track begins one.
    overlap: least overlap of a track's expected box and a sure box.
    unsure_overlap: the same for a box that is not sure.
    new_overlap: the same for a track that was seen only once.
    patience: frames for which a track that is not seen is remembered.
    across_classes: whether the class of an object may change.
    """

    sure: float = Field(0.5, ge=0, le=1)
    least: float = Field(0.1, ge=0, le=1)
    new: float = Field(0.6, ge=0, le=1)
    overlap: float = Field(0.2, ge=0, le=1)
    unsure_overlap: float = Field(0.5, ge=0, le=1)
    new_overlap: float = Field(0.3, ge=0, le=1)
    patience: NonNegativeInt = 30
    across_classes: bool = False


@dataclass(frozen=True)
class Tracked:
    """An object that has been seen before, or will be known again.

    Attributes:
        id: the same in every frame, from 1 on, never given twice.
        box: as the detector found it: left, top, right, bottom.
        age: frames since it was seen first.
        found: what the detector gave: with its mask or landmarks.
    """

    id: int
    box: Box
    label: str
    index: int
    score: float
    age: int
    found: Any

    def to_json(self) -> dict[str, Any]:
        return {"id": self.id, "age": self.age, **self.found.to_json()}


@dataclass(frozen=True)
class Tracks(Result):
    """The objects of a frame that belong to tracks, in order of their ids."""

    objects: tuple[Tracked, ...]

    def __len__(self) -> int:
        return len(self.objects)

    def to_json(self) -> dict[str, Any]:
        return {"objects": [each.to_json() for each in self.objects]}

    def rows(self) -> list[dict[str, Any]]:
        """One for each object."""
        return [{"id": each.id, "age": each.age, **row_of(each)} for each in self.objects]


@dataclass(eq=False)
class _Track:
    """Attributes:
    id: 0 until it is confirmed by a second frame.
    motion: of one box.
    first, last: frames in which it was seen.
    """

    id: int
    index: int
    motion: Motion
    first: int
    last: int


@dataclass(eq=False)
class _Boxes:
    """What a detector found in a frame, as arrays."""

    boxes: Array
    scores: Array
    classes: Array


class Tracker:
    """Follows objects through the frames of one video; keeps state, so one is needed for each video.

    A box that begins a track is reported at once in the first frame, and later only when a second frame
    confirms it.

    Args:
        parameters: see `TrackerParameters`.
    """

    def __init__(self, **parameters: Any) -> None:
        self.parameters = TrackerParameters(**parameters)
        self.reset()

    def reset(self) -> None:
        """Forgets everything: a new video, whose ids begin with 1."""
        self._tracks: list[_Track] = []
        self._frame = 0
        self._last_id = 0

    def update(self, detections: Any) -> Tracks:
        """The objects of the next frame, with ids.

        Args:
            detections: a result with `objects` that have box and score, such as `Detections`,
                `Instances` or `Faces`; let the detector's threshold be `least`.
        """
        objects = getattr(detections, "objects", None)
        if objects is None:
            raise UsageError(
                f"A tracker was given a {type(detections).__name__}",
                expected="a result with objects that have boxes, such as Detections",
            )
        self._frame += 1
        seen = _arrays(objects)
        for track, motion in zip(self._tracks, self._expected(), strict=True):
            track.motion = motion
        found = self._associated(seen)
        self._tracks = [
            track for track in self._tracks if self._frame - track.last <= self._memory(track)
        ]
        return Tracks(
            tuple(
                self._tracked(track, objects[place])
                for track, place in sorted(found, key=lambda pair: pair[0].id)
                if track.id
            )
        )

    def _memory(self, track: _Track) -> int:
        return self.parameters.patience if track.id else 0

    def _tracked(self, track: _Track, found: Any) -> Tracked:
        label = getattr(found, "label", "face")
        age = self._frame - track.first
        return Tracked(track.id, found.box, label, track.index, found.score, age, found)

    def _expected(self) -> list[Motion]:
        """Where each track should be now; what is not seen keeps its height."""
        if not self._tracks:
            return []
        motion = Motion.join([track.motion for track in self._tracks])
        lost = np.array([track.last < self._frame - 1 for track in self._tracks])
        motion.speed[lost, 3] = 0
        stepped = motion.step()
        return [stepped.take(slice(place, place + 1)) for place in range(len(self._tracks))]

    def _associated(self, seen: _Boxes) -> list[tuple[_Track, int]]:
        """Tracks that go on or begin, with the place of their box."""
        how = self.parameters
        known = [track for track in self._tracks if track.id]
        sure = np.flatnonzero(seen.scores >= how.sure)
        found, known, sure_left = self._matched(known, sure, seen, how.overlap)
        unsure = np.flatnonzero((seen.scores >= how.least) & (seen.scores < how.sure))
        present = [track for track in known if track.last == self._frame - 1]
        more, _, _ = self._matched(present, unsure, seen, how.unsure_overlap)
        waiting = [track for track in self._tracks if not track.id]
        confirmed, _, sure_left = self._matched(waiting, sure_left, seen, how.new_overlap)
        begun = [
            (self._begin(place, seen), int(place))
            for place in sure_left
            if seen.scores[place] >= how.new
        ]
        return [*found, *more, *confirmed, *begun]

    def _matched(
        self, tracks: list[_Track], places: Array, seen: _Boxes, overlap: float
    ) -> tuple[list[tuple[_Track, int]], list[_Track], Array]:
        """Pairs; tracks without a box; boxes without a track. Tracks of pairs go on."""
        if not tracks or not len(places):
            return [], tracks, places
        expected = np.concatenate([track.motion.boxes for track in tracks])
        costs = 1 - np.nan_to_num(overlaps(expected, seen.boxes[places]))
        if not self.parameters.across_classes:
            own = np.array([track.index for track in tracks])
            costs[own[:, None] != seen.classes[places]] = 2
        pairs = pairs_below(costs, 1 - overlap)
        for row, column in pairs:
            self._go_on(tracks[row], int(places[column]), seen)
        taken_tracks, taken = {row for row, _ in pairs}, [column for _, column in pairs]
        left = [track for row, track in enumerate(tracks) if row not in taken_tracks]
        found = [(tracks[row], int(places[column])) for row, column in pairs]
        return found, left, np.delete(places, taken)

    def _go_on(self, track: _Track, place: int, seen: _Boxes) -> None:
        track.motion = track.motion.seen(seen.boxes[place : place + 1])
        track.index = int(seen.classes[place])
        track.last = self._frame
        if not track.id:
            track.id = self._next_id()

    def _begin(self, place: int, seen: _Boxes) -> _Track:
        motion = Motion.begin(seen.boxes[place : place + 1])
        number = self._next_id() if self._frame == 1 else 0
        track = _Track(number, int(seen.classes[place]), motion, self._frame, self._frame)
        self._tracks.append(track)
        return track

    def _next_id(self) -> int:
        self._last_id += 1
        return self._last_id


def _arrays(objects: Sequence[Any]) -> _Boxes:
    return _Boxes(
        np.array([each.box for each in objects], np.float64).reshape(-1, 4),
        np.array([each.score for each in objects], np.float64),
        np.array([getattr(each, "index", 0) for each in objects], np.intp),
    )
