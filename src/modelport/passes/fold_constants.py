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
`GROWTH_LIMIT_BYTES` beyond its inputs: an Expand of a scalar must not become a weight of megabytes, and
is not computed to find that out. Larger ones, such as the position biases that a Swin transformer
gathers from a table, fold as long as all of them together add no more than a hundredth to the weights.
Transpose and Cast of a large weight are done when the weight is asked for, so that a model need not fit
into memory twice.

`Shape`, `Size` and `CastLike` need only the shape or the element type of a value, so they fold for
values that are not constant too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from modelport.errors import GraphError
from modelport.graph import provenance
from modelport.graph.evaluate import evaluate
from modelport.graph.query import constant_of
from modelport.passes.matching import STANDARD, sizes_of
from modelport.passes.shaped import ShapedPass
from modelport.types import Array

GROWTH_LIMIT_BYTES = 64 * 1024

SHARE = 100
"""The weights may grow by one part in so many."""

LAZY_BYTES = 1024 * 1024
"""Weights of more bytes than this are transposed and cast when they are asked for."""

_NOT_CONSTANT = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial"}
    | {"Bernoulli", "Dropout", "Constant", "Identity"}
    | {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"}
)
"""Identity is here because `remove_identities` does it without a copy, quantization because folding it
would turn int8 weights back into float."""

_SUBGRAPHS = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)

_LAZY = ("Transpose", "Cast")
"""What the reference does for certain to tensors of any size."""


class FoldConstants(ShapedPass):
    name: ClassVar[str] = "fold_constants"
    summary: ClassVar[str] = "what does not depend on the inputs is computed once"

    def apply(self, model: ir.Model) -> bool:
        self._room = _weights_bytes(model) // SHARE
        return super().apply(model)

    def pattern(self, node: ir.Node) -> Sequence[ir.Node] | None:
        if node.domain not in STANDARD:
            return None
        foldable = _is_cast_like(node) or _known_result(node) is not None or _is_foldable(node)
        return [node] if foldable else None

    def check(self, match: Sequence[ir.Node]) -> str | None:
        (node,) = match
        self._results: list[ir.TensorProtocol] = []
        if _is_cast_like(node) and not _is_foldable(node):
            return None
        known = _known_result(node)
        if known is not None:
            self._results = [ir.Tensor(known)]
            return None
        return self._compute(node)

    def rewrite(self, match: Sequence[ir.Node]) -> None:
        (node,) = match
        if not self._results:
            _cast_like_to_cast(node)
            return
        assert node.graph is not None
        _replace(node, node.graph, self._results)

    def _compute(self, node: ir.Node) -> str | None:
        """Notes the results of a node of constants; returns why there are none."""
        before = sum(_bytes_of(value) for value in node.inputs)
        foreseen = self._foreseen_bytes(node)
        if foreseen is not None and foreseen - before > max(GROWTH_LIMIT_BYTES, self._room):
            return _too_large(foreseen - before)
        if node.op_type in _LAZY and foreseen is not None and foreseen > LAZY_BYTES:
            self._results = [_lazy(node, self.shapes.of(node.outputs[0]), self.opset)]
            return None
        try:
            results = evaluate(node, [constant_of(value) for value in node.inputs], self.opset)
        except GraphError as error:
            return str(error)
        named = [array for array, value in zip(results, node.outputs, strict=True) if value.name]
        if node.op_type.startswith("Optional") or not all(_is_numeric(array) for array in named):
            return "the result is not a tensor of numbers"
        arrays = [np.asarray(array) for array in results]
        grown = sum(array.nbytes for array in arrays) - before
        if grown > GROWTH_LIMIT_BYTES:
            if grown > self._room:
                return _too_large(grown)
            self._room -= grown
        self._results = [_tensor(array) for array in arrays]
        return None

    def _foreseen_bytes(self, node: ir.Node) -> int | None:
        """Bytes of the results, known before they are computed; None where that is not known."""
        total = 0
        for value in node.outputs:
            sizes = self.shapes.of(value)
            dtype = _dtype_of(node, value)
            if sizes is None or dtype is None:
                return None
            numbers = [size for size in sizes if isinstance(size, int)]
            if len(numbers) < len(sizes):
                return None
            total += math.ceil(math.prod(numbers) * dtype.itemsize)
        return total


def _weights_bytes(model: ir.Model) -> int:
    weights = (value.const_value for value in model.graph.initializers.values())
    return sum(tensor.nbytes for tensor in weights if tensor is not None)


def _is_foldable(node: ir.Node) -> bool:
    return (
        node.op_type not in _NOT_CONSTANT
        and bool(node.inputs)
        and all(value is None or _is_constant(value) for value in node.inputs)
        and not any(value.is_graph_output() for value in node.outputs)
        and not any(
            attribute.type in _SUBGRAPHS or attribute.is_ref()
            for attribute in node.attributes.values()
        )
    )


def _is_constant(value: ir.Value) -> bool:
    """As `constant_of`, without opening what may be large."""
    return not value.is_graph_input() and ir.convenience.get_const_tensor(value) is not None


def _bytes_of(value: ir.Value | None) -> int:
    tensor = None if value is None else ir.convenience.get_const_tensor(value)
    return 0 if tensor is None else tensor.nbytes


def _dtype_of(node: ir.Node, value: ir.Value) -> ir.DataType | None:
    """The element type of a result, where inference has run or the operator says it."""
    if value.dtype is not None:
        return value.dtype
    if node.op_type == "Cast":
        return ir.DataType(node.attributes.get_int("to", 0))
    if node.op_type == "ConstantOfShape":
        given = node.attributes.get("value")
        return ir.DataType.FLOAT if given is None else given.as_tensor().dtype
    return node.inputs[0].dtype if node.inputs[0] is not None else None


def _too_large(grown: int) -> str:
    return f"the constant would add {grown} bytes, more than {GROWTH_LIMIT_BYTES}"


def _is_numeric(result: object) -> bool:
    """Whether it is a tensor, and not of strings; the reference has lists for sequences."""
    return isinstance(result, (np.ndarray, np.generic)) and result.dtype.kind not in "OSU"


def _known_result(node: ir.Node) -> Array | None:
    """Shape and Size of a value whose shape is static, constant or not."""
    if node.op_type not in ("Shape", "Size") or node.outputs[0].is_graph_output():
        return None
    sizes = sizes_of(node.inputs[0])
    if sizes is None:
        return None
    if node.op_type == "Size":
        return np.asarray(math.prod(sizes), np.int64)
    start = node.attributes.get_int("start", 0)
    end = node.attributes.get_int("end", len(sizes))
    return np.asarray(sizes[start:end], np.int64)


def _is_cast_like(node: ir.Node) -> bool:
    """CastLike needs only an element type, which may be known where the value is not."""
    if node.op_type != "CastLike" or node.inputs[1] is None:
        return False
    return node.inputs[1].dtype is not None


def _cast_like_to_cast(node: ir.Node) -> None:
    like = node.inputs[1]
    assert like is not None
    assert like.dtype is not None
    node.op_type = "Cast"
    node.resize_inputs(1)
    node.attributes["to"] = ir.AttrInt64("to", like.dtype.value)


def _tensor(array: Array) -> ir.TensorProtocol:
    return ir.Tensor(np.ascontiguousarray(array).reshape(array.shape))


def _lazy(node: ir.Node, sizes: Sequence[object] | None, opset: int) -> ir.TensorProtocol:
    """A tensor that is computed when somebody asks for it, from a copy of the node."""
    source = node.inputs[0]
    assert source is not None
    tensor = ir.convenience.get_const_tensor(source)
    dtype = _dtype_of(node, node.outputs[0])
    assert tensor is not None
    assert dtype is not None
    taken = ir.Value(name="taken")
    copy = ir.node(node.op_type, [taken], attributes=dict(node.attributes))
    copy.outputs[0].name = "made"
    return ir.LazyTensor(
        lambda: _tensor(evaluate(copy, [tensor.numpy()], opset)[0]),
        dtype=dtype,
        shape=ir.Shape([size for size in sizes or () if isinstance(size, int)]),
        cache=True,
    )


def _replace(node: ir.Node, graph: ir.Graph, tensors: Sequence[ir.TensorProtocol]) -> None:
    for value, tensor in zip(node.outputs, tensors, strict=True):
        if not value.name:  # an optional result that is left out
            continue
        tensor.name = value.name
        constant = ir.Value(
            name=value.name,
            type=ir.TensorType(tensor.dtype),
            shape=ir.Shape(tensor.shape.numpy()),
            const_value=tensor,
        )
        provenance.inherit_marks(constant, value)
        value.replace_all_uses_with(constant)
        value.name = None
        graph.register_initializer(constant)
    graph.remove(node, safe=True)
