"""Products with matrices, sums along axes, and what only moves numbers about."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from modelport.engines.caffe.net import CannotExpressError, Net
from modelport.graph.query import constant_of
from modelport.passes.matching import input_of
from modelport.types import Array

if TYPE_CHECKING:
    import onnx_ir as ir

Write: TypeAlias = "Callable[[ir.Node, Net], None]"


# --- matrices -----------------------------------------------------------------------------------


def gemm(node: ir.Node, net: Net) -> None:
    get = node.attributes.get_int
    weight, bias = constant_of(input_of(node, 1)), input_of(node, 2)
    if weight is None or (bias is not None and constant_of(bias) is None):
        raise CannotExpressError("its weights are computed, and Caffe's are constants")
    if get("transA", 0):
        raise CannotExpressError("Caffe does not turn the value")
    rows = weight if get("transB", 0) else weight.T
    rows = rows * (node.attributes.get_float("alpha", 1.0) or 0.0)
    added = constant_of(bias)
    if added is not None:
        added = added * (node.attributes.get_float("beta", 1.0) or 0.0)
        if added.size not in (1, len(rows)) or (added.ndim > 1 and added.shape[0] != 1):
            raise CannotExpressError("its bias differs between rows of the result")
        added = np.broadcast_to(added.reshape(-1), (len(rows),))
    _product(node, net, rows, added, axis=1)


def mat_mul(node: ir.Node, net: Net) -> None:
    weight, shape = constant_of(input_of(node, 1)), net.shape(node.inputs[0])
    if constant_of(node.inputs[0]) is not None or weight is None:
        raise CannotExpressError("Caffe multiplies by constant matrices alone, from the right")
    if weight.ndim != 2 or len(shape) < 2:
        raise CannotExpressError("Caffe multiplies by matrices of two axes")
    _product(node, net, weight.T, None, axis=len(shape) - 1)


def _product(node: ir.Node, net: Net, rows: Array, bias: Array | None, axis: int) -> None:
    settings = {"num_output": len(rows), "bias_term": bias is not None}
    if axis != 1:
        settings["axis"] = axis
    blobs = [rows] if bias is None else [rows, bias]
    bottom, top = net.blob(node.inputs[0]), node.outputs[0].name
    net.add("InnerProduct", [bottom], {"inner_product_param": settings}, blobs, top=top)


# --- along axes ---------------------------------------------------------------------------------


def reduced(node: ir.Node, net: Net) -> None:
    """Pooling over the axes, laid out as the height of a picture."""
    before, after = net.shape(node.inputs[0]), net.shape(node.outputs[0])
    top = node.outputs[0].name
    if not after:
        raise CannotExpressError("it gives a number without any axis")
    blob = net.blob(node.inputs[0])
    if node.op_type == "ReduceMin":
        blob = net.power(blob, scale=-1.0)
    elif node.op_type == "ReduceL2":
        blob = net.power(blob, power=2.0)
    blob, pooled, count = _pooled(node, net, blob, before)
    if node.op_type == "ReduceMin":
        blob = net.power(blob, scale=-1.0)
    elif node.op_type == "ReduceSum":
        blob = net.power(blob, scale=float(count))
    elif node.op_type == "ReduceL2":
        blob = net.power(blob, scale=float(count), power=0.5)
    net.give(node.outputs[0], net.reshape(blob, pooled, after, top))


def _pooled(
    node: ir.Node, net: Net, blob: str, shape: Sequence[int]
) -> tuple[str, tuple[int, ...], int]:
    """What was pooled, its shape, and how many numbers went into each."""
    axes = _axes(node, len(shape))
    first, last = axes[0], axes[-1] + 1
    if axes != list(range(first, last)):
        raise CannotExpressError(f"it runs over axes {axes}, which are no neighbours")
    if first == 0 and shape[0] != 1:
        raise CannotExpressError("it runs over the batch")
    method = "MAX" if node.op_type in ("ReduceMax", "ReduceMin") else "AVE"
    count = int(np.prod(shape[first:last]))
    if len(shape) == 4 and axes == [2, 3]:
        settings = {"pooling_param": {"pool": method, "global_pooling": True}}
        return net.add("Pooling", [blob], settings), (*shape[:2], 1, 1), count
    start = max(first, 1)
    laid = (shape[0], int(np.prod(shape[1:start])), int(np.prod(shape[start:last])),
            int(np.prod(shape[max(last, 1):])))  # fmt: skip
    picture = net.reshape(blob, shape, laid)
    window = {"pool": method, "kernel_h": laid[2], "kernel_w": 1, "stride_h": 1, "stride_w": 1}
    made = net.add("Pooling", [picture], {"pooling_param": window})
    return made, (laid[0], laid[1], 1, laid[3]), count


def _axes(node: ir.Node, rank: int) -> list[int]:
    given = input_of(node, 1)
    axes = constant_of(given)
    if given is not None and axes is None:
        raise CannotExpressError("its axes are computed")
    numbers = node.attributes.get_ints("axes", []) if axes is None else axes.reshape(-1)
    if numbers is None or len(numbers) == 0:
        if node.attributes.get_int("noop_with_empty_axes", 0):
            raise CannotExpressError("it has no axes and does nothing")
        return list(range(rank))
    return sorted(int(axis) % rank for axis in numbers)


# --- moving about -------------------------------------------------------------------------------


def reshaped(node: ir.Node, net: Net) -> None:
    """Reshape, Flatten, Squeeze and Unsqueeze alike: the sizes are known."""
    before, after = net.shape(node.inputs[0]), net.shape(node.outputs[0])
    if not after:
        raise CannotExpressError("it gives a number without any axis")
    net.give(node.outputs[0], net.reshape(net.blob(node.inputs[0]), before, after))


def same(node: ir.Node, net: Net) -> None:
    if any(value.uses() or value.is_graph_output() for value in node.outputs[1:]):
        raise CannotExpressError("its mask is read")
    net.give(node.outputs[0], net.blob(node.inputs[0]))


def transposed(node: ir.Node, net: Net) -> None:
    """Permute is of the SSD branch; where only sizes of 1 move, Reshape does."""
    before, after = net.shape(node.inputs[0]), net.shape(node.outputs[0])
    order = list(node.attributes.get_ints("perm", []) or range(len(before))[::-1])
    moved = [axis for axis in order if before[axis] != 1]
    bottom, top = net.blob(node.inputs[0]), node.outputs[0].name
    if moved == sorted(moved):
        net.give(node.outputs[0], net.reshape(bottom, before, after))
        return
    net.add("Permute", [bottom], {"permute_param": {"order": order}}, top=top)


def concatenated(node: ir.Node, net: Net) -> None:
    axis = (node.attributes.get_int("axis", 1) or 0) % len(net.shape(node.outputs[0]))
    blobs = [net.blob(value) for value in node.inputs]
    if len(blobs) == 1:
        net.give(node.outputs[0], blobs[0])
        return
    settings = {"concat_param": {"axis": axis}}
    net.add("Concat", blobs, settings, top=node.outputs[0].name)


def split(node: ir.Node, net: Net) -> None:
    shape = net.shape(node.inputs[0])
    axis = (node.attributes.get_int("axis", 0) or 0) % len(shape)
    sizes = [net.shape(value)[axis] for value in node.outputs]
    points = [int(point) for point in np.cumsum(sizes)[:-1]]
    bottom = net.blob(node.inputs[0])
    parts = net.slices(bottom, axis, points) if points else [bottom]
    for value, part in zip(node.outputs, parts, strict=True):
        net.give(value, part)


def sliced(node: ir.Node, net: Net) -> None:
    shape = net.shape(node.inputs[0])
    numbers = []
    for index in range(1, 5):
        given = input_of(node, index)
        array = constant_of(given)
        if given is not None and array is None:
            raise CannotExpressError("its bounds are computed")
        numbers.append(None if array is None else [int(each) for each in array.reshape(-1)])
    starts, ends, axes, steps = numbers
    if starts is None or ends is None:
        raise CannotExpressError("its bounds are computed")
    if steps is not None and any(step != 1 for step in steps):
        raise CannotExpressError(f"it takes every {max(steps)}th, and Caffe's Slice all")
    blob = net.blob(node.inputs[0])
    for axis, start, end in zip(axes or range(len(starts)), starts, ends, strict=True):
        size = shape[axis]
        low, high, _ = slice(start, end).indices(size)
        if high <= low:
            raise CannotExpressError("it takes nothing")
        blob = net.crop(blob, size, axis % len(shape), low, high)
    net.give(node.outputs[0], blob)
