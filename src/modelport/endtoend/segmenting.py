"""A segmenter's decode step in the graph: from maps of scores to the class of every pixel of the picture.

It follows `modelport.runtime.decoding.planes`: every pixel looks up its place in the grid of the scores, so
that padding and crops are undone on the way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np

from modelport.endtoend.canvas import Axis, Canvas
from modelport.frontends.network import Network, Tensor
from modelport.runtime.decoding.reading import logit
from modelport.runtime.tasks.semantic_segmentation import (
    Segmentation,
    SemanticSegmentationParameters,
)
from modelport.types import Array, Outputs

EDGE = 1e-6
"""As in `planes`: of a cell, so that rounding adds none."""

NARROW = 255
"""Fewer classes than this fit into uint8 beside the number that stands for none."""


def unsegmentable(how: SemanticSegmentationParameters) -> str | None:
    """Why the decode step has no form in the graph, or None."""
    given = {"align_corners": how.align_corners, "tiling": how.tiling, "void": how.void}
    for name, value in given.items():
        if value is not None and value is not False:
            return f"the segmentation parameter {name} has no form in the graph yet"
    return None


@dataclass(frozen=True)
class _Places:
    """Where the pixels along one side of the picture lie in the grid.

    Attributes:
        near, far: int64; the cells on either side of each pixel.
        part: float32; the share of the far one.
        seen: bool; whether the grid covers the pixel.
    """

    near: Tensor
    far: Tensor
    part: Tensor
    seen: Tensor


def segmented(
    canvas: Canvas, outputs: Mapping[str, Tensor], how: SemanticSegmentationParameters
) -> dict[str, Tensor]:
    """`labels`: height x width of the picture, class numbers; uint8 with 255 for what the model has not
    seen, or int32 with -1 where there are 255 classes or more.
    """
    net = canvas.net
    given = next(iter(outputs.values())) if how.output is None else outputs[how.output]
    planes = _planes(net, given, how)
    places = [
        _places(canvas, axis, planes, at) for axis, at in ((canvas.down, 0), (canvas.across, 1))
    ]
    if how.gives == "scores" and how.resize == "scores":
        labels = _best(net, _mixed(net, planes, places), planes, how)
    elif how.gives == "scores":
        labels = _nearest(net, _best(net, planes, planes, how), places)
    else:
        labels = _nearest(net, net.cast(planes, "int64"), places)
    count = planes.shape[0]
    narrow = how.gives == "scores" and isinstance(count, int) and count < NARROW
    seen = cast(
        Tensor, net.op.And(net.unsqueeze(places[0].seen, 1), net.unsqueeze(places[1].seen, 0))
    )
    whole = net.where(seen, labels, np.int64(NARROW if narrow else -1))
    return {"labels": net.cast(whole, "uint8" if narrow else "int32")}


def _planes(net: Network, given: Tensor, how: SemanticSegmentationParameters) -> Tensor:
    """Classes x height x width of scores, float32; or height x width of labels."""
    if how.gives == "labels":
        while given.rank > 2:
            given = net.squeeze(given, 0 if given.shape[0] == 1 else given.rank - 1)
        return given
    planes = net.squeeze(given, 0) if given.rank == 4 else given
    planes = net.transpose(planes, (2, 0, 1)) if how.layout == "nhwc" else planes
    return net.cast(planes, "float32")


def _places(canvas: Canvas, axis: Axis, planes: Tensor, at: int) -> _Places:
    net, number = canvas.net, canvas.counts.number
    start = planes.rank - 2 + at
    cells = net.cast(net.shape(planes)[start : start + 1], "float64")
    step = cells / number(axis.size)
    count = net.squeeze(canvas.counts.tensor(axis.original), 0)
    pixels = net.cast(cast(Tensor, net.op.Range(np.int64(0), count, np.int64(1))), "float64")
    found = ((pixels + np.float64(0.5)) * axis.scale + axis.shift) * step
    ends = [axis.shift * step, (number(axis.original) * axis.scale + axis.shift) * step]
    low, high = (net.minimum(net.maximum(end, np.float64(0)), cells) for end in ends)
    first = net.minimum(_floor(net, low + np.float64(EDGE)), cells - np.float64(1))
    last = net.maximum(first, cast(Tensor, net.op.Ceil(high - np.float64(EDGE))) - np.float64(1))
    zero = np.float64(0)
    seen = net.op.And(net.op.GreaterOrEqual(found, zero), net.op.LessOrEqual(found, cells))
    places = found - np.float64(0.5)
    near = _floor(net, places)
    inside = [
        net.cast(net.minimum(net.maximum(each, first), last), "int64")
        for each in (near, near + np.float64(1))
    ]
    return _Places(inside[0], inside[1], net.cast(places - near, "float32"), cast(Tensor, seen))


def _floor(net: Network, values: Tensor) -> Tensor:
    return cast(Tensor, net.op.Floor(values))


def _mixed(net: Network, planes: Tensor, places: list[_Places]) -> Tensor:
    """Bilinear, at every pixel of the picture."""
    for axis, at in enumerate(places, start=1):
        part = net.unsqueeze(at.part, 1) if axis == 1 else at.part
        near, far = net.gather(planes, at.near, axis), net.gather(planes, at.far, axis)
        planes = near * (np.float32(1) - part) + far * part
    return planes


def _nearest(net: Network, labels: Tensor, places: list[_Places]) -> Tensor:
    for axis, at in enumerate(places):
        closer = net.where(at.part >= np.float32(0.5), at.far, at.near)
        labels = net.gather(labels, closer, axis)
    return labels


def _best(
    net: Network, values: Tensor, planes: Tensor, how: SemanticSegmentationParameters
) -> Tensor:
    """The class of the largest score; of one plane, whether it passes the threshold."""
    if planes.shape[0] != 1:
        return net.argmax(values, 0)
    least = logit(how.threshold) if how.scores == "logits" else how.threshold
    return net.cast(net.squeeze(values, 0) > np.float32(least), "int64")


def expected_labels(result: Segmentation) -> Outputs:
    """The same from a result of the predictor."""
    return {"labels": result.labels}


APART = 0.02
"""Of the pixels: what a grey level here and there may move across the borders of regions."""


def labels_differ(want: Outputs, got: Outputs) -> str | None:
    """How two maps differ, in words; None where they agree."""
    one, other = _signed(want["labels"]), _signed(got["labels"])
    if one.shape != other.shape:
        return f"labels has shape {list(other.shape)}, and {list(one.shape)} is right"
    apart = float(np.mean(one != other)) if one.size else 0.0
    return f"{apart:.1%} of the pixels have another class" if apart > APART else None


def _signed(labels: Array) -> Array:
    """With -1 for no class, which is 255 in uint8."""
    wide = labels.astype(np.int32)
    return np.where(wide == NARROW, -1, wide) if labels.dtype == np.uint8 else wide
