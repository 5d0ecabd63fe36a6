"""What a node is, as plain data: operator, module, attributes, and the statistics of its weights."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from modelport.graph import provenance
from modelport.graph.query import constant_of, operator_of
from modelport.types import Array


@dataclass(frozen=True)
class ValueFacts:
    """Attributes:
    kind: `input`, `weight`, or `node` for what a node gives.
    minimum, maximum, mean: of a weight of numbers that are all finite.
    """

    name: str
    kind: str
    dtype: str
    shape: tuple[int | str, ...] | None
    minimum: float | None = None
    maximum: float | None = None
    mean: float | None = None

    def __str__(self) -> str:
        sizes = "?" if self.shape is None else "x".join(map(str, self.shape)) or "scalar"
        text = f"{self.name}: {self.dtype} {sizes}"
        if self.minimum is None:
            return text
        return f"{text}, {self.minimum:.4g} to {self.maximum:.4g}, mean {self.mean:.4g}"


@dataclass(frozen=True)
class NodeFacts:
    """Attributes:
    merged: paths of other modules whose work was folded into the node.
    inputs: None where an input is left out.
    """

    name: str
    operator: str
    module: str
    class_name: str
    line: str
    merged: tuple[str, ...]
    attributes: dict[str, Any]
    inputs: tuple[ValueFacts | None, ...]
    outputs: tuple[ValueFacts, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def describe(node: ir.Node) -> NodeFacts:
    """All that is known of a node; its weights are read for their statistics."""
    known = node.metadata_props
    return NodeFacts(
        name=node.name or "",
        operator=operator_of(node),
        module=provenance.module_of(node),
        class_name=known.get(provenance.CLASS, ""),
        line=known.get(provenance.LINE, ""),
        merged=tuple(provenance.merged_into(node)),
        attributes=attributes_of(node),
        inputs=tuple(None if value is None else _facts(value) for value in node.inputs),
        outputs=tuple(_facts(value) for value in node.outputs),
    )


def attributes_of(node: ir.Node) -> dict[str, Any]:
    """Attributes as JSON has them; tensors and graphs in words."""
    return {name: _plain(attribute) for name, attribute in node.attributes.items()}


def _plain(attribute: ir.Attr) -> Any:
    if attribute.is_ref():
        return f"@{attribute.ref_attr_name}"
    value = attribute.value
    if attribute.type == ir.AttributeType.TENSOR:
        tensor = attribute.as_tensor()
        small = tensor.size <= 8 and tensor.dtype != ir.DataType.STRING
        return tensor.numpy().tolist() if small else f"{tensor.dtype}{tensor.shape}"
    if attribute.type == ir.AttributeType.GRAPH:
        return f"a graph of {len(attribute.as_graph())} nodes"
    if isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [each if isinstance(each, (int, float, str)) else str(each) for each in value]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _facts(value: ir.Value) -> ValueFacts:
    array = constant_of(value)
    outer = "input" if value.is_graph_input() else "weight"
    kind = outer if value.producer() is None else "node"
    shape = None
    if value.shape is not None:
        shape = tuple(s if isinstance(s, int) else s.value or "?" for s in value.shape.dims)
    elif array is not None:
        shape = array.shape
    dtype = value.dtype.name.lower() if value.dtype is not None else "unknown"
    if array is not None:
        dtype = ir.DataType.from_numpy(array.dtype).name.lower() if value.dtype is None else dtype
    return ValueFacts(value.name or "", kind, dtype, shape, *_statistics(array))


def _statistics(array: Array | None) -> tuple[float | None, float | None, float | None]:
    if array is None or not array.size or array.dtype.kind not in "biufV":
        return None, None, None
    numbers = array.astype(np.float64)
    if not np.isfinite(numbers).all():
        return None, None, None
    return float(numbers.min()), float(numbers.max()), float(numbers.mean())
