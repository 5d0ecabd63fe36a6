"""Arithmetic of values with constants and with each other, and activations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from modelport.engines.caffe.net import CannotExpressError, Net
from modelport.graph.query import constant_of
from modelport.passes.matching import input_of
from modelport.types import Array

if TYPE_CHECKING:
    import onnx_ir as ir

Write: TypeAlias = "Callable[[ir.Node, Net], None]"


def binary(node: ir.Node, net: Net) -> None:
    left, right = node.inputs
    fixed = constant_of(left), constant_of(right)
    if fixed[0] is None and fixed[1] is None:
        _of_values(node, net)
    elif fixed[1] is not None:
        _with_constant(node, net, left, fixed[1], turned=False)
    else:
        assert fixed[0] is not None
        _with_constant(node, net, right, fixed[0], turned=True)


# --- with a constant ----------------------------------------------------------------------------


def _with_constant(
    node: ir.Node, net: Net, value: ir.Value | None, constant: Array, *, turned: bool
) -> None:
    """Args:
    turned: whether the constant stands first.
    """
    shape = net.shape(value)
    if net.shape(node.outputs[0]) != shape:
        raise CannotExpressError("the constant is larger than the value")
    bottom, top = net.blob(value), node.outputs[0].name
    if constant.size == 1:
        _with_number(node, net, bottom, float(constant.reshape(())), turned, top)
        return
    if node.op_type in ("Sub", "Div") and turned:
        minus = node.op_type == "Sub"
        bottom = net.power(bottom, scale=-1.0) if minus else net.power(bottom, power=-1.0)
    elif node.op_type == "Sub":
        constant = -constant
    elif node.op_type == "Div":
        constant = 1 / constant
    if node.op_type in ("Mul", "Div"):
        _scaled(net, bottom, shape, constant, None, top)
    elif node.op_type in ("Add", "Sub"):
        _scaled(net, bottom, shape, np.ones_like(constant), constant, top)
    else:
        raise CannotExpressError("Caffe has it with one number, and this constant has several")


def _with_number(
    node: ir.Node, net: Net, bottom: str, number: float, turned: bool, top: str | None
) -> None:
    if node.op_type == "Add":
        net.power(bottom, shift=number, top=top)
    elif node.op_type == "Sub":
        net.power(
            bottom, scale=-1.0 if turned else 1.0, shift=number if turned else -number, top=top
        )
    elif node.op_type == "Mul":
        net.power(bottom, scale=number, top=top)
    elif node.op_type == "Div" and turned:
        _over(net, bottom, number, top)
    elif node.op_type == "Div":
        net.power(bottom, scale=1 / number, top=top)
    elif node.op_type == "Pow" and not turned:
        net.power(bottom, power=number, top=top)
    elif node.op_type == "Max":
        net.power(net.relu(net.power(bottom, shift=-number)), shift=number, top=top)
    elif node.op_type == "Min":
        below = net.relu(net.power(bottom, scale=-1.0, shift=number))
        net.power(below, scale=-1.0, shift=number, top=top)
    else:
        raise CannotExpressError("Caffe raises to a constant power alone")


def _over(net: Net, bottom: str, number: float, top: str | None) -> str:
    """A number over a value, in one layer."""
    if number == 0:
        return net.power(bottom, scale=0.0, top=top)
    return net.power(bottom, scale=1 / number, power=-1.0, top=top)


def _scaled(
    net: Net,
    bottom: str,
    shape: Sequence[int],
    factor: Array,
    offset: Array | None,
    top: str | None,
) -> None:
    """Times a constant and plus another, along the axes where these have sizes."""
    first, last = _region(factor.shape, shape)
    place = shape[first:last]
    parts = [factor] if offset is None else [factor, offset]
    blobs = [np.broadcast_to(_within(part, shape, first, last), place) for part in parts]
    settings = {"axis": first, "num_axes": last - first, "bias_term": offset is not None}
    net.add("Scale", [bottom], {"scale_param": settings}, blobs, top=top)


def _region(small: Sequence[int], shape: Sequence[int]) -> tuple[int, int]:
    """The axes from the first to the last that the smaller shape has sizes in."""
    full = [1] * (len(shape) - len(small)) + list(small)
    axes = [axis for axis, size in enumerate(full) if size != 1]
    return (min(axes), max(axes) + 1) if axes else (len(shape) - 1, len(shape))


def _within(array: Array, shape: Sequence[int], first: int, last: int) -> Array:
    full = array.reshape((1,) * (len(shape) - array.ndim) + array.shape)
    return full.reshape(full.shape[first:last])


# --- of two values ------------------------------------------------------------------------------


def _of_values(node: ir.Node, net: Net) -> None:
    left, right = node.inputs
    shape, top = net.shape(node.outputs[0]), node.outputs[0].name
    shapes = net.shape(left), net.shape(right)
    if shape not in shapes:
        raise CannotExpressError("both of its values are repeated, and Caffe repeats one")
    if node.op_type == "Mul" and shapes[0] != shapes[1]:
        large, small = (left, right) if shapes[0] == shape else (right, left)
        _times(net, net.blob(large), shape, net.blob(small), net.shape(small), top)
        return
    blobs = [_repeated(net, value, node, shape) for value in (left, right)]
    if node.op_type == "Div":
        blobs[1] = net.power(blobs[1], power=-1.0)
    elif node.op_type == "Min":
        blobs = [net.power(blob, scale=-1.0) for blob in blobs]
    elif node.op_type == "Pow":
        raise CannotExpressError("Caffe raises to a constant power alone")
    joined(net, node.op_type, blobs, top)


OPERATIONS = {"Add": "SUM", "Sum": "SUM", "Sub": "SUM", "Mul": "PROD", "Div": "PROD", "Max": "MAX"}


def joined(net: Net, operator: str, blobs: Sequence[str], top: str | None) -> str:
    """Values of one shape, element by element; of Min, Div and Sub what is left of them to do."""
    if operator == "Min":
        return net.power(_eltwise(net, "MAX", blobs, None), scale=-1.0, top=top)
    minus = operator == "Sub"
    return _eltwise(net, OPERATIONS[operator], blobs, top, minus=minus)


def _eltwise(
    net: Net, operation: str, blobs: Sequence[str], top: str | None, *, minus: bool = False
) -> str:
    if len(blobs) == 2 and blobs[0] == blobs[1]:
        return _with_itself(net, operation, blobs[0], top, minus)
    settings: dict[str, Any] = {"operation": operation}
    if minus:
        settings["coeff"] = [1.0, -1.0]
    return net.add("Eltwise", blobs, {"eltwise_param": settings}, top=top)


def _with_itself(net: Net, operation: str, blob: str, top: str | None, minus: bool) -> str:
    if operation == "PROD":
        return net.power(blob, power=2.0, top=top)
    scale = (0.0 if minus else 2.0) if operation == "SUM" else 1.0
    return net.power(blob, scale=scale, top=top)


def _times(
    net: Net,
    large: str,
    shape: Sequence[int],
    small: str,
    sizes: Sequence[int],
    top: str | None,
) -> str:
    """The product with a value that has sizes in some neighbouring axes alone, as a gate has."""
    full = [1] * (len(shape) - len(sizes)) + list(sizes)
    first, last = _region(sizes, shape)
    if full[first:last] != list(shape[first:last]):
        raise CannotExpressError("a value is repeated along an axis between others")
    shaped = net.reshape(small, sizes, shape[first:last])
    return net.add("Scale", [large, shaped], {"scale_param": {"axis": first}}, top=top)


def _repeated(net: Net, value: ir.Value | None, node: ir.Node, shape: Sequence[int]) -> str:
    """The blob in the full shape: ones of that shape, times it, where it is smaller."""
    own, blob = net.shape(value), net.blob(value)
    if own == tuple(shape):
        return blob
    other = next(each for each in node.inputs if net.shape(each) == tuple(shape))
    ones = net.power(net.blob(other), scale=0.0, shift=1.0)
    return _times(net, ones, shape, blob, own, None)


def variadic(node: ir.Node, net: Net) -> None:
    """Sum, Max and Min of any number."""
    if len(node.inputs) == 1:
        net.give(node.outputs[0], net.blob(node.inputs[0]))
        return
    if len(node.inputs) == 2:
        binary(node, net)
        return
    if any(constant_of(value) is not None for value in node.inputs):
        raise CannotExpressError("one of several values is a constant")
    shape = net.shape(node.outputs[0])
    blobs = [_repeated(net, value, node, shape) for value in node.inputs]
    if node.op_type == "Min":
        blobs = [net.power(blob, scale=-1.0) for blob in blobs]
    joined(net, node.op_type, blobs, node.outputs[0].name)


# --- of one value -------------------------------------------------------------------------------


def layer(kind: str) -> Write:
    """An operator that is a layer without settings."""

    def write(node: ir.Node, net: Net) -> None:
        net.add(kind, [net.blob(node.inputs[0])], top=node.outputs[0].name)

    return write


def powered(*, scale: float = 1.0, power: float = 1.0) -> Write:
    def write(node: ir.Node, net: Net) -> None:
        blob, top = net.blob(node.inputs[0]), node.outputs[0].name
        net.power(blob, scale=scale, power=power, top=top)

    return write


def elu(node: ir.Node, net: Net) -> None:
    settings = {"elu_param": {"alpha": node.attributes.get_float("alpha", 1.0)}}
    net.add("ELU", [net.blob(node.inputs[0])], settings, top=node.outputs[0].name)


def leaky_relu(node: ir.Node, net: Net) -> None:
    _leaky(net, node, node.attributes.get_float("alpha", 0.01) or 0.0)


def _leaky(net: Net, node: ir.Node, slope: float) -> None:
    settings = {"relu_param": {"negative_slope": slope}}
    net.add("ReLU", [net.blob(node.inputs[0])], settings, top=node.outputs[0].name)


def prelu(node: ir.Node, net: Net) -> None:
    slope, shape = constant_of(input_of(node, 1)), net.shape(node.inputs[0])
    if slope is None:
        raise CannotExpressError("its slopes are computed")
    if slope.size == 1:
        _leaky(net, node, float(slope.reshape(())))
        return
    if len(shape) < 2 or _region(slope.shape, shape) != (1, 2):
        raise CannotExpressError("Caffe has a slope for each channel, or one for all")
    settings = {"prelu_param": {"channel_shared": False}}
    blobs = [slope.reshape(-1)]
    net.add("PReLU", [net.blob(node.inputs[0])], settings, blobs, top=node.outputs[0].name)


def clip(node: ir.Node, net: Net) -> None:
    bounds = []
    for index in (1, 2):
        given = input_of(node, index)
        bound = constant_of(given)
        if given is not None and bound is None:
            raise CannotExpressError("its bounds are computed")
        bounds.append(None if bound is None else float(bound.reshape(())))
    clipped(net, net.blob(node.inputs[0]), bounds[0], bounds[1], node.outputs[0].name)


def clipped(net: Net, blob: str, low: float | None, high: float | None, top: str | None) -> str:
    """Between two bounds, with ReLU and reflections: Caffe 1.0 has no Clip."""
    if low is not None:
        blob = blob if low == 0 else net.power(blob, shift=-low)
        last = low == 0 and high is None
        blob = net.relu(blob, top if last else None)
        if high is None:
            return blob if last else net.power(blob, shift=low, top=top)
    if high is None:
        return net.power(blob, top=top)
    room = high - (low or 0.0)
    below = net.relu(net.power(blob, scale=-1.0, shift=room))
    return net.power(below, scale=-1.0, shift=high, top=top)


def hard_sigmoid(node: ir.Node, net: Net) -> None:
    alpha = node.attributes.get_float("alpha", 0.2) or 0.0
    beta = node.attributes.get_float("beta", 0.5) or 0.0
    raised = net.power(net.blob(node.inputs[0]), scale=alpha, shift=beta)
    clipped(net, raised, 0.0, 1.0, node.outputs[0].name)


def hard_swish(node: ir.Node, net: Net) -> None:
    blob = net.blob(node.inputs[0])
    gate = clipped(net, net.power(blob, scale=1 / 6, shift=0.5), 0.0, 1.0, None)
    joined(net, "Mul", [blob, gate], node.outputs[0].name)


def mish(node: ir.Node, net: Net) -> None:
    blob = net.blob(node.inputs[0])
    gate = net.add("TanH", [net.add("BNLL", [blob])])
    joined(net, "Mul", [blob, gate], node.outputs[0].name)


def log_softmax(node: ir.Node, net: Net) -> None:
    net.add("Log", [_softmax(node, net, None)], top=node.outputs[0].name)


def softmax(node: ir.Node, net: Net) -> None:
    _softmax(node, net, node.outputs[0].name)


def _softmax(node: ir.Node, net: Net, top: str | None) -> str:
    axis = (node.attributes.get_int("axis", -1) or 0) % len(net.shape(node.inputs[0]))
    settings = {"softmax_param": {"axis": axis}}
    return net.add("Softmax", [net.blob(node.inputs[0])], settings, top=top)


def normalized(node: ir.Node, net: Net) -> None:
    """BatchNormalization that no convolution took in."""
    parameters = [constant_of(value) for value in node.inputs[1:5]]
    training = node.attributes.get_int("training_mode", 0)
    if any(each is None for each in parameters) or training:
        raise CannotExpressError("its statistics are computed")
    scale, shift, mean, variance = (np.asarray(each, np.float64) for each in parameters)
    factor = scale / np.sqrt(variance + (node.attributes.get_float("epsilon", 1e-5) or 0.0))
    settings = {"scale_param": {"axis": 1, "num_axes": 1, "bias_term": True}}
    blobs = [factor, shift - mean * factor]
    net.add("Scale", [net.blob(node.inputs[0])], settings, blobs, top=node.outputs[0].name)


def lrn(node: ir.Node, net: Net) -> None:
    """With the bias 1, as the first versions of the layer have it; another one comes out of the power."""
    size = node.attributes.get_int("size", 1) or 1
    get, top = node.attributes.get_float, node.outputs[0].name
    bias, beta = get("bias", 1.0) or 0.0, get("beta", 0.75) or 0.0
    if size % 2 == 0 or bias <= 0:
        raise CannotExpressError("Caffe's LRN wants an odd size and a bias above 0")
    settings = {"local_size": size, "alpha": (get("alpha", 1e-4) or 0.0) / bias, "beta": beta}
    bottom = net.blob(node.inputs[0])
    last = bias == 1
    blob = net.add("LRN", [bottom], {"lrn_param": settings}, top=top if last else None)
    if not last:
        net.power(blob, scale=bias**-beta, top=top)
