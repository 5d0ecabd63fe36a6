"""Folds a BatchNormalization into the convolution or matrix product before it.

Before:
    a = Conv (x, W, b)
    y = BatchNormalization <epsilon> (a, scale, shift, mean, var)

After:
    y = Conv (x, W * f, (b - mean) * f + shift)        # f = scale / sqrt(var + epsilon)

Equal up to rounding; the products are taken in float64. The condition: BatchNormalization runs in
inference mode, all its parameters and the weights are constants, and nothing else reads what lies
between the two nodes. Works for Conv, ConvTranspose and Gemm.

Run `fold_constants` first: exporters hide the bias behind CastLike and Expand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from modelport.graph import provenance
from modelport.graph.query import constant_of
from modelport.passes.base import RewritePass, take_over
from modelport.types import Array

_LINEAR = ("Conv", "ConvTranspose", "Gemm")


class FoldBatchNorm(RewritePass):
    name: ClassVar[str] = "fold_batchnorm"
    summary: ClassVar[str] = "BatchNormalization is folded into the Conv or Gemm before it"
    exact: ClassVar[bool] = False

    def pattern(self, node: ir.Node) -> Sequence[ir.Node] | None:
        if node.op_type != "BatchNormalization" or node.domain or node.inputs[0] is None:
            return None
        producer = node.inputs[0].producer()
        if producer is None or producer.op_type not in _LINEAR or producer.domain:
            return None
        if producer.graph is not node.graph:
            return None
        return [producer, node]

    def check(self, match: Sequence[ir.Node]) -> str | None:
        linear, norm = match
        between = linear.outputs[0]
        if between.is_graph_output() or len(between.uses()) > 1:
            return f"something else reads the result of {linear.op_type} too"
        if norm.attributes.get_int("training_mode", 0):
            return "it is in training mode"
        if any(output.uses() or output.is_graph_output() for output in norm.outputs[1:]):
            return "its running statistics are read"
        parameters = [constant_of(value) for value in norm.inputs[1:5]]
        if any(array is None for array in parameters):
            return "its parameters are not constants"
        if any(array is not None and array.ndim != 1 for array in parameters):
            return "its parameters are not one number to a channel"  # `spatial = 0`, opset 8
        return _linear_problem(linear)

    def rewrite(self, match: Sequence[ir.Node]) -> None:
        linear, norm = match
        graph = linear.graph
        assert graph is not None
        factor, shift = _affine(norm)
        weight, bias = _parameters(linear)
        folded = weight * _along_outputs(linear, weight, factor)
        self._set_input(graph, linear, 1, folded, "weight")
        self._set_input(graph, linear, 2, bias * factor + shift, "bias")
        if linear.op_type == "Gemm":
            linear.attributes["beta"] = ir.AttrFloat32("beta", 1.0)
        provenance.inherit(linear, [linear, norm])
        take_over(linear.outputs[0], norm.outputs[0])
        graph.remove(norm, safe=True)

    def _set_input(
        self, graph: ir.Graph, node: ir.Node, index: int, array: Array, role: str
    ) -> None:
        """Gives the node new weights; a weight that no other node reads keeps its name."""
        old = node.inputs[index] if index < len(node.inputs) else None
        weight = constant_of(node.inputs[1])
        assert weight is not None
        tensor = ir.tensor(array.astype(weight.dtype))
        if role == "weight" and old is not None and _is_owned(old):
            tensor.name = old.name
            old.const_value = tensor
            old.shape = ir.Shape(array.shape)
            return
        stem = provenance.module_of(node) or node.outputs[0].name
        value = self.constant(array.astype(weight.dtype), f"{stem}.{role}")
        node.resize_inputs(max(len(node.inputs), index + 1))
        node.replace_input_with(index, value)


def _linear_problem(linear: ir.Node) -> str | None:
    if constant_of(linear.inputs[1]) is None:
        return f"the weight of {linear.op_type} is not a constant"
    bias = linear.inputs[2] if len(linear.inputs) > 2 else None
    if bias is None:
        return None
    array = constant_of(bias)
    if array is None:
        return f"the bias of {linear.op_type} is not a constant"
    if array.size != 1 and array.size != array.shape[-1]:
        return f"the bias of {linear.op_type} differs between the rows of a batch"
    return None


def _affine(norm: ir.Node) -> tuple[Array, Array]:
    """BatchNormalization as `x * factor + shift`, one number to a channel, float64."""
    scale, offset, mean, var = (
        np.asarray(constant_of(value), np.float64) for value in norm.inputs[1:5]
    )
    factor = scale / np.sqrt(var + norm.attributes.get_float("epsilon", 1e-5))
    return factor, offset - mean * factor


def _parameters(linear: ir.Node) -> tuple[Array, Array]:
    """Weight and effective bias (one number, or one to a channel) in float64."""
    weight = np.asarray(constant_of(linear.inputs[1]), np.float64)
    value = linear.inputs[2] if len(linear.inputs) > 2 else None
    bias = np.zeros(1) if value is None else np.asarray(constant_of(value), np.float64).reshape(-1)
    if linear.op_type == "Gemm":
        bias = bias * linear.attributes.get_float("beta", 1.0)
    return weight, bias


def _along_outputs(linear: ir.Node, weight: Array, factor: Array) -> Array:
    """The factor shaped so that it multiplies the output channels of the weight."""
    if linear.op_type == "Gemm":
        return factor[:, None] if linear.attributes.get_int("transB", 0) else factor[None, :]
    if linear.op_type == "Conv":
        return factor.reshape(-1, *[1] * (weight.ndim - 1))
    # ConvTranspose keeps (inputs, outputs per group, ...): each group has its own block of inputs.
    group = linear.attributes.get_int("group", 1)
    inputs, outputs = weight.shape[0], weight.shape[1]
    blocks = np.repeat(factor.reshape(group, outputs), inputs // group, axis=0)
    return blocks.reshape(inputs, outputs, *[1] * (weight.ndim - 2))


def _is_owned(value: ir.Value) -> bool:
    return value.is_initializer() and not value.is_graph_output() and len(value.uses()) == 1
