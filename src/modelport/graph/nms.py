"""Puts standard non-maximum suppression behind a detector's raw outputs, or cuts it off."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from modelport.errors import GraphError, UsageError
from modelport.graph import find, new_nodes, ports, provenance
from modelport.graph.rewire import drop, drop_unread
from modelport.graph.scope import all_values
from modelport.types import Array

NAMES = ("detected_boxes", "detected_scores", "detected_labels")
FORMATS = ("xyxy", "cxcywh")
_OPERATOR = "NonMaxSuppression"
_RANK = 3


def attach_nms(
    model: ir.Model,
    boxes: str,
    scores: str,
    *,
    iou: Any = 0.5,
    score: Any = 0.05,
    most: Any = 100,
    format: str = "xyxy",
) -> None:
    """Gives a detector three outputs more: boxes, scores and labels of what it finds, best first.

    Boxes and scores that were outputs are none any more.

    Args:
        boxes: a value of shape 1 x N x 4.
        scores: a value of shape 1 x N x classes or 1 x classes x N: the chance of each class, for each
            box.
        iou: overlap, intersection over union, above which the lesser box of a class goes.
        score: chance below which a box counts for nothing.
        most: how many boxes stay.
        format: `xyxy` for two corners, or `cxcywh` for centre and size. Boxes come out as corners.

    Raises:
        UsageError, GraphError: where the values are not boxes and scores of one picture.
    """
    iou, score, most = _share(iou, "iou"), _share(score, "score"), _count(most)
    if format not in FORMATS:
        raise UsageError(f"Boxes of format {format!r} are unknown", expected=" or ".join(FORMATS))
    raw, chances = find.value(model, boxes), find.value(model, scores)
    by_class = _demand_shapes(raw, chances)
    for name in NAMES:
        ports.demand_free(model, name)
    build = _Builder(model, [node for node in (raw.producer(), chances.producer()) if node])
    # 1 x classes x N, as the operator wants them.
    table = chances if by_class else build("Transpose", [chances], {"perm": [0, 2, 1]})
    limits = [build.constant(np.int64(most)), build.constant(iou), build.constant(score)]
    found = build(_OPERATOR, [raw, table, *limits], {"center_point_box": FORMATS.index(format)})
    chosen = _best_first(build, found, build("GatherND", [table, found]), most)
    picked = build("Gather", [found, chosen[1]], {"axis": 0})
    place = build("Gather", [picked, build.constant(np.int64(2))], {"axis": 1})
    labels = build("Gather", [picked, build.constant(np.int64(1))], {"axis": 1})
    corners = raw if format == "xyxy" else _corners(build, raw)
    flat = build("Squeeze", [corners, build.constant(np.array([0], np.int64))])
    kept = build("Gather", [flat, place], {"axis": 0})
    for name, value in zip(NAMES, (kept, chosen[0], labels), strict=True):
        value.name = name
        model.graph.outputs.append(value)
    for value in (raw, chances):
        if value.is_graph_output():
            ports.remove_output(model, value.name or "")


def cut_nms(model: ir.Model, node: str) -> None:
    """Ends a detector before its non-maximum suppression: boxes and scores become its outputs.

    Outputs that do not depend on the suppression stay.

    Args:
        node: the suppression, `op:NonMaxSuppression` where there is one.

    Raises:
        UsageError: where that is another operator, or several nodes, or inside a branch.
    """
    nodes = find.nodes(model, node)
    if len(nodes) != 1 or nodes[0].op_type != _OPERATOR or nodes[0].graph is not model.graph:
        names = ", ".join(sorted({each.op_type for each in nodes}))
        raise UsageError(
            f"{node!r} means {len(nodes)} nodes ({names})",
            expected=f"one {_OPERATOR} outside branches and loops",
            hint="Cut at values by name instead: modelport extract",
        )
    (suppression,) = nodes
    raw = [value for value in suppression.inputs[:2] if value is not None]
    below = _below(suppression)
    for value in raw:  # before anything is dropped, or they would go with it
        if not value.is_graph_output():
            model.graph.outputs.append(value)
    for value in [value for value in model.graph.outputs if value in below]:
        model.graph.outputs.pop(list(model.graph.outputs).index(value))
        drop(drop_unread([value]))


def _below(node: ir.Node) -> set[ir.Value]:
    """All that is computed from what a node gives."""
    found: set[ir.Value] = set()
    left = list(node.outputs)
    while left:
        value = left.pop()
        if value not in found:
            found.add(value)
            left += [result for use in value.uses() for result in use.node.outputs]
    return found


def _demand_shapes(boxes: ir.Value, scores: ir.Value) -> bool:
    """Whether scores have the classes before the boxes."""
    one, other = _sizes(boxes), _sizes(scores)
    if len(one) != _RANK or len(other) != _RANK or one[2] != 4 or 1 not in (one[0], other[0]):
        raise GraphError(
            f"{boxes.name!r} has shape {_words(one)} and {scores.name!r} {_words(other)}",
            expected="boxes of shape 1 x N x 4, and scores of shape 1 x N x classes or 1 x classes x N",
            hint="Give the batch the size 1 with set_input",
        )
    if one[1] is None or one[1] not in other[1:]:
        raise GraphError(
            f"Nothing shows which axis of {scores.name!r} ({_words(other)}) counts the {_words(one)} boxes",
            expected="a number of boxes that is known and the same in both",
        )
    return other[1] != one[1]


def _sizes(value: ir.Value) -> list[int | str | None]:
    if value.shape is None:
        return []
    return [size if isinstance(size, int) else size.value for size in value.shape.dims]


def _words(sizes: Sequence[object]) -> str:
    return " x ".join("?" if size is None else str(size) for size in sizes) or "unknown"


def _best_first(
    build: _Builder, found: ir.Value, scores: ir.Value, most: int
) -> tuple[ir.Value, ir.Value]:
    """Scores in falling order and where they were, as many as there are but no more than `most`."""
    there = build("Shape", [found], {"start": 0, "end": 1})
    count = build("Min", [there, build.constant(np.array([most], np.int64))])
    return build.both("TopK", [scores, count])


def _corners(build: _Builder, boxes: ir.Value) -> ir.Value:
    """From centre and size to two corners, as a matrix product would: x - w/2, y - h/2, x + w/2, y + h/2."""
    turn = np.array([[1, 0, 1, 0], [0, 1, 0, 1], [-0.5, 0, 0.5, 0], [0, -0.5, 0, 0.5]], np.float32)
    return build("MatMul", [boxes, build.constant(turn)])


class _Builder:
    """Appends nodes to a graph, with names of their own and the provenance of the detector's head."""

    def __init__(self, model: ir.Model, heads: Sequence[ir.Node]) -> None:
        self._model, self._heads = model, heads
        self._taken = {value.name for value in all_values(model.graph)}

    def __call__(
        self, operator: str, inputs: Sequence[ir.Value], attributes: dict[str, Any] | None = None
    ) -> ir.Value:
        return self._node(operator, inputs, attributes, 1).outputs[0]

    def both(self, operator: str, inputs: Sequence[ir.Value]) -> tuple[ir.Value, ir.Value]:
        one, other = self._node(operator, inputs, None, 2).outputs
        return one, other

    def constant(self, number: float | Array | np.generic) -> ir.Value:
        array = np.asarray(number, None if isinstance(number, (np.ndarray, np.generic)) else "f4")
        tensor = ir.tensor(array, name=self._name("nms"))
        value = ir.Value(
            name=tensor.name,
            type=ir.TensorType(tensor.dtype),
            shape=ir.Shape(array.shape),
            const_value=tensor,
        )
        self._model.graph.register_initializer(value)
        return value

    def _node(
        self,
        operator: str,
        inputs: Sequence[ir.Value],
        attributes: dict[str, Any] | None,
        outputs: int,
    ) -> ir.Node:
        node = ir.node(operator, inputs, attributes=attributes or {}, num_outputs=outputs)
        node.name = self._name(operator)
        for value in node.outputs:
            value.name = self._name(operator.lower())
        provenance.inherit(node, self._heads)
        self._model.graph.append(node)
        return node

    def _name(self, stem: str) -> str:
        name = new_nodes.free_name(stem, self._taken)
        self._taken.add(name)
        return name


def _share(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise UsageError(f"{name} is {value!r}", expected="a number between 0 and 1")
    return float(value)


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UsageError(f"most is {value!r}", expected="a whole number of boxes, 1 or more")
    return value
