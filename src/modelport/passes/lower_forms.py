"""How nodes are written in an older opset: one `Lowered` for each operator whose form has changed.

Operators that are not listed have at most gained types and options since; whether a node uses those is
asked of onnx's own registry of operators.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from modelport.passes.matching import constant_input, input_of, rank_of, size_of
from modelport.passes.shaped import ShapedPass
from modelport.types import Array


class Lowering(ShapedPass):
    """A pass that writes a model for an older opset."""

    target: ClassVar[int]

    def scalar(self, number: float, like: ir.Value) -> ir.Value:
        """A constant number of the element type of a value."""
        assert like.dtype is not None
        return self.constant(np.asarray(number, like.dtype.numpy()), "number")


@dataclass(frozen=True)
class Lowered:
    """What a node needs on its way to an older opset.

    Attributes:
        since: the opset that brought the operator, or its present form.
        write: writes a node in the old form, in place or with new nodes.
        problem: why a node cannot be written so, or None.
    """

    since: int
    write: Callable[[ir.Node, Lowering], None]
    problem: Callable[[ir.Node, Lowering], str | None] = lambda node, at: None


def _ints(node: ir.Node, index: int) -> list[int] | None:
    array = constant_input(node, index)
    return None if array is None else [int(number) for number in array.reshape(-1)]


def _drop(node: ir.Node, *attributes: str) -> None:
    for name in attributes:
        node.attributes.pop(name, None)


def _end_inputs(node: ir.Node, count: int) -> None:
    if len(node.inputs) > count:
        node.resize_inputs(count)


def _give(node: ir.Node, index: int, value: ir.Value) -> None:
    if index >= len(node.inputs):
        node.resize_inputs(index + 1)
    node.replace_input_with(index, value)


def _first(node: ir.Node) -> ir.Value:
    value = node.inputs[0]
    assert value is not None
    return value


def _typed(node: ir.Node, at: Lowering) -> str | None:
    value = node.inputs[0]
    return "its element type is not known" if value is None or value.dtype is None else None


# --- axes that were attributes ------------------------------------------------------------------


def _problem_of_axes(node: ir.Node, at: Lowering) -> str | None:
    if input_of(node, 1) is not None and _ints(node, 1) is None:
        return "its axes are computed"
    if node.attributes.get_int("noop_with_empty_axes", 0) and not _ints(node, 1):
        return "it has no axes and does nothing"
    return None


def _write_axes(node: ir.Node, at: Lowering) -> None:
    axes = _ints(node, 1)
    _end_inputs(node, 1)
    _drop(node, "noop_with_empty_axes")
    if axes:
        node.attributes["axes"] = ir.AttrInt64s("axes", axes)


def _parts(node: ir.Node) -> list[int] | None:
    """Sizes of the parts of Split, where they are known."""
    given = _ints(node, 1)
    if given is not None:
        return given
    axis, count = node.attributes.get_int("axis", 0) or 0, len(node.outputs)
    size = size_of(node.inputs[0], axis)
    if size is None:
        return None
    part = math.ceil(size / count)
    return [*[part] * (count - 1), size - part * (count - 1)]


def _problem_of_split(node: ir.Node, at: Lowering) -> str | None:
    if at.target >= 13 and input_of(node, 1) is not None:
        return None
    return "the sizes of its parts are not known" if _parts(node) is None else None


def _write_split(node: ir.Node, at: Lowering) -> None:
    parts = _parts(node)
    _drop(node, "num_outputs")
    if at.target >= 13:
        if input_of(node, 1) is None:
            _give(node, 1, at.constant(np.asarray(parts, np.int64), "parts"))
        return
    assert parts is not None
    _end_inputs(node, 1)
    node.attributes["split"] = ir.AttrInt64s("split", parts)


def _problem_of_pad(node: ir.Node, at: Lowering) -> str | None:
    if node.attributes.get_string("mode", "constant") == "wrap" and at.target < 19:
        return f"opset {at.target} pads no copies of the other side"
    if input_of(node, 3) is None:
        return None
    if _ints(node, 1) is None or _ints(node, 3) is None or rank_of(node.inputs[0]) is None:
        return "it pads some axes alone, and which is not known"
    return None


def _write_pad(node: ir.Node, at: Lowering) -> None:
    axes, pads, rank = _ints(node, 3), _ints(node, 1), rank_of(node.inputs[0])
    if axes is None or pads is None or rank is None:
        return
    full = np.zeros((2, rank), np.int64)
    full[:, [axis % rank for axis in axes]] = np.asarray(pads).reshape(2, -1)
    _give(node, 1, at.constant(full.reshape(-1), "pads"))
    _end_inputs(node, 3)


# --- Softmax ------------------------------------------------------------------------------------


def _problem_of_softmax(node: ir.Node, at: Lowering) -> str | None:
    return "its rank is not known" if rank_of(node.inputs[0]) is None else None


def _write_softmax(node: ir.Node, at: Lowering) -> None:
    """Up to opset 12 everything from the axis on is one row, so the axis goes to the end."""
    source, rank = _first(node), rank_of(node.inputs[0])
    assert rank is not None
    axis = (node.attributes.get_int("axis", -1) or 0) % max(rank, 1)
    last = max(rank - 1, 0)
    if all(size_of(source, behind) == 1 for behind in range(axis + 1, rank)):
        node.attributes["axis"] = ir.AttrInt64("axis", axis)
        return
    order = list(range(rank))
    order[axis], order[last] = last, axis
    there = at.node("Transpose", [source], {"perm": order}, for_=[node])
    result = at.node(node.op_type, [there.outputs[0]], {"axis": last}, for_=[node])
    back = at.node("Transpose", [result.outputs[0]], {"perm": order}, for_=[node])
    at.replace([node], [there, result, back])


# --- Resize and sampling ------------------------------------------------------------------------


def _problem_of_resize(node: ir.Node, at: Lowering) -> str | None:
    get = node.attributes.get_string
    if node.attributes.get_int("antialias", 0):
        return f"opset {at.target} has no antialias"
    if get("keep_aspect_ratio_policy", "stretch") != "stretch":
        return f"opset {at.target} keeps no aspect ratio"
    if get("coordinate_transformation_mode", "") == "half_pixel_symmetric" and at.target < 19:
        return f"opset {at.target} has no half_pixel_symmetric"
    if "axes" in node.attributes:
        known = _ints(node, 3) is not None or constant_input(node, 2) is not None
        sized = rank_of(node.inputs[0]) is not None
        if not known or not sized or input_of(node, 1) is not None:
            return "it resizes some axes alone, and how is not known"
        if _ints(node, 3) is not None and _sizes_before(node) is None:
            return "the sizes of the axes that it leaves alone are not known"
    return None


def _sizes_before(node: ir.Node) -> list[int] | None:
    rank = rank_of(node.inputs[0]) or 0
    found = [size_of(node.inputs[0], axis) for axis in range(rank)]
    known = [size for size in found if size is not None]
    return known if len(known) == rank else None


def _write_resize(node: ir.Node, at: Lowering) -> None:
    axes = node.attributes.pop("axes", None)
    if axes is not None:
        _resize_all_axes(node, list(axes.as_ints()), at)
    _drop(node, "antialias", "keep_aspect_ratio_policy")
    if at.target < 13:
        for index in (1, 2):
            if input_of(node, index) is None:
                _give(node, index, at.constant(np.zeros(0, np.float32), "none"))


def _resize_all_axes(node: ir.Node, axes: Sequence[int], at: Lowering) -> None:
    rank = rank_of(node.inputs[0])
    assert rank is not None
    places = [axis % rank for axis in axes]
    sizes = _ints(node, 3)
    if sizes is not None:
        every = np.asarray(_sizes_before(node), np.int64)
        every[places] = sizes
        _give(node, 3, at.constant(every, "sizes"))
        return
    scales = np.ones(rank, np.float32)
    scales[places] = constant_input(node, 2)
    _give(node, 2, at.constant(scales, "scales"))


_GRID_MODES = {"linear": "bilinear", "cubic": "bicubic"}


def _problem_of_grid_sample(node: ir.Node, at: Lowering) -> str | None:
    if at.target < 16:
        return f"opset {at.target} has no GridSample"
    return None if rank_of(node.inputs[0]) == 4 else f"opset {at.target} samples pictures alone"


def _write_grid_sample(node: ir.Node, at: Lowering) -> None:
    mode = node.attributes.get_string("mode", "linear") or "linear"
    node.attributes["mode"] = ir.AttrString("mode", _GRID_MODES.get(mode, mode))


def _problem_of_roi_align(node: ir.Node, at: Lowering) -> str | None:
    mode = node.attributes.get_string("coordinate_transformation_mode", "half_pixel")
    return None if mode == "output_half_pixel" else f"opset {at.target} has no half pixels for it"


def _write_roi_align(node: ir.Node, at: Lowering) -> None:
    _drop(node, "coordinate_transformation_mode")


# --- options that must be off -------------------------------------------------------------------


def _problem_of_pool(node: ir.Node, at: Lowering) -> str | None:
    if any(size != 1 for size in node.attributes.get_ints("dilations", []) or []):
        return f"opset {at.target} has no dilations for it"
    get = node.attributes.get_int
    if get("ceil_mode", 0) and get("count_include_pad", 0):
        return "opset 19 counts the padding of ceil_mode in another way"
    return None


def _write_pool(node: ir.Node, at: Lowering) -> None:
    _drop(node, "dilations")


def _problem_of_reshape(node: ir.Node, at: Lowering) -> str | None:
    """Without allowzero a 0 keeps the size that was there."""
    shape = _ints(node, 1)
    if node.attributes.get_int("allowzero", 0) and (shape is None or 0 in shape):
        return f"opset {at.target} makes no empty tensors of it"
    return None


def _write_reshape(node: ir.Node, at: Lowering) -> None:
    _drop(node, "allowzero")


def _problem_of_norm(node: ir.Node, at: Lowering) -> str | None:
    return "it is in training mode" if node.attributes.get_int("training_mode", 0) else None


def _write_norm(node: ir.Node, at: Lowering) -> None:
    _drop(node, "training_mode")


def _problem_of_dropout(node: ir.Node, at: Lowering) -> str | None:
    if input_of(node, 2) is not None:
        training = constant_input(node, 2)
        if training is None or bool(training.any()):
            return "it may be in training mode"
    read = any(value.uses() or value.is_graph_output() for value in node.outputs[1:])
    return "its mask is read" if read else None


def _write_dropout(node: ir.Node, at: Lowering) -> None:
    at.replace([node], [at.node("Identity", [_first(node)], for_=[node])])


def _problem_of_scale(node: ir.Node, at: Lowering) -> str | None:
    scale = constant_input(node, 1)
    one = scale is not None and scale.size == 1
    return None if one else f"opset {at.target} has one scale to a tensor"


def _write_scale(node: ir.Node, at: Lowering) -> None:
    _drop(node, "axis", "saturate")


# --- operators that came later ------------------------------------------------------------------


def _problem_of_layer_norm(node: ir.Node, at: Lowering) -> str | None:
    value = node.inputs[0]
    if rank_of(value) is None:
        return "its rank is not known"
    if value is None or value.dtype != ir.DataType.FLOAT:
        return "its statistics are taken in float32, and its values are of another type"
    if any(each.uses() or each.is_graph_output() for each in node.outputs[1:]):
        return "its statistics are read"
    return None


def _write_layer_norm(node: ir.Node, at: Lowering) -> None:
    x, rank = _first(node), rank_of(node.inputs[0])
    assert rank is not None
    axis = (node.attributes.get_int("axis", -1) or 0) % max(rank, 1)
    over = {"axes": list(range(axis, rank)), "keepdims": 1}
    epsilon = node.attributes.get_float("epsilon", 1e-5) or 0.0
    mean = at.node("ReduceMean", [x], over, for_=[node])
    apart = at.node("Sub", [x, mean.outputs[0]], for_=[node])
    square = at.node("Mul", [apart.outputs[0], apart.outputs[0]], for_=[node])
    variance = at.node("ReduceMean", [square.outputs[0]], over, for_=[node])
    raised = at.node("Add", [variance.outputs[0], at.scalar(epsilon, x)], for_=[node])
    root = at.node("Sqrt", [raised.outputs[0]], for_=[node])
    new = [mean, apart, square, variance, raised, root]
    new.append(at.node("Div", [apart.outputs[0], root.outputs[0]], for_=[node]))
    for operator, index in (("Mul", 1), ("Add", 2)):
        parameter = input_of(node, index)
        if parameter is not None:
            new.append(at.node(operator, [new[-1].outputs[0], parameter], for_=[node]))
    at.replace([node], new)


def _chain(node: ir.Node, at: Lowering, steps: Sequence[tuple[str, float]]) -> list[ir.Node]:
    """Arithmetic with numbers, one step after the other, beginning with the node's input."""
    value, made = _first(node), list[ir.Node]()
    for operator, number in steps:
        made.append(at.node(operator, [value, at.scalar(number, _first(node))], for_=[node]))
        value = made[-1].outputs[0]
    return made


def _write_gelu(node: ir.Node, at: Lowering) -> None:
    x = _first(node)
    if node.attributes.get_string("approximate", "none") == "tanh":
        square = at.node("Mul", [x, x], for_=[node])
        cube = at.node("Mul", [square.outputs[0], x], for_=[node])
        part = at.node("Mul", [cube.outputs[0], at.scalar(0.044715, x)], for_=[node])
        total = at.node("Add", [x, part.outputs[0]], for_=[node])
        factor = at.scalar(math.sqrt(2 / math.pi), x)
        new = [square, cube, part, total, at.node("Mul", [total.outputs[0], factor], for_=[node])]
        new.append(at.node("Tanh", [new[-1].outputs[0]], for_=[node]))
    else:
        new = _chain(node, at, [("Div", math.sqrt(2))])
        new.append(at.node("Erf", [new[-1].outputs[0]], for_=[node]))
    new.append(at.node("Add", [new[-1].outputs[0], at.scalar(1, x)], for_=[node]))
    new.append(at.node("Mul", [x, new[-1].outputs[0]], for_=[node]))
    new.append(at.node("Mul", [new[-1].outputs[0], at.scalar(0.5, x)], for_=[node]))
    at.replace([node], new)


def _write_hard_swish(node: ir.Node, at: Lowering) -> None:
    gate = at.node("HardSigmoid", [_first(node)], {"alpha": 1 / 6, "beta": 0.5}, for_=[node])
    at.replace([node], [gate, at.node("Mul", [_first(node), gate.outputs[0]], for_=[node])])


def _write_mish(node: ir.Node, at: Lowering) -> None:
    soft = at.node("Softplus", [_first(node)], for_=[node])
    gate = at.node("Tanh", [soft.outputs[0]], for_=[node])
    at.replace([node], [soft, gate, at.node("Mul", [_first(node), gate.outputs[0]], for_=[node])])


def _write_celu(node: ir.Node, at: Lowering) -> None:
    alpha = node.attributes.get_float("alpha", 1.0) or 1.0
    new = _chain(node, at, [("Div", alpha)])
    new.append(at.node("Elu", [new[-1].outputs[0]], {"alpha": 1.0}, for_=[node]))
    factor = at.scalar(alpha, _first(node))
    at.replace([node], [*new, at.node("Mul", [new[-1].outputs[0], factor], for_=[node])])


def _or_equal(operator: str) -> Callable[[ir.Node, Lowering], None]:
    def write(node: ir.Node, at: Lowering) -> None:
        strictly = at.node(operator, node.inputs, for_=[node])
        equal = at.node("Equal", node.inputs, for_=[node])
        both = at.node("Or", [strictly.outputs[0], equal.outputs[0]], for_=[node])
        at.replace([node], [strictly, equal, both])

    return write


def _problem_of_cast_like(node: ir.Node, at: Lowering) -> str | None:
    like = input_of(node, 1)
    return "the type it casts to is not known" if like is None or like.dtype is None else None


def _write_cast_like(node: ir.Node, at: Lowering) -> None:
    like = node.inputs[1]
    assert like is not None
    assert like.dtype is not None
    cast = at.node("Cast", [_first(node)], {"to": int(like.dtype)}, for_=[node])
    at.replace([node], [cast])


def _write_shape(node: ir.Node, at: Lowering) -> None:
    start, end = node.attributes.get_int("start", 0), node.attributes.get_int("end", None)
    _drop(node, "start", "end")
    if not start and end is None:
        return
    whole = at.node("Shape", [_first(node)], for_=[node])
    bounds: list[Array] = [np.asarray([start or 0], np.int64)]
    bounds.append(np.asarray([np.iinfo(np.int64).max if end is None else end], np.int64))
    ends = [at.constant(bound, "bound") for bound in bounds]
    at.replace([node], [whole, at.node("Slice", [whole.outputs[0], *ends], for_=[node])])


def _problem_of_constant(node: ir.Node, at: Lowering) -> str | None:
    tensor = ir.convenience.get_const_tensor(node.outputs[0])
    return "it is no tensor" if tensor is None else None


def _write_constant(node: ir.Node, at: Lowering) -> None:
    tensor = ir.convenience.get_const_tensor(node.outputs[0])
    if tensor is not None and "value" not in node.attributes:
        node.attributes.clear()
        node.attributes["value"] = ir.AttrTensor("value", tensor)


_REDUCTIONS = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "SumSquare")

LOWERED: dict[str, Lowered] = {
    **{f"Reduce{name}": Lowered(18, _write_axes, _problem_of_axes) for name in _REDUCTIONS},
    **dict.fromkeys(
        ("ReduceSum", "Squeeze", "Unsqueeze"), Lowered(13, _write_axes, _problem_of_axes)
    ),
    **dict.fromkeys(
        ("Softmax", "LogSoftmax", "Hardmax"), Lowered(13, _write_softmax, _problem_of_softmax)
    ),
    **dict.fromkeys(
        ("QuantizeLinear", "DequantizeLinear"), Lowered(13, _write_scale, _problem_of_scale)
    ),
    "AveragePool": Lowered(19, _write_pool, _problem_of_pool),
    "BatchNormalization": Lowered(14, _write_norm, _problem_of_norm),
    "CastLike": Lowered(15, _write_cast_like, _problem_of_cast_like),
    "Celu": Lowered(12, _write_celu, _typed),
    "Constant": Lowered(13, _write_constant, _problem_of_constant),
    "Dropout": Lowered(12, _write_dropout, _problem_of_dropout),
    "Gelu": Lowered(20, _write_gelu, _typed),
    "GreaterOrEqual": Lowered(12, _or_equal("Greater")),
    "GridSample": Lowered(20, _write_grid_sample, _problem_of_grid_sample),
    "HardSwish": Lowered(14, _write_hard_swish),
    "LayerNormalization": Lowered(17, _write_layer_norm, _problem_of_layer_norm),
    "LessOrEqual": Lowered(12, _or_equal("Less")),
    "Mish": Lowered(18, _write_mish),
    "Pad": Lowered(19, _write_pad, _problem_of_pad),
    "Reshape": Lowered(14, _write_reshape, _problem_of_reshape),
    "Resize": Lowered(19, _write_resize, _problem_of_resize),
    "RoiAlign": Lowered(16, _write_roi_align, _problem_of_roi_align),
    "Shape": Lowered(15, _write_shape),
    "Split": Lowered(18, _write_split, _problem_of_split),
}
"""Operators that are new, or whose node of a new opset takes something from elsewhere."""
