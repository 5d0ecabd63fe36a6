"""Element types and shapes of what one node gives, by onnx's own rules, before the graph is whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir
from onnx import defs, helper, shape_inference  # noqa: TID251  (it infers on onnx's own classes)

from modelport.errors import GraphError
from modelport.types import Array

_LIKE_INPUT = frozenset({"GroupNormalization"})
"""Operators whose result is shaped as their input, which onnx does not say."""


@dataclass(frozen=True)
class Inferred:
    """What is known of one output; None where the operator's rules do not say."""

    type: ir.TypeProtocol | None
    shape: ir.Shape | None


def infer_node(
    node: ir.Node, opset: int, known: Mapping[ir.Value, Array] | None = None
) -> list[Inferred]:
    """What the node's outputs are, from its inputs' types and shapes. All values have names.

    Args:
        known: the contents of inputs that decide shapes, such as the sizes for a Reshape.

    Raises:
        GraphError: where the inputs do not fit each other or the operator; with onnx's own words.
    """
    try:
        schema = defs.get_schema(node.op_type, opset, node.domain)
    except defs.SchemaError:  # an operator of another domain
        return [Inferred(None, None) for _ in node.outputs]
    read = {value.name: value for value in _read(node) if value.type is not None}
    contents = (known or {}).items()
    try:
        found = shape_inference.infer_node_outputs(
            schema,
            ir.serde.serialize_node(node),
            {name: ir.serde.serialize_value(value).type for name, value in read.items()},
            {
                value.name: ir.serde.serialize_tensor(ir.Tensor(array, name=value.name))
                for value, array in contents
            },
            opset_imports=[helper.make_opsetid("", opset)],
        )
    except shape_inference.InferenceError as error:
        raise GraphError(_plain(str(error))) from error
    results = [_inferred(found.get(value.name)) for value in node.outputs]
    first = node.inputs[0] if node.inputs else None
    if node.op_type in _LIKE_INPUT and results[0].shape is None and first is not None:
        results[0] = Inferred(results[0].type, first.shape)
    return results


def _read(node: ir.Node) -> Iterator[ir.Value]:
    """What the node reads, its subgraphs included."""
    yield from (value for value in node.inputs if value is not None)
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            for inner in attribute.as_graph():
                yield from _read(inner)


def _inferred(proto: Any) -> Inferred:
    if proto is None:
        return Inferred(None, None)
    found = ir.from_proto(proto)
    return Inferred(found.type, found.shape)


def _plain(text: str) -> str:
    """onnx's sentence without the names of its checks and of places in its source."""
    return (
        " ".join(text.split()).removeprefix("[ShapeInferenceError] ").split("[TypeInf")[0].strip()
    )
