"""One label out of many, or all that apply."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from PIL import Image
from pydantic import Field, PositiveInt

from modelport.errors import EngineError, FeedsError
from modelport.runtime.decoding.reading import sigmoid
from modelport.runtime.decoding.sheet import Sheet
from modelport.runtime.tasks.base import Context, Parameters, Result, Task
from modelport.types import Array, Outputs

Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True)
class ClassScore:
    """A class with its probability."""

    index: int
    label: str
    score: float


@dataclass(frozen=True)
class Classification(Result):
    """The most probable classes, best first; with several labels to a picture, those that apply.

    Where none applies, `label` is empty, `score` 0 and `index` -1.
    """

    classes: tuple[ClassScore, ...]

    @property
    def label(self) -> str:
        return self.classes[0].label if self.classes else ""

    @property
    def score(self) -> float:
        return self.classes[0].score if self.classes else 0.0

    @property
    def index(self) -> int:
        return self.classes[0].index if self.classes else -1

    def to_json(self) -> dict[str, Any]:
        return {
            "label": self.label,
            "score": self.score,
            "classes": [vars(c) for c in self.classes],
        }


@dataclass(frozen=True)
class MultiLabel(Classification):
    """The classes that apply to a picture, best first: none, one or several."""


class ClassificationParameters(Parameters):
    """Attributes:
    scores: what the model gives: `logits` (softmax follows, or a sigmoid for several labels) or
        `probabilities`.
    top: how many classes a result lists at most.
    multi_label: whether several classes, or none, may apply to one picture.
    threshold: with several labels: the probability from which on one applies; one number, or one to a
        class.
    """

    scores: Literal["logits", "probabilities"] = "logits"
    top: PositiveInt = 5
    multi_label: bool = False
    threshold: Share | tuple[Share, ...] = 0.5


class ClassificationTask(Task[ClassificationParameters, Classification]):
    name: ClassVar[str] = "classification"
    summary: ClassVar[str] = "one label for a picture"
    Parameters: ClassVar[type[Parameters]] = ClassificationParameters
    has_classes: ClassVar[bool] = True

    def decode(
        self, outputs: Outputs, context: Context[ClassificationParameters]
    ) -> Classification:
        scores = next(iter(outputs.values()))
        if scores.ndim != 2 or len(scores) != 1 or scores.size == 0:
            raise FeedsError(
                f"The first output has shape {list(scores.shape)}",
                expected="one row of class scores for the classification task",
                hint="Deploy the model with --task tensors to have the outputs as they are",
            )
        row = scores[0] if scores.dtype == np.float32 else scores[0].astype(np.float64)
        top = float(row.max())
        if not math.isfinite(top):  # a class may be ruled out with -inf, which softmax bears
            raise EngineError(
                "The first output holds a NaN or an infinity",
                expected="finite class scores",
                hint="Look at the input, and prove the bundle again with modelport verify",
            )
        if context.parameters.multi_label:
            return _applying(row, context)
        best = _best(row, context.parameters.top)  # softmax may round to ties
        if context.parameters.scores == "logits":
            powers = np.exp(row - top)
            scale = 1 / float(powers.sum(dtype=np.float64))
        else:
            powers, scale = row, 1.0
        return Classification(
            tuple(
                ClassScore(index, context.label(index), float(powers[index]) * scale)
                for index in best.tolist()
            )
        )

    def draw(self, image: Image.Image, result: Classification) -> Image.Image:
        drawn = image.convert("RGB")
        Sheet(drawn).caption(self.describe(result))
        return drawn

    def describe(self, result: Classification) -> str:
        shown = result.classes if isinstance(result, MultiLabel) else result.classes[:1]
        return ", ".join(f"{each.label} {each.score:.2f}" for each in shown) or "no label"


def _applying(row: Array, context: Context[ClassificationParameters]) -> MultiLabel:
    """The classes that reach their threshold."""
    wanted = context.parameters
    least = np.asarray(wanted.threshold, np.float64)
    if least.ndim and len(least) != len(row):
        raise FeedsError(
            f"The first output has {len(row)} classes, and the parameter threshold {len(least)} "
            "numbers",
            expected="one number for all classes, or one to a class",
        )
    shares = sigmoid(row) if wanted.scores == "logits" else row
    best = [int(index) for index in _best(row, len(row)) if (shares >= least)[index]]
    return MultiLabel(
        tuple(
            ClassScore(index, context.label(index), float(shares[index]))
            for index in best[: wanted.top]
        )
    )


def _best(row: Array, count: int) -> Array:
    """Indices of the largest values, best first; ties go to the lower index."""
    count = max(1, min(count, len(row)))
    least = np.partition(row, len(row) - count)[len(row) - count]
    few = np.flatnonzero(row >= least)  # with all that tie for the last place
    return few[np.argsort(-row[few], kind="stable")[:count]]
