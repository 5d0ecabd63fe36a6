"""A detector's decode step in the graph: candidates, boxes, non-maximum suppression, back to the picture.

It follows `modelport.runtime.decoding.detection_head`, operator by operator.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import numpy as np

from modelport.endtoend.canvas import Axis, Canvas
from modelport.endtoend.detecting_codes import decoded
from modelport.frontends.network import Network, Tensor
from modelport.runtime.decoding.anchors import Priors
from modelport.runtime.decoding.box_codes import SWAPPED
from modelport.runtime.decoding.detection_parameters import HeadParameters
from modelport.runtime.decoding.head_parts import Part
from modelport.runtime.decoding.nms import Nms

Outputs_ = Mapping[str, Tensor]


def undetectable(how: HeadParameters) -> str | None:
    """Why the head has no form in the graph, or None."""
    parts = [part for part in (how.boxes, how.scores, how.objectness, how.labels) if part]
    plain = all(isinstance(part, Part) for part in parts)
    if not plain or any(isinstance(part.output, tuple) for part in parts if isinstance(part, Part)):
        return (
            "its detection head is in several parts, and a form in the graph has one for all levels"
        )
    stands = {part.arrangement or how.arrangement for part in parts if isinstance(part, Part)}
    if stands - {"rows", "columns", "values"}:
        return f"its outputs stand as {', '.join(sorted(stands))}, and rows or columns have a form"
    for name, value in (("selected", how.selected), ("counts", how.counts), ("peaks", how.peaks)):
        if value:
            return f"the detection parameter {name} has no form in the graph yet"
    if how.candidates is not None:
        return "the detection parameter candidates has no form in the graph yet"
    flags = {"beyond": how.beyond, "with_priors": how.with_priors}
    flags["counting"] = how.counting != "edges"
    for flag, given in flags.items():
        if given:
            return f"the detection parameter {flag} has no form in the graph yet"
    return None if how.nms is None else _unsuppressable(how.nms, how)


def _unsuppressable(nms: Nms, how: HeadParameters) -> str | None:
    """Why the suppression has no form in the graph, or None."""
    if nms.soft != "no":
        return "soft non-maximum suppression has no form in the graph"
    if (nms.over, nms.by) != ("union", "boxes"):
        return (
            f"non-maximum suppression over the {nms.over} by {nms.by} has no form in the graph: ONNX "
            "has the one over the union by boxes"
        )
    if how.labels is not None and not nms.agnostic:
        return (
            "a head that gives labels and needs a suppression by class has no form in the graph yet"
        )
    return None


def detected(canvas: Canvas, outputs: Outputs_, how: HeadParameters) -> dict[str, Tensor]:
    """`boxes` (n x 4: left, top, right, bottom in the picture), `scores`, `classes`; best first."""
    net = canvas.net
    shares = _shares(net, outputs, how)
    rows, classes, scores = _candidates(net, outputs, shares, how)
    size = (canvas.down.size, canvas.across.size)
    boxes = _located(net, outputs, rows, how, _static(size))
    boxes, scores, classes = _thinned(net, boxes, scores, classes, shares.shape[1], how)
    return {"boxes": _in_picture(canvas, boxes), "scores": scores, "classes": classes}


def _static(size: tuple[object, object]) -> tuple[int, int] | None:
    high, wide = size
    return (high, wide) if isinstance(high, int) and isinstance(wide, int) else None


def _part(net: Network, outputs: Outputs_, part: Part, how: HeadParameters) -> Tensor:
    """Places x channels, float32."""
    name = part.output
    assert not isinstance(name, tuple)
    tensor = list(outputs.values())[name] if isinstance(name, int) else outputs[name]
    arrangement = part.arrangement or how.arrangement
    rank = 1 if arrangement == "values" else 2
    if tensor.rank == rank + 1:
        tensor = net.squeeze(tensor, 0)
    if arrangement == "values":
        tensor = net.unsqueeze(tensor, 1)
    if arrangement == "columns":
        tensor = net.transpose(tensor, (1, 0))
    end = None if part.count is None else part.first + part.count
    if part.first or end is not None:
        tensor = tensor[:, part.first : end]
    return net.cast(tensor, "float32")


def _shares(net: Network, outputs: Outputs_, how: HeadParameters) -> Tensor:
    """Scores as they count: activated, without the background, with the objectness."""
    scores = _part(net, outputs, how.scores, how)
    if how.activation == "sigmoid":
        scores = net.sigmoid(scores)
    if how.activation == "softmax":
        scores = net.softmax(scores, -1)
    if how.background == "first":
        scores = scores[:, 1:]
    if how.background == "last":
        scores = scores[:, :-1]
    if how.objectness is not None:
        there = _part(net, outputs, how.objectness, how)
        there = net.sigmoid(there) if how.objectness_activation == "sigmoid" else there
        scores = scores * there
        scores = net.sqrt(scores) if how.joining == "root" else scores
    return scores


def _candidates(
    net: Network, outputs: Outputs_, shares: Tensor, how: HeadParameters
) -> tuple[Tensor, Tensor, Tensor]:
    """Rows, classes and scores of what passes the threshold, in order of places."""
    if how.multi_label:
        places = cast(Tensor, net.op.NonZero(shares > how.threshold))
        rows, columns = places[0], places[1]
        scores = cast(Tensor, net.op.GatherND(shares, net.transpose(places, (1, 0))))
    else:
        best = net.max(shares, 1)
        rows = cast(Tensor, net.op.NonZero(best > how.threshold))[0]
        columns = net.gather(net.argmax(shares, 1), rows)
        scores = net.gather(best, rows)
    if how.labels is not None:
        numbers = net.gather(_part(net, outputs, how.labels, how)[:, 0], rows)
        columns = net.cast(cast(Tensor, net.op.Round(numbers)), "int64")
    return rows, columns + np.int64(how.label_shift), scores


def _located(
    net: Network, outputs: Outputs_, rows: Tensor, how: HeadParameters, size: tuple[int, int] | None
) -> Tensor:
    """Corners in pixels of the tensor, of the candidates alone."""
    assert isinstance(how.boxes, Part)
    numbers = net.gather(_part(net, outputs, how.boxes, how), rows)
    if how.bins:
        apart = net.softmax(net.reshape(numbers, (-1, 4, how.bins)), -1)
        numbers = net.sum(apart * np.arange(how.bins, dtype=np.float32), -1)
    if how.vertical_first:
        numbers = net.gather(numbers, np.array(SWAPPED), 1)
    boxes = decoded(net, numbers, _priors(net, rows, how, size), how)
    high, wide = size or (1, 1)
    sides = np.array([wide, high, wide, high], np.float32)
    if how.normalised:
        boxes = boxes * sides
    if how.clip:
        boxes = net.minimum(net.maximum(boxes, np.float32(0)), sides)
    return boxes


def _priors(
    net: Network, rows: Tensor, how: HeadParameters, size: tuple[int, int] | None
) -> tuple[Tensor, Tensor, Tensor] | None:
    """Middles, sides and strides of the candidates' priors; constants, for the tensor has one size."""
    if how.priors is None or size is None:
        return None
    made = Priors.join(how.priors.levels(size, [None]))
    arrays = (made.centres, made.sides, made.strides)
    centres, sides, strides = (
        net.gather(net.constant(np.ascontiguousarray(array, np.float32)), rows) for array in arrays
    )
    return centres, sides, strides


def _thinned(
    net: Network, boxes: Tensor, scores: Tensor, classes: Tensor, count: object, how: HeadParameters
) -> tuple[Tensor, Tensor, Tensor]:
    """After the suppression, best first, no more than the most."""
    if how.nms is not None:
        kept = _kept(net, boxes, scores, classes - np.int64(how.label_shift), count, how)
        boxes, scores, classes = (net.gather(each, kept) for each in (boxes, scores, classes))
    found = net.shape(scores)
    most = net.minimum(found, net.constant(np.array([how.most], np.int64)))
    values, order = net.op.TopK(scores, most, axis=0, largest=1, sorted=1)
    return net.gather(boxes, order), values, net.gather(classes, order)


def _kept(
    net: Network, boxes: Tensor, scores: Tensor, classes: Tensor, count: object, how: HeadParameters
) -> Tensor:
    """Rows that stay. ONNX suppresses class by class: a row has its score in its own class alone."""
    assert how.nms is not None
    if how.nms.agnostic or not isinstance(count, int) or count == 1:
        table = net.unsqueeze(scores, 0)
    else:
        numbers = np.arange(count, dtype=np.int64)[:, None]
        own = net.unsqueeze(classes, 0) == numbers
        table = net.where(own, net.unsqueeze(scores, 0), np.float32(-1))
    chosen = net.op.NonMaxSuppression(
        net.unsqueeze(boxes, 0),
        net.unsqueeze(table, 0),
        np.array([how.most], np.int64),
        np.array([how.nms.iou], np.float32),
        np.array([how.threshold], np.float32),
    )
    return cast(Tensor, chosen)[:, 2]


def _in_picture(canvas: Canvas, boxes: Tensor) -> Tensor:
    net = canvas.net
    sides = []
    for index, axis in enumerate((canvas.across, canvas.down) * 2):
        sides.append(_place(canvas, boxes[:, index : index + 1], axis))
    return net.concat(sides, axis=1)


def _place(canvas: Canvas, place: Tensor, axis: Axis) -> Tensor:
    """Back through the transforms, cut off at the edges of the picture."""
    net = canvas.net
    wide = (net.cast(place, "float64") - axis.shift) / axis.scale
    inside = net.minimum(net.maximum(wide, np.float64(0)), canvas.counts.number(axis.original))
    return net.cast(inside, "float32")
