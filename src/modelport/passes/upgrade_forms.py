"""How nodes of old opsets are written in opset 20: one `Form` for each operator that has changed.

Operators that are not listed take what they took before. A test compares the list with onnx's own
registry of operators.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from modelport.passes.matching import constant_input, input_of, rank_of, sizes_of
from modelport.passes.shaped import ShapedPass


@dataclass(frozen=True)
class Form:
    """What an operator needs on its way to a newer opset.

    Attributes:
        since: the last opset that has changed it in a way that needs something.
        write: writes a node in the new form, in place or with new nodes.
        problem: why a node cannot be written so, or None.
    """

    since: int
    write: Callable[[ir.Node, ShapedPass], None]
    problem: Callable[[ir.Node, ShapedPass], str | None] = lambda node, at: None


def _give(node: ir.Node, index: int, value: ir.Value | None) -> None:
    """Sets an input, which may lie beyond those that the node has."""
    if index >= len(node.inputs):
        node.resize_inputs(index + 1)
    node.replace_input_with(index, value)


def _stem(node: ir.Node, what: str) -> str:
    return f"{node.outputs[0].name or node.op_type}_{what}"


def _listed(attribute: str, index: int, since: int) -> Form:
    """Whole numbers that have become an input."""

    def write(node: ir.Node, at: ShapedPass) -> None:
        given = node.attributes.pop(attribute, None)
        if given is not None:
            numbers = np.asarray(given.as_ints(), np.int64)
            _give(node, index, at.constant(numbers, _stem(node, attribute)))

    return Form(since, write)


def _dtype_problem(node: ir.Node, at: ShapedPass) -> str | None:
    value = node.inputs[0]
    return "its element type is not known" if value is None or value.dtype is None else None


def _number(node: ir.Node, attribute: str, index: int, at: ShapedPass) -> None:
    """A number that has become an input of the element type of the first."""
    given, value = node.attributes.pop(attribute, None), node.inputs[0]
    if given is not None and value is not None and value.dtype is not None:
        array = np.asarray(given.as_float(), value.dtype.numpy())
        _give(node, index, at.constant(array, _stem(node, attribute)))


def _write_clip(node: ir.Node, at: ShapedPass) -> None:
    _number(node, "min", 1, at)
    _number(node, "max", 2, at)


def _write_pad(node: ir.Node, at: ShapedPass) -> None:
    _listed("pads", 1, 11).write(node, at)
    _number(node, "value", 2, at)


def _write_slice(node: ir.Node, at: ShapedPass) -> None:
    if "starts" in node.attributes:
        for index, name in enumerate(("starts", "ends", "axes"), start=1):
            _listed(name, index, 10).write(node, at)


def _write_top_k(node: ir.Node, at: ShapedPass) -> None:
    if "k" in node.attributes:
        count = np.asarray([node.attributes.pop("k").as_int()], np.int64)
        _give(node, 1, at.constant(count, _stem(node, "k")))


def _write_split(node: ir.Node, at: ShapedPass) -> None:
    _listed("split", 1, 13).write(node, at)
    if input_of(node, 1) is None:
        node.attributes["num_outputs"] = ir.AttrInt64("num_outputs", len(node.outputs))


def _drop(attribute: str) -> Callable[[ir.Node, ShapedPass], None]:
    def write(node: ir.Node, at: ShapedPass) -> None:
        node.attributes.pop(attribute, None)

    return write


def _problem_of_dropout(node: ir.Node, at: ShapedPass) -> str | None:
    read = any(value.uses() or value.is_graph_output() for value in node.outputs[1:])
    return "its mask is read, which has become bool" if read and at.opset < 10 else None


def _problem_of_norm(node: ir.Node, at: ShapedPass) -> str | None:
    if not node.attributes.get_int("spatial", 1):
        return "it has statistics for each position"
    if at.opset < 14 and any(value.name for value in node.outputs[1:]):
        return "it is in training mode"
    return None


def _write_norm(node: ir.Node, at: ShapedPass) -> None:
    node.attributes.pop("spatial", None)
    node.resize_outputs(1)


def _write_softmax(node: ir.Node, at: ShapedPass) -> None:
    """Up to opset 12 everything from the axis on is one row."""
    source, axis = node.inputs[0], node.attributes.get_int("axis", 1)
    assert source is not None
    rank, sizes = rank_of(source), sizes_of(source)
    if rank is not None:
        axis = axis + rank if axis < 0 else axis
        behind = list(source.shape)[axis + 1 :] if source.shape is not None else []
        if axis < rank and all(size == 1 for size in behind):
            node.attributes["axis"] = ir.AttrInt64("axis", axis)
            return
    rows = at.node("Flatten", [source], {"axis": axis}, for_=[node])
    result = at.node(node.op_type, [rows.outputs[0]], {"axis": -1}, for_=[node])
    if sizes is not None and 0 not in sizes:
        target = at.constant(np.asarray(sizes, np.int64), _stem(node, "shape"))
        shape = []
    else:
        shape = [at.node("Shape", [source], for_=[node])]
        target = shape[0].outputs[0]
    back = at.node("Reshape", [result.outputs[0], target], for_=[node])
    at.replace([node], [rows, result, *shape, back])


def _scales_of(node: ir.Node) -> Any:
    given = node.attributes.get("scales")
    return constant_input(node, 1) if given is None else np.asarray(given.as_floats(), np.float32)


def _problem_of_resize(node: ir.Node, at: ShapedPass) -> str | None:
    """Resize of opset 10 leaves open which pixel is nearest where it shrinks."""
    mode = node.attributes.get_string("coordinate_transformation_mode", "")
    if mode == "tf_half_pixel_for_nn":
        return "opset 13 has no tf_half_pixel_for_nn"
    if at.opset > 10 and node.op_type == "Resize":
        return None
    scales = _scales_of(node)
    nearest = node.attributes.get_string("mode", "nearest") == "nearest"
    if nearest and (scales is None or (scales < 1).any()):
        return "opset 10 does not say which pixel is nearest where it shrinks"
    return None


def _write_resize(node: ir.Node, at: ShapedPass) -> None:
    if at.opset > 10 and node.op_type == "Resize":
        return
    scales = node.attributes.pop("scales", None)
    value = input_of(node, 1)
    if scales is not None:
        value = at.constant(np.asarray(scales.as_floats(), np.float32), _stem(node, "scales"))
    mode = node.attributes.get_string("mode", "nearest")
    node.op_type = "Resize"
    node.resize_inputs(3)
    node.replace_input_with(1, None)
    node.replace_input_with(2, value)
    node.attributes["mode"] = ir.AttrString("mode", "linear" if mode == "bilinear" else mode)
    node.attributes["coordinate_transformation_mode"] = ir.AttrString(
        "coordinate_transformation_mode", "asymmetric"
    )
    if mode == "nearest":
        node.attributes["nearest_mode"] = ir.AttrString("nearest_mode", "floor")


def _write_scatter(node: ir.Node, at: ShapedPass) -> None:
    node.op_type = "ScatterElements"


def _write_roi_align(node: ir.Node, at: ShapedPass) -> None:
    name = "coordinate_transformation_mode"
    if name not in node.attributes:
        node.attributes[name] = ir.AttrString(name, "output_half_pixel")


_GRID_MODES = {"bilinear": "linear", "bicubic": "cubic"}


def _write_grid_sample(node: ir.Node, at: ShapedPass) -> None:
    mode = node.attributes.get_string("mode", "bilinear")
    node.attributes["mode"] = ir.AttrString("mode", _GRID_MODES.get(mode, mode))


def _write_dft(node: ir.Node, at: ShapedPass) -> None:
    axis = np.asarray(node.attributes.get_int("axis", 1), np.int64)
    node.attributes.pop("axis", None)
    _give(node, 2, at.constant(axis, _stem(node, "axis")))


def _nothing(node: ir.Node, at: ShapedPass) -> None:
    """Only the meaning of some attributes has changed, which `problem` looks at."""


def _problem_of_pool(node: ir.Node, at: ShapedPass) -> str | None:
    both = node.attributes.get_int("ceil_mode", 0) and node.attributes.get_int(
        "count_include_pad", 0
    )
    return "opset 19 counts the padding of ceil_mode in another way" if both else None


def _problem_of_scan(node: ir.Node, at: ShapedPass) -> str | None:
    return "Scan of opset 8 runs over batches"


_REDUCTIONS = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "SumSquare")

FORMS: dict[str, Form] = {
    **{f"Reduce{name}": _listed("axes", 1, 18) for name in _REDUCTIONS},
    **dict.fromkeys(("ReduceSum", "Squeeze", "Unsqueeze"), _listed("axes", 1, 13)),
    **dict.fromkeys(("Softmax", "LogSoftmax", "Hardmax"), Form(13, _write_softmax)),
    "AveragePool": Form(19, _nothing, _problem_of_pool),
    "BatchNormalization": Form(14, _write_norm, _problem_of_norm),
    "Clip": Form(11, _write_clip, _dtype_problem),
    "DFT": Form(20, _write_dft),
    "Dropout": Form(12, _drop("ratio"), _problem_of_dropout),
    "GridSample": Form(20, _write_grid_sample),
    "Pad": Form(11, _write_pad, _dtype_problem),
    "Resize": Form(13, _write_resize, _problem_of_resize),
    "RoiAlign": Form(16, _write_roi_align),
    "Scan": Form(9, _nothing, _problem_of_scan),
    "Scatter": Form(11, _write_scatter),
    "Slice": Form(10, _write_slice),
    "Split": Form(18, _write_split),
    "TopK": Form(10, _write_top_k),
    "Upsample": Form(10, _write_resize, _problem_of_resize),
}
"""Operators whose new form takes something that a node of an old opset does not have, or has elsewhere."""

HARMLESS: frozenset[str] = frozenset(
    {"ArgMax", "ArgMin", "Constant", "DepthToSpace", "DequantizeLinear", "GRU", "GatherND", "Gemm"}
    | {"LSTM", "LpPool", "MaxPool", "OptionalHasElement", "QuantizeLinear", "RNN", "Reshape"}
    | {"ScatterElements", "ScatterND", "Shape"}
)
"""Operators that have gained options, whose defaults mean what there was before."""
