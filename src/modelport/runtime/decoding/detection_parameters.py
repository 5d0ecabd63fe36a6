"""What a detector's outputs mean, as data."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from modelport.runtime.decoding.anchors import PriorGrid
from modelport.runtime.decoding.box_codes import RELATIVE, Code, Scaling, Unit
from modelport.runtime.decoding.class_scores import Activation, Background, Joining, Scoring
from modelport.runtime.decoding.head_parts import Arrangement, Part
from modelport.runtime.decoding.nms import Nms
from modelport.runtime.tasks.base import Parameters

PRESET = "preset"


class HeadParameters(Parameters):
    """How the outputs of a detector are read.

    `preset` may name a usual head, see `modelport.runtime.decoding.detection_presets`; the other
    parameters then change it.

    Attributes:
        arrangement: how outputs stand, where a part does not say otherwise.
        boxes: the four numbers of each box, or 4 * `bins` of them. A list joins parts side by side.
        scores: one for each class.
        objectness: one number that the class scores are multiplied with.
        labels: numbers of classes, where a model gives them in place of scores for each.
        counts: how many rows are filled, where a model says it.
        selected: rows (batch, class, place) of ONNX's NonMaxSuppression: nothing else is looked at.
        code: what the numbers of a box mean. `xyxy`, `xywh`, `cxcywh` are places; `ltrb` distances to
            a point; `deltas`, `linear`, `yolov3`, `yolov5`, `centre_size`, `edges` are relative to
            priors.
        normalised: whether places are shares of the tensor's sides, not pixels.
        vertical_first: whether y stands before x, and heights before widths.
        bins: of a distribution over distances, whose mean is meant; 0 where there is none.
        variances: that deltas and linear numbers are multiplied by.
        limit: the largest exponent in deltas.
        unit: of distances and plain sides.
        priors: what the numbers are relative to.
        size: height and width of the tensor, where nothing else tells: where feeds are no pictures.
        clip: whether boxes are cut off at the edges of the tensor before the NMS.
        counting: what corners in the picture are. `edges`: places. `pixels`: the first and the last pixel
            of a box, counted from 1, and priors are brought down to whole pixels: as in MATLAB, and so
            in MTCNN.
        beyond: whether boxes may reach out of the picture; else they are cut off at its edges.
        activation: of class scores.
        objectness_activation: of the objectness.
        background: which column of the scores is no class.
        joining: of class score and objectness: their product, or the root of it.
        label_shift: added to the number of each class to find its label.
        multi_label: whether one place may be an object of each class that passes the threshold.
        peaks: side of the square of cells that a score must be the highest of; 0 for none.
        threshold: scores must be more than this.
        candidates: how many go on to the NMS at most, the best ones; None for all.
        candidates_of: whether that many of `all`, of each `level` or of each `class`.
        nms: how overlapping boxes are thinned out; None where the model has done it, or needs none.
        most: objects in a result.
        with_priors: whether each object keeps the prior it was found at, for a pipeline that joins
            several results by these.
    """

    arrangement: Arrangement = "rows"
    boxes: Part | tuple[Part, ...]
    scores: Part
    objectness: Part | None = None
    labels: Part | None = None
    counts: Part | None = None
    selected: Part | None = None

    code: Code = "xyxy"
    normalised: bool = False
    vertical_first: bool = False
    bins: NonNegativeInt = 0
    variances: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    limit: float | None = None
    unit: Unit = "strides"
    priors: PriorGrid | None = None
    size: tuple[PositiveInt, PositiveInt] | None = None
    clip: bool = False
    counting: Literal["edges", "pixels"] = "edges"
    beyond: bool = False

    activation: Activation = "none"
    objectness_activation: Literal["none", "sigmoid"] = "none"
    background: Background = "none"
    joining: Joining = "product"
    label_shift: int = 0
    multi_label: bool = False
    peaks: NonNegativeInt = 0
    threshold: float = Field(0.25, ge=0, lt=1)
    candidates: PositiveInt | None = None
    candidates_of: Literal["all", "level", "class"] = "all"
    nms: Nms | None = None
    most: PositiveInt = 100
    with_priors: bool = False

    @model_validator(mode="before")
    @classmethod
    def _of_preset(cls, given: Any) -> Any:
        if not isinstance(given, dict) or PRESET not in given:
            return given
        from modelport.runtime.decoding.detection_presets import expanded

        return expanded(given)

    @model_validator(mode="after")
    def _whole(self) -> HeadParameters:
        if self.code in RELATIVE and self.priors is None:
            raise ValueError(f"the code {self.code} needs priors")
        by_priors = self.nms is not None and self.nms.by == "priors"
        if (self.with_priors or by_priors) and self.priors is None:
            raise ValueError("there are no priors to keep, or to thin boxes out by")
        if self.peaks and self.peaks % 2 == 0:
            raise ValueError("peaks is the odd side of a square")
        return self

    @property
    def scoring(self) -> Scoring:
        return Scoring(
            self.activation,
            self.objectness_activation,
            self.background,
            self.joining,
            self.multi_label,
            self.threshold,
        )

    @property
    def scaling(self) -> Scaling:
        return Scaling(self.variances, self.limit, self.unit)
