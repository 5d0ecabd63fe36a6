"""Leaves the choice of each pixel's class to the decode step.

Before:
    labels = ArgMax <axis = 1> (scores)     # task parameters: gives = labels

After:
    labels = scores                         # task parameters: gives = scores, resize = labels

For engines that have no ArgMax, or a slow one. The decode step chooses the class of each cell first and
brings these to the picture's size then, so the answers stay.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from modelport.deployment.edits.base import Draft, Edit, Edited
from modelport.deployment.edits.outputs import output_at, settled, strip, strip_problem
from modelport.passes.matching import producer
from modelport.runtime.tasks.semantic_segmentation import SemanticSegmentationParameters
from modelport.types import Outputs

_LAYOUTS = {1: "nchw", 3: "nhwc", -1: "nhwc", -3: "nchw"}
_MAPS = 4


class StripArgmax(Edit):
    name: ClassVar[str] = "strip_argmax"
    summary: ClassVar[str] = "the class of each pixel is chosen in the decode step"

    def refuses(self, draft: Draft) -> str | None:
        how = settled(draft)
        if not isinstance(how, SemanticSegmentationParameters) or how.gives != "labels":
            return "the task takes no class numbers of pixels: set gives=labels"
        output = output_at(draft.model.graph, how.output)
        nodes = [] if output is None else _last_nodes(output)
        if output is None or not nodes:
            return "the labels do not come from an ArgMax"
        scores = nodes[0].inputs[0]
        if scores is None or scores.shape is None or len(scores.shape) != _MAPS:
            return "the ArgMax runs over no maps of scores"
        if _axis(nodes[0]) not in _LAYOUTS or _flag(nodes[0], "select_last_index"):
            return "the ArgMax does not choose the first best class of each pixel"
        return strip_problem(output, nodes[0])

    def apply(self, draft: Draft) -> Edited:
        how = settled(draft)
        output = output_at(draft.model.graph, how.output)
        assert output is not None
        assert output.dtype is not None
        nodes = _last_nodes(output)
        axis, kept = _axis(nodes[0]), _flag(nodes[0], "keepdims", 1)
        name, kind = output.name or "", output.dtype.numpy()
        strip(draft.model.graph, output, nodes)
        changed = {"gives": "scores", "resize": "labels", "layout": _LAYOUTS[axis]}
        parameters = {**how.model_dump(mode="json"), **changed}

        def chosen(outputs: Outputs) -> Outputs:
            best = outputs[name].argmax(axis)
            best = np.expand_dims(best, axis) if kept else best
            return {**outputs, name: best.astype(kind)}

        return Edited(
            Draft(draft.model, replace(draft.source, parameters=parameters)), outputs=chosen
        )


def _last_nodes(output: ir.Value) -> list[ir.Node]:
    """The ArgMax that gives the output, and a Cast after it; empty where there is none."""
    cast = producer(output, "Cast")
    best = producer(cast.inputs[0] if cast is not None else output, "ArgMax")
    if best is None:
        return []
    return [best] if cast is None else [best, cast]


def _axis(node: ir.Node) -> int:
    axis = node.attributes.get_int("axis", 0)
    return 0 if axis is None else axis


def _flag(node: ir.Node, name: str, default: int = 0) -> bool:
    return bool(node.attributes.get_int(name, default))
