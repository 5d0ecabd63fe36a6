"""Queries that each have a class and a mask: which pixels each one claims.

After MaskFormer (Cheng et al. 2021), section 3.4, and DETR (Carion et al. 2020), section 5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from modelport.runtime.decoding.planes import Grid
from modelport.runtime.decoding.reading import softmax
from modelport.types import Array


@dataclass(frozen=True, eq=False)
class Found:
    """Queries that found something.

    Attributes:
        classes: n class numbers.
        scores: n probabilities of those, float32.
        masks: n x height x width of the output, logits.
    """

    classes: Array
    scores: Array
    masks: Array


@dataclass(frozen=True, eq=False)
class Claims:
    """Attributes:
    owner: height x width of the picture, int32: the query of each pixel; -1 where there is none.
    alone: n: pixels that each query would have without the others.
    """

    owner: Array
    alone: Array

    def areas(self) -> Array:
        """Pixels that each query has, n."""
        return np.bincount(self.owner[self.owner >= 0], minlength=len(self.alone))


def kept(classes: Array, masks: Array, threshold: float) -> Found:
    """The queries whose best class is a class and likely enough; the last score is that of none.

    Args:
        classes: queries x (classes + 1), logits.
        masks: queries x height x width, logits.
    """
    probabilities = softmax(classes)
    best = probabilities.argmax(1)
    scores = probabilities.max(1)
    keep = (best != classes.shape[1] - 1) & (scores > threshold)
    return Found(best[keep], scores[keep].astype(np.float32), masks[keep])


def claimed(
    probabilities: Array, scores: Array, grid: Grid, mask_threshold: float, rule: str
) -> Claims:
    """Which query has each pixel: the one whose mask, weighed by its score, is the largest there.

    Args:
        probabilities: n x height x width of the output.
        rule: see the task's parameter.
    """
    owner = np.full(grid.size, -1, np.int32)
    alone = np.zeros(len(scores), np.int64)
    if not len(scores):
        return Claims(owner, alone)
    for rows, values in grid.bands(probabilities):
        weighed = values * scores[:, None, None]
        best = weighed.argmax(0).astype(np.int32)
        inside = (weighed if rule == "transformers" else values) >= mask_threshold
        alone += inside.sum((1, 2))
        if rule != "transformers":
            best[~np.take_along_axis(inside, best[None], 0)[0]] = -1
        owner[rows] = best
    seen = grid.seen()
    if seen is not None:
        owner[~seen] = -1
    return Claims(owner, alone)
