"""Operators whose node takes in a new opset what an older one has elsewhere: attributes, inputs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from modelport.passes.lower_forms.lowering import (
    Lowered,
    Lowering,
    drop,
    end_inputs,
    first_of,
    give,
    ints_in,
)
from modelport.passes.matching import constant_input, input_of, rank_of, size_of


def _problem_of_axes(node: ir.Node, at: Lowering) -> str | None:
    if input_of(node, 1) is not None and ints_in(node, 1) is None:
        return "its axes are computed"
    if node.attributes.get_int("noop_with_empty_axes", 0) and not ints_in(node, 1):
        return "it has no axes and does nothing"
    return None


def _write_axes(node: ir.Node, at: Lowering) -> None:
    axes = ints_in(node, 1)
    end_inputs(node, 1)
    drop(node, "noop_with_empty_axes")
    if axes:
        node.attributes["axes"] = ir.AttrInt64s("axes", axes)


def _parts(node: ir.Node) -> list[int] | None:
    """Sizes of the parts of Split, where they are known."""
    given = ints_in(node, 1)
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
    drop(node, "num_outputs")
    if at.target >= 13:
        if input_of(node, 1) is None:
            give(node, 1, at.constant(np.asarray(parts, np.int64), "parts"))
        return
    assert parts is not None
    end_inputs(node, 1)
    node.attributes["split"] = ir.AttrInt64s("split", parts)


def _problem_of_pad(node: ir.Node, at: Lowering) -> str | None:
    if node.attributes.get_string("mode", "constant") == "wrap" and at.target < 19:
        return f"opset {at.target} pads no copies of the other side"
    if input_of(node, 3) is None:
        return None
    if ints_in(node, 1) is None or ints_in(node, 3) is None or rank_of(node.inputs[0]) is None:
        return "it pads some axes alone, and which is not known"
    return None


def _write_pad(node: ir.Node, at: Lowering) -> None:
    axes, pads, rank = ints_in(node, 3), ints_in(node, 1), rank_of(node.inputs[0])
    if axes is None or pads is None or rank is None:
        return
    full = np.zeros((2, rank), np.int64)
    full[:, [axis % rank for axis in axes]] = np.asarray(pads).reshape(2, -1)
    give(node, 1, at.constant(full.reshape(-1), "pads"))
    end_inputs(node, 3)


def _problem_of_resize(node: ir.Node, at: Lowering) -> str | None:
    get = node.attributes.get_string
    if node.attributes.get_int("antialias", 0):
        return f"opset {at.target} has no antialias"
    if get("keep_aspect_ratio_policy", "stretch") != "stretch":
        return f"opset {at.target} keeps no aspect ratio"
    if get("coordinate_transformation_mode", "") == "half_pixel_symmetric" and at.target < 19:
        return f"opset {at.target} has no half_pixel_symmetric"
    if "axes" in node.attributes:
        known = ints_in(node, 3) is not None or constant_input(node, 2) is not None
        sized = rank_of(node.inputs[0]) is not None
        if not known or not sized or input_of(node, 1) is not None:
            return "it resizes some axes alone, and how is not known"
        if ints_in(node, 3) is not None and _sizes_before(node) is None:
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
    drop(node, "antialias", "keep_aspect_ratio_policy")
    if at.target < 13:
        for index in (1, 2):
            if input_of(node, index) is None:
                give(node, index, at.constant(np.zeros(0, np.float32), "none"))


def _resize_all_axes(node: ir.Node, axes: Sequence[int], at: Lowering) -> None:
    rank = rank_of(node.inputs[0])
    assert rank is not None
    places = [axis % rank for axis in axes]
    sizes = ints_in(node, 3)
    if sizes is not None:
        every = np.asarray(_sizes_before(node), np.int64)
        every[places] = sizes
        give(node, 3, at.constant(every, "sizes"))
        return
    scales = np.ones(rank, np.float32)
    scales[places] = constant_input(node, 2)
    give(node, 2, at.constant(scales, "scales"))


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
    drop(node, "coordinate_transformation_mode")


# --- options that must be off -------------------------------------------------------------------


def _problem_of_pool(node: ir.Node, at: Lowering) -> str | None:
    if any(size != 1 for size in node.attributes.get_ints("dilations", []) or []):
        return f"opset {at.target} has no dilations for it"
    get = node.attributes.get_int
    if get("ceil_mode", 0) and get("count_include_pad", 0):
        return "opset 19 counts the padding of ceil_mode in another way"
    return None


def _write_pool(node: ir.Node, at: Lowering) -> None:
    drop(node, "dilations")


def _problem_of_reshape(node: ir.Node, at: Lowering) -> str | None:
    """Without allowzero a 0 keeps the size that was there."""
    shape = ints_in(node, 1)
    if node.attributes.get_int("allowzero", 0) and (shape is None or 0 in shape):
        return f"opset {at.target} makes no empty tensors of it"
    return None


def _write_reshape(node: ir.Node, at: Lowering) -> None:
    drop(node, "allowzero")


def _problem_of_norm(node: ir.Node, at: Lowering) -> str | None:
    return "it is in training mode" if node.attributes.get_int("training_mode", 0) else None


def _write_norm(node: ir.Node, at: Lowering) -> None:
    drop(node, "training_mode")


def _problem_of_dropout(node: ir.Node, at: Lowering) -> str | None:
    if input_of(node, 2) is not None:
        training = constant_input(node, 2)
        if training is None or bool(training.any()):
            return "it may be in training mode"
    read = any(value.uses() or value.is_graph_output() for value in node.outputs[1:])
    return "its mask is read" if read else None


def _write_dropout(node: ir.Node, at: Lowering) -> None:
    at.replace([node], [at.node("Identity", [first_of(node)], for_=[node])])


def _problem_of_scale(node: ir.Node, at: Lowering) -> str | None:
    scale = constant_input(node, 1)
    one = scale is not None and scale.size == 1
    return None if one else f"opset {at.target} has one scale to a tensor"


def _write_scale(node: ir.Node, at: Lowering) -> None:
    drop(node, "axis", "saturate")


def _problem_of_constant(node: ir.Node, at: Lowering) -> str | None:
    tensor = ir.convenience.get_const_tensor(node.outputs[0])
    return "it is no tensor" if tensor is None else None


def _write_constant(node: ir.Node, at: Lowering) -> None:
    tensor = ir.convenience.get_const_tensor(node.outputs[0])
    if tensor is not None and "value" not in node.attributes:
        node.attributes.clear()
        node.attributes["value"] = ir.AttrTensor("value", tensor)


_REDUCTIONS = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "SumSquare")

CHANGED: dict[str, Lowered] = {
    **{f"Reduce{name}": Lowered(18, _write_axes, _problem_of_axes) for name in _REDUCTIONS},
    **dict.fromkeys(
        ("ReduceSum", "Squeeze", "Unsqueeze"), Lowered(13, _write_axes, _problem_of_axes)
    ),
    **dict.fromkeys(
        ("QuantizeLinear", "DequantizeLinear"), Lowered(13, _write_scale, _problem_of_scale)
    ),
    "AveragePool": Lowered(19, _write_pool, _problem_of_pool),
    "BatchNormalization": Lowered(14, _write_norm, _problem_of_norm),
    "Constant": Lowered(13, _write_constant, _problem_of_constant),
    "Dropout": Lowered(12, _write_dropout, _problem_of_dropout),
    "GridSample": Lowered(20, _write_grid_sample, _problem_of_grid_sample),
    "Pad": Lowered(19, _write_pad, _problem_of_pad),
    "Reshape": Lowered(14, _write_reshape, _problem_of_reshape),
    "Resize": Lowered(19, _write_resize, _problem_of_resize),
    "RoiAlign": Lowered(16, _write_roi_align, _problem_of_roi_align),
    "Split": Lowered(18, _write_split, _problem_of_split),
}
