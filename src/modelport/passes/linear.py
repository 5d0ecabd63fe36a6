"""The linear operators: what their weights and biases are, and how passes give them others.

Conv, ConvTranspose and Gemm, and MatMul with a weight of two axes on its right, which has no bias.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import ml_dtypes
import numpy as np
import onnx_ir as ir

from modelport.graph import provenance
from modelport.graph.query import constant_of
from modelport.passes.affine import Affine
from modelport.passes.base import RewritePass
from modelport.passes.matching import constant_input, input_of, rank_of, size_of
from modelport.types import Array

DType: TypeAlias = "np.dtype[Any]"

BIASED = ("Conv", "ConvTranspose", "Gemm")
LINEAR = (*BIASED, "MatMul")

COPY_LIMIT_BYTES = 4 << 20
"""A weight of several readers is copied for one of them up to this size."""

_FLOATS = ("float32", "float16", "bfloat16", "float64")


@dataclass(frozen=True)
class Parameters:
    """Weight as the node holds it, and bias of shape (1,) or (outputs,); float64."""

    weight: Array
    bias: Array


def linear_problem(linear: ir.Node) -> str | None:
    """Why the weights of a linear operator cannot be changed, or None."""
    operator = linear.op_type
    value = linear.inputs[1]
    weight = constant_of(value)
    if value is None or weight is None:
        return f"the weight of {operator} is not a constant"
    if weight.dtype.name not in _FLOATS:
        return f"the weight of {operator} is not of floats"
    if operator == "MatMul" and weight.ndim != 2:
        return "the weight of MatMul has not two axes"
    if not is_owned(value) and weight.nbytes > COPY_LIMIT_BYTES:
        return "something else reads its weight, which is too large for a copy"
    return _bias_problem(linear)


def _bias_problem(linear: ir.Node) -> str | None:
    bias = input_of(linear, 2)
    if bias is None:
        return None
    array = constant_of(bias)
    if array is None:
        return f"the bias of {linear.op_type} is not a constant"
    if array.size != 1 and array.size != array.shape[-1]:
        return f"the bias of {linear.op_type} differs between the rows of a batch"
    return None


def parameters_of(linear: ir.Node) -> Parameters:
    """Weight and effective bias of a linear operator without a problem."""
    weight = np.asarray(constant_input(linear, 1), np.float64)
    given = constant_input(linear, 2)
    bias = np.zeros(1) if given is None else np.asarray(given, np.float64).reshape(-1)
    if linear.op_type == "Gemm":
        bias = bias * linear.attributes.get_float("beta", 1.0)
    return Parameters(weight, bias)


def outputs_of(linear: ir.Node) -> int:
    """How many output channels it has."""
    shape = _weight_shape(linear)
    if linear.op_type == "ConvTranspose":
        return shape[1] * group_of(linear)
    if linear.op_type == "Conv":
        return shape[0]
    return shape[0] if linear.attributes.get_int("transB", 0) else shape[1]


def inputs_of(linear: ir.Node) -> int:
    """How many input channels it has."""
    shape = _weight_shape(linear)
    if linear.op_type == "Conv":
        return shape[1] * group_of(linear)
    return shape[1] if linear.attributes.get_int("transB", 0) else shape[0]


def weight_type(linear: ir.Node) -> DType:
    weight = constant_input(linear, 1)
    assert weight is not None
    return weight.dtype


def _weight_shape(linear: ir.Node) -> tuple[int, ...]:
    weight = constant_input(linear, 1)
    assert weight is not None
    return weight.shape


def group_of(linear: ir.Node) -> int:
    return linear.attributes.get_int("group", 1) or 1


def rank_and_axis(linear: ir.Node) -> tuple[int | None, int]:
    """Rank of input and output where it is known, and the axis of channels."""
    if linear.op_type in ("Conv", "ConvTranspose"):
        return len(_weight_shape(linear)), 1
    if linear.op_type == "Gemm":
        return 2, 1
    rank = rank_of(linear.inputs[0]) or rank_of(linear.outputs[0])
    return rank, 0 if rank is None else rank - 1


def along_outputs(linear: ir.Node, weight: Array, factor: Array) -> Array:
    """The factor, of shape (outputs,), shaped so that it multiplies what makes each output."""
    if linear.op_type in ("Gemm", "MatMul"):
        return factor[:, None] if linear.attributes.get_int("transB", 0) else factor[None, :]
    if linear.op_type == "Conv":
        return factor.reshape(-1, *[1] * (weight.ndim - 1))
    # ConvTranspose keeps (inputs, outputs per group, ...): each group has its own block of inputs.
    group = group_of(linear)
    inputs, outputs = weight.shape[0], weight.shape[1]
    blocks = np.repeat(factor.reshape(group, outputs), inputs // group, axis=0)
    return blocks.reshape(inputs, outputs, *[1] * (weight.ndim - 2))


def along_inputs(linear: ir.Node, weight: Array, factor: Array) -> Array:
    """The factor, of shape (inputs,), shaped so that it multiplies what reads each input."""
    if linear.op_type in ("Gemm", "MatMul"):
        return factor[None, :] if linear.attributes.get_int("transB", 0) else factor[:, None]
    if linear.op_type == "ConvTranspose":
        return factor.reshape(-1, *[1] * (weight.ndim - 1))
    group = group_of(linear)
    outputs, inputs = weight.shape[0], weight.shape[1]
    blocks = np.repeat(factor.reshape(group, inputs), outputs // group, axis=0)
    return blocks.reshape(outputs, inputs, *[1] * (weight.ndim - 2))


def storage_problem(linear: ir.Node, *arrays: Array) -> str | None:
    """Why the arrays lose too much in the element type of the weight, or None.

    Small numbers of float16 have few bits: dividing weights by 255 may leave none of their worth.
    """
    return type_problem(weight_type(linear), *arrays)


def type_problem(dtype: DType, *arrays: Array) -> str | None:
    """The same for a numpy element type."""
    return next(filter(None, (_problem(dtype, array) for array in arrays)), None)


def _problem(dtype: DType, array: Array) -> str | None:
    largest = float(max(array.max(), -array.min())) if array.size else 0.0
    if not np.isfinite(largest):
        return "the folded weights are not finite"
    limits = ml_dtypes.finfo(dtype)  # type: ignore[no-untyped-call]
    if dtype in _WIDE and (largest == 0 or float(limits.tiny) < largest < float(limits.max)):
        return None  # rounding loses half a step of the largest number at most
    with np.errstate(over="ignore", under="ignore"):
        stored = array.astype(dtype).astype(np.float64)
    if not np.isfinite(stored).all():
        return f"the folded weights leave the range of {dtype.name}"
    lost = np.abs(stored - array).max(initial=0)
    if lost > largest * float(limits.eps):
        return f"the folded weights are too small for {dtype.name}"
    return None


_WIDE = (np.dtype(np.float32), np.dtype(np.float64))


def set_parameters(step: RewritePass, linear: ir.Node, new: Parameters) -> None:
    """Gives the node other weights; MatMul has no bias, so that of `new` must be zero there."""
    dtype = weight_type(linear)
    set_input(step, linear, 1, new.weight.astype(dtype), "weight")
    if linear.op_type == "MatMul":
        return
    if input_of(linear, 2) is not None or new.bias.any():
        bias = np.broadcast_to(new.bias, (outputs_of(linear),))
        set_input(step, linear, 2, bias.astype(dtype), "bias")
    if linear.op_type == "Gemm":
        linear.attributes["beta"] = ir.AttrFloat32("beta", 1.0)


def set_input(step: RewritePass, node: ir.Node, index: int, array: Array, role: str) -> None:
    """Makes a constant an input of the node; a weight that no other node reads keeps its name."""
    old = input_of(node, index)
    if old is not None and is_owned(old):
        overwrite(old, array)
        return
    stem = provenance.module_of(node) or node.outputs[0].name
    value = step.constant(array, f"{stem}.{role}")
    node.resize_inputs(max(len(node.inputs), index + 1))
    node.replace_input_with(index, value)


def overwrite(value: ir.Value, array: Array) -> None:
    """Gives an initializer other data under its name."""
    # numpy's contiguous copy of a single number has an axis
    flat = np.ascontiguousarray(array).reshape(array.shape)
    value.const_value = ir.tensor(flat, name=value.name)
    value.shape = ir.Shape(array.shape)


def is_owned(value: ir.Value) -> bool:
    """Whether one node alone reads the weight, so that it can be overwritten."""
    return value.is_initializer() and not value.is_graph_output() and len(value.uses()) == 1


def spatial_pads(node: ir.Node, window: tuple[int, ...]) -> tuple[list[int], list[int]] | None:
    """Pads at the begin and at the end of each spatial axis of a Conv or pool.

    Args:
        window: how far its window reaches along each axis, dilation included.

    Returns:
        None where `auto_pad` leaves them to sizes that are not known.
    """
    mode = node.attributes.get_string("auto_pad", "NOTSET") or "NOTSET"
    rank = len(window)
    if mode == "VALID":
        return [0] * rank, [0] * rank
    if mode == "NOTSET":
        pads = list(node.attributes.get_ints("pads") or [0] * (2 * rank))
        return pads[:rank], pads[rank:]
    totals = []
    for axis, (reach, stride) in enumerate(zip(window, strides_of(node, rank), strict=True)):
        size = 0 if stride == 1 else size_of(node.inputs[0], axis + 2)
        if size is None:
            return None
        rest = size % stride or stride
        totals.append(max(0, reach - rest))
    less, more = [total // 2 for total in totals], [total - total // 2 for total in totals]
    return (less, more) if mode == "SAME_UPPER" else (more, less)


def strides_of(node: ir.Node, rank: int) -> list[int]:
    return list(node.attributes.get_ints("strides") or [1] * rank)


def dilations_of(node: ir.Node, rank: int) -> list[int]:
    return list(node.attributes.get_ints("dilations") or [1] * rank)


def followed_by(linear: ir.Node, after: Affine) -> Parameters:
    """Parameters with which the operator does the work of what follows it, too."""
    old = parameters_of(linear)
    factor = np.broadcast_to(after.factor, (outputs_of(linear),))
    weight = old.weight * along_outputs(linear, old.weight, factor)
    return Parameters(weight, old.bias * after.factor + after.shift)


def preceded_by(linear: ir.Node, before: Affine) -> Parameters:
    """Parameters with which the operator does the work of what precedes it, too, away from borders."""
    old = parameters_of(linear)
    each = before.over(inputs_of(linear))
    passed = old.weight * along_inputs(linear, old.weight, each.shift)
    weight = old.weight * along_inputs(linear, old.weight, each.factor)
    return Parameters(weight, old.bias + _sums(linear, passed) if each.shift.any() else old.bias)


def _sums(linear: ir.Node, weight: Array) -> Array:
    """The sum of what makes each output."""
    if linear.op_type == "Conv":
        return np.asarray(weight.reshape(weight.shape[0], -1).sum(axis=1))
    if linear.op_type == "ConvTranspose":
        raise ValueError("ConvTranspose does not make the same sum everywhere")
    alpha = linear.attributes.get_float("alpha", 1.0)
    axis = 1 if linear.attributes.get_int("transB", 0) else 0
    return np.asarray(weight.sum(axis=axis) * alpha)
