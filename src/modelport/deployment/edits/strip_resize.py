"""Leaves the enlargement of score maps to the decode step.

Before:
    maps = Resize <mode = "linear"> (cells, sizes)     # cells 1x21x65x65, maps 1x21x520x520

After:
    maps = cells

The decode step brings scores to the size of the picture in any case, from whatever grid they lie on, so the
first of two enlargements is left out, and with it most of what the engine has to write: in the
example 64 times as many numbers.

Exact at the pixels of the tensor, which is what the proof of the deployment compares, and where picture and
tensor are of one size. Elsewhere a pixel between two of the tensor is mixed from the model's own cells
rather than from pixels that were mixed of them, so that borders of regions may move by a fraction of a
tensor's pixel. `Predictor.infer`, which knows no picture, answers on the grid of the cells.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import onnx_ir as ir

from modelport.deployment.edits.base import Draft, Edit, Edited
from modelport.deployment.edits.outputs import output_at, settled, strip, strip_problem
from modelport.passes.matching import producer
from modelport.runtime.decoding.planes import resized_to
from modelport.runtime.tasks.semantic_segmentation import SemanticSegmentationParameters
from modelport.types import Outputs

HALF_PIXEL = ("half_pixel", "pytorch_half_pixel")
"""Of the coordinates; the second differs where a side has one pixel, which is refused."""


class StripResize(Edit):
    name: ClassVar[str] = "strip_resize"
    summary: ClassVar[str] = "scores are enlarged in the decode step alone"

    def refuses(self, draft: Draft) -> str | None:
        how = settled(draft)
        if not isinstance(how, SemanticSegmentationParameters) or how.gives != "scores":
            return "the task takes no scores of pixels: set gives=scores, or strip_argmax first"
        if how.layout != "nchw" or how.resize != "scores" or how.align_corners:
            return "the decode step does not enlarge the scores as the Resize does"
        output = output_at(draft.model.graph, how.output)
        node = None if output is None else producer(output, "Resize")
        if output is None or node is None:
            return "the scores do not come from a Resize"
        return _resize_problem(node) or _size_problem(node) or strip_problem(output, node)

    def apply(self, draft: Draft) -> Edited:
        output = output_at(draft.model.graph, settled(draft).output)
        assert output is not None
        node, name, size = producer(output, "Resize"), output.name or "", _sides(output)
        assert node is not None
        assert size is not None
        strip(draft.model.graph, output, [node])

        def enlarged(outputs: Outputs) -> Outputs:
            maps = np.stack([resized_to(planes, size) for planes in outputs[name]])
            return {**outputs, name: maps.astype(outputs[name].dtype)}

        return Edited(draft, outputs=enlarged)


def _resize_problem(node: ir.Node) -> str | None:
    """Why its values are not those that the decode step would mix, or None."""
    attributes = node.attributes
    mode = attributes.get_string("mode", "nearest")
    where = attributes.get_string("coordinate_transformation_mode", "half_pixel")
    if mode != "linear" or where not in HALF_PIXEL or attributes.get_int("antialias"):
        return f"its Resize has mode={mode} and {where}, and not linear and half_pixel"
    return None


def _size_problem(node: ir.Node) -> str | None:
    cells, maps = node.inputs[0], node.outputs[0]
    small, large = _sides(cells), _sides(maps)
    if small is None or large is None:
        return "the sizes before and after the Resize are not known"
    if cells is None or cells.shape[:2] != maps.shape[:2]:  # type: ignore[index]
        return "the Resize changes more than height and width"
    if min(small) < 2 or small[0] > large[0] or small[1] > large[1]:
        return f"the Resize does not enlarge: {small} to {large}"
    return None


def _sides(value: ir.Value | None) -> tuple[int, int] | None:
    """Height and width of batch x channels x height x width."""
    if value is None or value.shape is None or len(value.shape) != 4:
        return None
    height, width = value.shape[2:]
    return (height, width) if isinstance(height, int) and isinstance(width, int) else None
