"""Computes at build time what does not depend on the inputs.

Before:
    zero = Constant <value = int64 {0}> ()
    like = CastLike (zero, weight)
    size = Shape <start = 0, end = 1> (weight)
    bias = Expand (like, size)
    y = Conv (x, weight, bias)

After:
    y = Conv (x, weight, bias)          # bias is an initializer of zeros

Exact: the reference implementation of each operator computes the constants. Random operators and
operators with subgraphs are left alone, and so is a node whose result would take more room than
`GROWTH_LIMIT_BYTES` beyond its inputs: an Expand of a scalar must not become a weight of megabytes.

`Shape`, `Size` and `CastLike` need only the shape or the element type of a value, so they fold for
values that are not constant too.
"""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from modelport.errors import GraphError
from modelport.graph import provenance
from modelport.graph.evaluate import evaluate
from modelport.graph.query import constant_of
from modelport.passes.base import GraphPass, Refusal
from modelport.types import Array

GROWTH_LIMIT_BYTES = 64 * 1024

_NOT_CONSTANT = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial"}
    | {"Bernoulli", "Dropout", "Constant", "Identity"}
)
"""Identity is here because `remove_identities` does it without a copy."""

_QUANTIZATION = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"})
"""Folding these would turn int8 weights back into float."""


class FoldConstants(GraphPass):
    name: ClassVar[str] = "fold_constants"
    summary: ClassVar[str] = "what does not depend on the inputs is computed once"

    def apply(self, model: ir.Model) -> bool:
        opset = model.opset_imports.get("", 1)
        modified = False
        for graph in model.graphs():
            for node in list(graph):
                if node.domain not in ("", "ai.onnx"):
                    continue
                modified |= _cast_like_to_cast(node)
                modified |= self._fold(node, graph, opset)
        return modified

    def _fold(self, node: ir.Node, graph: ir.Graph, opset: int) -> bool:
        arrays = _known_result(node)
        if arrays is None:
            if not _is_foldable(node):
                return False
            inputs = [constant_of(value) for value in node.inputs]
            reason, arrays = _computed(node, inputs, opset)
            if reason is not None:
                self.refusals.append(Refusal(provenance.describe(node), reason))
                return False
        _replace(node, graph, arrays)
        return True


def _is_foldable(node: ir.Node) -> bool:
    return (
        node.op_type not in _NOT_CONSTANT | _QUANTIZATION
        and bool(node.inputs)
        and all(value is None or constant_of(value) is not None for value in node.inputs)
        and not any(value.is_graph_output() for value in node.outputs)
        and not any(
            attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
            or attribute.is_ref()
            for attribute in node.attributes.values()
        )
    )


def _computed(
    node: ir.Node, inputs: list[Array | None], opset: int
) -> tuple[str | None, list[Array]]:
    try:
        results = evaluate(node, inputs, opset)
    except GraphError as error:
        return str(error), []
    named = [array for array, value in zip(results, node.outputs, strict=True) if value.name]
    if node.op_type.startswith("Optional") or not all(_is_numeric(array) for array in named):
        return "the result is not a tensor of numbers", []
    arrays = [np.asarray(array) for array in results]
    before = sum(array.nbytes for array in inputs if array is not None)
    grown = sum(array.nbytes for array in arrays) - before
    if grown > GROWTH_LIMIT_BYTES:
        return f"the constant would add {grown} bytes, more than {GROWTH_LIMIT_BYTES}", []
    return None, arrays


def _is_numeric(result: object) -> bool:
    """Whether it is a tensor, and not of strings; the reference has lists for sequences."""
    return isinstance(result, (np.ndarray, np.generic)) and result.dtype.kind not in "OSU"


def _known_result(node: ir.Node) -> list[Array] | None:
    """Shape and Size of a value whose shape is static, constant or not."""
    if node.op_type not in ("Shape", "Size") or node.outputs[0].is_graph_output():
        return None
    value = node.inputs[0]
    if value is None or value.shape is None or not value.shape.is_static():
        return None
    sizes = value.shape.numpy()
    if node.op_type == "Size":
        return [np.asarray(math.prod(sizes), np.int64)]
    start = node.attributes.get_int("start", 0)
    end = node.attributes.get_int("end", len(sizes))
    return [np.asarray(sizes[start:end], np.int64)]


def _cast_like_to_cast(node: ir.Node) -> bool:
    """CastLike needs only an element type, which may be known where the value is not."""
    if node.op_type != "CastLike" or node.inputs[1] is None or node.inputs[1].dtype is None:
        return False
    dtype = node.inputs[1].dtype
    node.op_type = "Cast"
    node.resize_inputs(1)
    node.attributes["to"] = ir.AttrInt64("to", dtype.value)
    return True


def _replace(node: ir.Node, graph: ir.Graph, arrays: list[Array]) -> None:
    for value, array in zip(node.outputs, arrays, strict=True):
        if not value.name:  # an optional result that is left out
            continue
        tensor = ir.tensor(np.ascontiguousarray(array).reshape(array.shape), name=value.name)
        constant = ir.Value(
            name=value.name,
            type=ir.TensorType(tensor.dtype),
            shape=ir.Shape(array.shape),
            const_value=tensor,
        )
        value.replace_all_uses_with(constant)
        value.name = None
        graph.register_initializer(constant)
    graph.remove(node, safe=True)
