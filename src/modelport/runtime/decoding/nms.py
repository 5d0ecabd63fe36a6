"""Of boxes that overlap, the best one stays: hard and soft non-maximum suppression."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from pydantic import Field, PositiveFloat

from modelport.runtime.decoding.boxes import areas, overlaps, overlaps_of_sides
from modelport.runtime.tasks.base import Parameters
from modelport.types import Array

BLOCK = 64
"""Boxes settled at a time: as many as a machine word has bits."""

SPARSE = 6
"""Pairs are compared one by one where less than one in so many may overlap."""


class Nms(Parameters):
    """How boxes that overlap are thinned out.

    Attributes:
        iou: a box goes where it overlaps a better one by more than this: shared area over joint area.
        over: what the shared area is divided by: the `union` of both boxes, or the `smaller` one, which
            also takes away a box inside a larger one.
        by: what overlaps: the `boxes`, or the `priors` they were found at, before these were moved
            (MTCNN).
        agnostic: whether boxes of different classes compete.
        soft: instead of taking a box away, lower its score: `linear` by the overlap where that is
            more than `iou`, `gaussian` always (Bodla et al., Soft-NMS, 2017).
        sigma: width of the `gaussian`.
    """

    iou: float = Field(0.5, ge=0, le=1)
    over: Literal["union", "smaller"] = "union"
    by: Literal["boxes", "priors"] = "boxes"
    agnostic: bool = False
    soft: Literal["no", "linear", "gaussian"] = "no"
    sigma: PositiveFloat = 0.5

    def keep(
        self, boxes: Array, scores: Array, classes: Array, most: int | None, threshold: float
    ) -> tuple[Array, Array]:
        """Indices of the boxes that stay, best first, and their scores.

        Args:
            boxes: N x 4, corners of what `by` says.
            most: how many may stay; None for all.
            threshold: what soft scores may not fall below.
        """
        groups = None if self.agnostic else classes
        smaller = self.over == "smaller"
        if self.soft != "no":
            return soft_nms(
                boxes,
                scores,
                self.iou,
                classes=groups,
                most=most,
                threshold=threshold,
                sigma=self.sigma if self.soft == "gaussian" else None,
                smaller=smaller,
            )
        kept = nms(boxes, scores, self.iou, classes=groups, most=most, smaller=smaller)
        return kept, scores[kept]


def nms(
    boxes: Array,
    scores: Array,
    iou: float,
    *,
    classes: Array | None = None,
    most: int | None = None,
    smaller: bool = False,
) -> Array:
    """Indices of the boxes that no better box overlaps by more than `iou`, best first.

    Equal scores go to the lower index. The best 64 are settled among themselves and then against all
    others at once, so there is no step for each box.

    Args:
        boxes: N x 4, corners.
        scores: N.
        classes: N numbers; only boxes of the same class compete. None where all do.
        most: the search ends when so many stay.
        smaller: whether the shared area counts as a share of the smaller box, not of both together.
    """
    order = np.argsort(-scores, kind="stable")
    sorted_boxes = boxes[order]
    sides, sizes = np.ascontiguousarray(sorted_boxes.T), areas(sorted_boxes)
    groups = None if classes is None else classes[order]
    least = _least_more(iou, sides.dtype)
    left, kept, count = np.arange(len(order)), [np.empty(0, np.intp)], 0
    while len(left) and (most is None or count < most):
        head, tail = left[:BLOCK], left[BLOCK:]
        over = _rivals(sides, sizes, groups, head, left, least, smaller)
        alive = _settled(over[:, : len(head)])
        kept.append(head[alive])
        count += len(kept[-1])
        left = tail[~over[alive][:, len(head) :].any(0)]
    return np.asarray(order[np.concatenate(kept)[:most]])


def _least_more(bound: float, dtype: np.dtype[Any]) -> Any:
    """The least number of that type that is more than the bound, which may lie between two of them."""
    near = dtype.type(bound)
    return near if float(near) > bound else np.nextafter(near, dtype.type(np.inf))


def _rivals(
    sides: Array,
    sizes: Array,
    groups: Array | None,
    head: Array,
    left: Array,
    least: float,
    smaller: bool,
) -> Array:
    """Whether each box of the head and each of those left overlap by `least` or more.

    Few boxes are of one class and stand above each other, so mostly only these pairs are compared.
    """
    start, end = sides[0], sides[2]
    near = start[head][:, None] < end[left]
    near &= end[head][:, None] > start[left]
    if groups is not None:
        near &= groups[head][:, None] == groups[left]
    if np.count_nonzero(near) * SPARSE > near.size:
        over = overlaps_of_sides(
            sides[:, head], sizes[head], sides[:, left], sizes[left], smaller=smaller
        )
        return np.asarray((over >= least) & near)
    row, column = np.divmod(np.flatnonzero(near), len(left))
    some, others = head[row], left[column]
    top, bottom = sides[1], sides[3]
    high = np.minimum(bottom[some], bottom[others]) - np.maximum(top[some], top[others])
    wide = np.minimum(end[some], end[others]) - np.maximum(start[some], start[others])
    shared = np.maximum(wide, 0) * np.maximum(high, 0)
    one, other = sizes[some], sizes[others]
    whole = np.minimum(one, other) if smaller else one + other - shared
    with np.errstate(divide="ignore", invalid="ignore"):
        near[row, column] = shared / whole >= least
    return np.asarray(near)


def _settled(over: Array) -> Array:
    """Which of at most 64 boxes stay, best first; each row says whom a box takes away."""
    bits = np.zeros((len(over), BLOCK), bool)
    bits[:, : len(over)] = np.triu(over, 1)
    rows = np.packbits(bits, axis=1, bitorder="little").view("<u8")[:, 0].tolist()
    gone = 0
    for index, row in enumerate(rows):
        if not gone >> index & 1:
            gone |= row
    return np.array([not gone >> index & 1 for index in range(len(rows))], bool)


def soft_nms(
    boxes: Array,
    scores: Array,
    iou: float,
    *,
    classes: Array | None = None,
    most: int | None = None,
    threshold: float = 0.0,
    sigma: float | None = None,
    smaller: bool = False,
) -> tuple[Array, Array]:
    """Lowers scores instead of taking boxes away (Bodla et al., Soft-NMS, 2017).

    Args:
        boxes, scores, classes, most, smaller: as for `nms`.
        iou: overlaps up to this cost nothing, without a `sigma`.
        threshold: boxes at or below it go.
        sigma: of the Gaussian; None lowers linearly.

    Returns:
        Indices in the order they were settled, and the scores they then had.
    """
    left, values = np.arange(len(scores)), scores.astype(np.float64)
    kept: list[int] = []
    found: list[float] = []
    while len(left) and (most is None or len(kept) < most):
        place = int(np.argmax(values[left]))
        best = int(left[place])
        if values[best] <= threshold:
            break
        kept.append(best)
        found.append(float(values[best]))
        left = np.delete(left, place)
        over = overlaps(boxes[best : best + 1], boxes[left], smaller=smaller)[0]
        shared = np.nan_to_num(over.astype(np.float64))
        if classes is not None:
            shared[classes[left] != classes[best]] = 0
        if sigma is None:
            values[left] *= np.where(shared > iou, 1 - shared, 1)
        else:
            values[left] *= np.exp(-(shared**2) / sigma)
    return np.array(kept, np.intp), np.array(found, scores.dtype)
