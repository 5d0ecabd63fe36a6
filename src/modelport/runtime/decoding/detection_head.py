"""The boxes that a detector's outputs hold.

`find` follows `HeadParameters`: it throws away what cannot pass the threshold, decodes the boxes of the
rest, and thins out those that overlap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from modelport.errors import EngineError, FeedsError
from modelport.runtime.decoding.anchors import Priors
from modelport.runtime.decoding.box_codes import ABSOLUTE, RELATIVE, SWAPPED, expected_bins
from modelport.runtime.decoding.boxes import FAR
from modelport.runtime.decoding.class_scores import Candidates, best_of, find_candidates, peaks
from modelport.runtime.decoding.detection_parameters import HeadParameters
from modelport.runtime.decoding.head_parts import Grid, Part, Rows, floats, joined
from modelport.runtime.placement import Placement
from modelport.runtime.tasks.base import Context
from modelport.types import Array, Outputs


@dataclass(frozen=True, eq=False)
class Found:
    """What a head holds, best first.

    Attributes:
        boxes: N x 4, corners in pixels of the tensor.
        scores: N.
        classes: N, numbers of labels.
        rows: N, places in the head, counted through all levels.
        priors: of these rows, where the head has some.
    """

    boxes: Array
    scores: Array
    classes: Array
    rows: Array
    priors: Priors | None = None

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, chosen: Array) -> Found:
        priors = None if self.priors is None else self.priors.take(chosen)
        return Found(
            self.boxes[chosen],
            self.scores[chosen],
            self.classes[chosen],
            self.rows[chosen],
            priors,
        )


@dataclass(frozen=True, eq=False)
class _Head:
    """Outputs as rows, level by level."""

    boxes: list[Rows]
    scores: list[Rows]
    objectness: list[Rows] | None
    priors: list[Priors] | None

    @property
    def starts(self) -> Array:
        """The number of each level's first row."""
        return np.cumsum([0, *(len(level.values) for level in self.scores)])


def find(outputs: Outputs, context: Context[Any]) -> Found:
    """The boxes, after the NMS where there is one.

    Args:
        outputs: by name, each with a batch axis of one, or without one where the model did an NMS.
        context: whose parameters are `HeadParameters`.

    Raises:
        FeedsError: where the outputs are not what the parameters say.
        EngineError: where scores or boxes are NaN.
    """
    how: HeadParameters = context.parameters
    size = _size_of(how, context)
    head = _read(outputs, how, size)
    if how.selected is not None:
        candidates = _selected(outputs, how, head)
    else:
        candidates = _candidates(outputs, how, head)
    found = _located(candidates, how, head, size, context.placement)
    return _thinned(found, how, context.placement)


def _size_of(how: HeadParameters, context: Context[Any]) -> Grid | None:
    """Height and width of the tensor, if anything tells."""
    if how.size is not None and context.placement is None:
        return how.size
    sides = context.tensor
    return None if sides is None else sides[::-1]


def _demanded(size: Grid | None, reason: str) -> Grid:
    if size is None:
        raise FeedsError(
            f"Nothing tells the size of the tensor, and {reason}",
            expected="the height and width of the model's input",
            hint="Give the parameter `size`, or the feeds to `decode`",
        )
    return size


def _read(outputs: Outputs, how: HeadParameters, size: Grid | None) -> _Head:
    counts = how.priors.per_place() if how.priors else (1,)
    parts = how.boxes if isinstance(how.boxes, tuple) else (how.boxes,)
    boxes = joined(parts, outputs, how.arrangement, counts)
    scores = how.scores.read(outputs, how.arrangement, counts)
    objectness = how.objectness and how.objectness.read(outputs, how.arrangement, counts)
    priors = _priors(how, boxes, size)
    if priors is not None and len(scores) == 1 and len(priors) > 1:
        if how.candidates_of == "level":
            cuts = np.cumsum([len(level) for level in priors])
            _check_rows(boxes, scores, [Priors.join(priors)])
            boxes, scores = _split(boxes[0], cuts), _split(scores[0], cuts)
            objectness = _split(objectness[0], cuts) if objectness else None
        else:
            priors = [how.priors.whole(size)] if how.priors and size else [Priors.join(priors)]
    _check_rows(boxes, scores, priors)
    return _Head(boxes, _of_peaks(scores, how), objectness or None, priors)


def _priors(how: HeadParameters, boxes: Sequence[Rows], size: Grid | None) -> list[Priors] | None:
    if how.priors is None:
        return None
    grids = [level.grid for level in boxes]
    if size is None and grids[0] is not None and how.priors.strides:
        stride = how.priors.strides[0]
        size = (round(grids[0][0] * stride), round(grids[0][1] * stride))
    return how.priors.levels(_demanded(size, "its priors lie in it"), grids)


def _split(rows: Rows, cuts: Array) -> list[Rows]:
    return [Rows(each) for each in np.split(rows.values, cuts[:-1])]


def _of_peaks(scores: list[Rows], how: HeadParameters) -> list[Rows]:
    if not how.peaks:
        return scores
    found = []
    for level in scores:
        if level.grid is None:
            raise FeedsError(
                f"Peaks are of maps, and the scores stand as {how.arrangement}",
                expected="the arrangement maps or maps_last",
            )
        found.append(Rows(peaks(level.values, level.grid, how.peaks), level.grid))
    return found


def _check_rows(
    boxes: Sequence[Rows], scores: Sequence[Rows], priors: Sequence[Priors] | None
) -> None:
    sizes = [[len(level.values) for level in part] for part in (boxes, scores)]
    if sizes[0] != sizes[1]:
        raise FeedsError(
            f"The head has {_told(sizes[0])} boxes and scores for {_told(sizes[1])}",
            expected="as many boxes as rows of scores",
            hint="Check the arrangement of both parts in the parameters of the task",
        )
    places = sizes[0] if priors is None else [len(level) for level in priors]
    if places != sizes[0]:
        raise FeedsError(
            f"The head has {_told(sizes[0])} boxes, and its priors are {_told(places)}",
            expected="one prior for each box",
            hint="Check strides, anchors and the size of the input in the parameters of the task",
        )


def _told(sizes: Sequence[int]) -> str:
    return " + ".join(map(str, sizes))


def _candidates(outputs: Outputs, how: HeadParameters, head: _Head) -> Candidates:
    """Of all levels, rows counted through them."""
    found = []
    for index, start in enumerate(head.starts[:-1].tolist()):
        there = head.objectness[index].values[:, 0] if head.objectness else None
        level = find_candidates(head.scores[index].values, there, how.scoring)
        if how.candidates and how.candidates_of == "level":
            level = best_of(level, how.candidates, False)
        found.append(Candidates(level.rows + start, level.classes, level.scores))
    parts = zip(*((each.rows, each.classes, each.scores) for each in found), strict=True)
    joint = found[0] if len(found) == 1 else Candidates(*map(np.concatenate, parts))
    joint = _labelled(joint, outputs, how)
    if how.candidates and how.candidates_of != "level":
        joint = best_of(joint, how.candidates, how.candidates_of == "class")
    return joint


def _labelled(candidates: Candidates, outputs: Outputs, how: HeadParameters) -> Candidates:
    """With the classes that the model gives by number, and without rows it left empty."""
    if how.counts is not None:
        (filled,) = how.counts.read(outputs, "values")
        candidates = candidates.take(candidates.rows < int(filled.values.flat[0]))
    classes = candidates.classes
    if how.labels is not None:
        levels = how.labels.read(outputs, how.arrangement)
        numbers = np.concatenate([level.values[:, 0] for level in levels])
        classes = np.rint(numbers[candidates.rows]).astype(np.intp)
    return Candidates(candidates.rows, classes + how.label_shift, candidates.scores)


def _selected(outputs: Outputs, how: HeadParameters, head: _Head) -> Candidates:
    """What ONNX's NonMaxSuppression chose of the first picture; rows of -1 are none."""
    assert how.selected is not None
    (chosen,) = how.selected.read(outputs, "rows")
    triples = chosen.values[chosen.values[:, 0] == 0].astype(np.intp)
    columns, rows = triples[:, 1], triples[:, 2]
    scores = floats(head.scores[0].values[rows, columns])
    passed = scores > how.threshold
    return Candidates(rows[passed], columns[passed] + how.label_shift, scores[passed])


def _located(
    candidates: Candidates,
    how: HeadParameters,
    head: _Head,
    size: Grid | None,
    placement: Placement | None,
) -> Found:
    """With the boxes of the candidates alone."""
    rows = candidates.rows
    numbers = floats(_gathered([level.values for level in head.boxes], head.starts, rows))
    priors = None if head.priors is None else Priors.join(head.priors).take(rows)
    if priors is not None and how.counting == "pixels":
        priors = priors.on_pixels(placement)
    boxes = boxes_of(numbers, priors, how)
    if np.isnan(boxes).any():
        raise EngineError(
            "The boxes of the model hold a NaN",
            expected="numbers",
            hint="Look at the feeds, or try another variant",
        )
    if how.normalised:
        high, wide = _demanded(size, "boxes are shares of it")
        boxes = boxes * np.array([wide, high, wide, high], boxes.dtype)
    boxes = boxes.clip(-FAR, FAR)
    if how.clip:
        high, wide = _demanded(size, "boxes are cut off at its edges")
        boxes = boxes.clip(0, np.array([wide, high, wide, high], boxes.dtype))
    return Found(boxes, candidates.scores, candidates.classes, rows, priors)


def _gathered(levels: Sequence[Array], starts: Array, rows: Array) -> Array:
    """Rows by their number through all levels."""
    if len(levels) == 1:
        return levels[0][rows]
    which = np.searchsorted(starts, rows, side="right") - 1
    found = np.empty((len(rows), levels[0].shape[1]), levels[0].dtype)
    for index, values in enumerate(levels):
        here = which == index
        found[here] = values[rows[here] - starts[index]]
    return found


def boxes_of(numbers: Array, priors: Priors | None, how: HeadParameters) -> Array:
    """Corners in the unit of the head, N x 4, from N x 4 numbers or N x (4 * bins)."""
    wanted = 4 * (how.bins or 1)
    if numbers.shape[1] != wanted:
        raise FeedsError(
            f"The head has {numbers.shape[1]} numbers for each box",
            expected=f"{wanted}",
            hint="Check `boxes` and `bins` in the parameters of the task",
        )
    if how.bins:
        numbers = expected_bins(numbers, how.bins)
    if how.vertical_first:
        numbers = numbers[:, SWAPPED]
    if priors is None or how.code in ABSOLUTE:
        return ABSOLUTE[how.code](numbers, priors, how.scaling)
    with np.errstate(over="ignore"):  # infinite sides are cut off later
        return RELATIVE[how.code](numbers, priors, how.scaling)


def _thinned(found: Found, how: HeadParameters, placement: Placement | None) -> Found:
    if how.nms is None:
        order = np.argsort(-found.scores, kind="stable")[: how.most]
        return found.take(order)
    rivals = found.boxes
    if how.nms.by == "priors":
        assert found.priors is not None  # the parameters see to it
        # Of whole pixels many overlap by 1/2 exactly, which in the tensor would be a hair more or less.
        exact = how.counting == "pixels"
        rivals = found.priors.pixels(placement) if exact else found.priors.corners
    order, scores = how.nms.keep(rivals, found.scores, found.classes, how.most, how.threshold)
    kept = found.take(order)
    return Found(kept.boxes, scores, kept.classes, kept.rows, kept.priors)


def extras(
    part: Part | tuple[Part, ...], outputs: Outputs, how: HeadParameters, found: Found
) -> Array:
    """Other channels of the rows that were found: landmarks, angles, coefficients of masks.

    Returns:
        N x channels, in the order of the rows.
    """
    counts = how.priors.per_place() if how.priors else (1,)
    parts = part if isinstance(part, tuple) else (part,)
    levels = [each.values for each in joined(parts, outputs, how.arrangement, counts)]
    starts = np.cumsum([0, *(len(values) for values in levels)])
    return floats(_gathered(levels, starts, found.rows))
