"""What happens in a clip."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from modelport.errors import FeedsError
from modelport.runtime.decoding.reading import TENSORS, softmax
from modelport.runtime.tasks.base import Context, Parameters
from modelport.runtime.tasks.classification import (
    Classification,
    ClassificationParameters,
    ClassificationTask,
)
from modelport.types import Array, Outputs


class VideoClassificationParameters(ClassificationParameters):
    """Attributes:
    views: rows of scores that a model gives for several views of one clip become one: the mean of
        their `probabilities`, or of their `scores` as they are.
    """

    __doc__ = f"{ClassificationParameters.__doc__}{__doc__.removeprefix('Attributes:')}"

    views: Literal["probabilities", "scores"] = "probabilities"


class VideoClassificationTask(ClassificationTask):
    name: ClassVar[str] = "video_classification"
    summary: ClassVar[str] = "one label for a clip"
    Parameters: ClassVar[type[Parameters]] = VideoClassificationParameters

    def decode(
        self, outputs: Outputs, context: Context[ClassificationParameters]
    ) -> Classification:
        name, scores = next(iter(outputs.items()))
        if scores.ndim == 3 and len(scores) == 1:  # 1 x views x classes
            scores = scores[0]
        if scores.ndim != 2 or scores.size == 0:
            raise FeedsError(
                f"The first output has shape {list(scores.shape)}",
                expected="class scores of one clip, or rows of them for its views",
                hint=TENSORS,
            )
        return super().decode({name: _one_row(scores, context)}, context)


def _one_row(scores: Array, context: Context[ClassificationParameters]) -> Array:
    if len(scores) == 1:
        return scores
    wanted = context.parameters
    views = wanted.views if isinstance(wanted, VideoClassificationParameters) else "scores"
    if views == "scores" or wanted.scores != "logits":
        return np.asarray(scores.mean(0, keepdims=True))
    shares = softmax(scores.astype(np.float64)).mean(0, keepdims=True)
    return np.asarray(np.log(np.maximum(shares, 1e-300)))  # whose softmax are the shares
