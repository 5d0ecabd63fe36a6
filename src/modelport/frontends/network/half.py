"""A graph in half precision: weights and computation in float16.

Operators that take no float16 keep float32, between casts. Numbers beyond float16's largest, 65504, become
that: masks such as -1e9 stay masks. Exact it is not; see `modelport.verify`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from modelport.graph import provenance, schemas

_HALF, _SINGLE = ir.DataType.FLOAT16, ir.DataType.FLOAT
_LARGEST = 65504.0
_ELEMENT_TYPES = ("to", "dtype", "output_dtype", "output_datatype")


def halve(model: ir.Model, *, signature: bool = False) -> None:
    """Turns every float32 value of the graph into float16.

    Args:
        signature: whether inputs and outputs become float16 too.
    """
    taken = {value.name or "" for graph in model.graphs() for value in _defined(graph)}
    job = _Halving(model, taken)
    kept = [] if signature else _kept(model.graph)
    nodes = [(node, _singles(node)) for graph in model.graphs() for node in graph]
    for graph in model.graphs():
        for value in _defined(graph):
            value.type = _halved(value.type)
        for weight in graph.initializers.values():
            if weight.const_value is not None and weight.const_value.dtype == _SINGLE:
                weight.const_value = _half_tensor(weight.const_value, weight.name)
    for node, singles in nodes:
        job.treat(node, *singles)
    for value in kept:
        job.keep_single(value)


class _Halving:
    def __init__(self, model: ir.Model, taken: set[str]) -> None:
        self._model = model
        self._taken = taken
        self._opset = model.opset_imports.get("", 0)

    def treat(self, node: ir.Node, inputs: list[int], outputs: list[int]) -> None:
        """One node, with the places of what was float32."""
        rule = schemas.operator(node.op_type, self._opset) if not node.domain else None
        if rule is not None:
            _turn_attributes(node)
        for index in inputs:
            if rule is None or "tensor(float16)" not in rule.input(index).types:
                self._single_before(node, index)
        for index in outputs:
            formal = rule.outputs[min(index, len(rule.outputs) - 1)] if rule else None
            if formal is None or "tensor(float16)" not in formal.types:
                self._half_after(node, index)

    def keep_single(self, value: ir.Value) -> None:
        """An input or output of the model stays float32, behind or before a cast."""
        if value.is_graph_input():
            uses = list(value.uses())
            value.type = ir.TensorType(_SINGLE)
            cast = self._cast(value, _HALF, f"{value.name}_half")
            self._model.graph.insert_before(self._model.graph[0], cast)
            for use in uses:
                use.node.replace_input_with(use.idx, cast.outputs[0])
            return
        producer = value.producer()
        name = value.name or ""
        value.name = self._fresh(f"{name}_half")
        cast = self._cast(value, _SINGLE, name)
        cast.outputs[0].name = name
        self._model.graph.append(cast)
        if producer is not None:
            provenance.inherit(cast, [producer])
        for index, output in enumerate(self._model.graph.outputs):
            if output is value:
                self._model.graph.outputs[index] = cast.outputs[0]

    def _single_before(self, node: ir.Node, index: int) -> None:
        value = node.inputs[index]
        assert value is not None
        cast = self._cast(value, _SINGLE, f"{value.name}_single")
        provenance.inherit(cast, [node])
        assert isinstance(node.graph, ir.Graph)
        node.graph.insert_before(node, cast)
        node.replace_input_with(index, cast.outputs[0])

    def _half_after(self, node: ir.Node, index: int) -> None:
        value = node.outputs[index]
        value.type = ir.TensorType(_SINGLE)
        graph, uses = node.graph, list(value.uses())
        assert isinstance(graph, ir.Graph)
        cast = self._cast(value, _HALF, f"{value.name}_half")
        provenance.inherit(cast, [node])
        graph.insert_after(node, cast)
        for use in uses:
            use.node.replace_input_with(use.idx, cast.outputs[0])
        for place, output in enumerate(graph.outputs):
            if output is value:
                graph.outputs[place] = cast.outputs[0]

    def _cast(self, value: ir.Value, kind: ir.DataType, name: str) -> ir.Node:
        cast = ir.node("Cast", [value], attributes={"to": int(kind)})
        (result,) = cast.outputs
        result.name, result.type, result.shape = self._fresh(name), ir.TensorType(kind), value.shape
        cast.name = self._fresh(f"{name}_cast")
        cast.metadata_props[provenance.MODULE] = ""
        return cast

    def _fresh(self, stem: str) -> str:
        name, number = stem, 0
        while name in self._taken:
            number += 1
            name = f"{stem}_{number}"
        self._taken.add(name)
        return name


def _kept(graph: ir.Graph) -> list[ir.Value]:
    ends = dict.fromkeys([*graph.inputs, *graph.outputs])
    return [value for value in ends if value.dtype == _SINGLE]


def _singles(node: ir.Node) -> tuple[list[int], list[int]]:
    return (
        [i for i, value in enumerate(node.inputs) if value is not None and value.dtype == _SINGLE],
        [i for i, value in enumerate(node.outputs) if value.dtype == _SINGLE],
    )


def _halved(kind: Any) -> Any:
    if isinstance(kind, ir.TensorType) and kind.dtype == _SINGLE:
        return ir.TensorType(_HALF)
    if isinstance(kind, (ir.SequenceType, ir.OptionalType)):
        return type(kind)(_halved(kind.elem_type))
    return kind


def _half_tensor(tensor: ir.TensorProtocol, name: str | None = None) -> ir.TensorProtocol:
    array = tensor.numpy()
    bounded = np.where(np.isfinite(array), np.clip(array, -_LARGEST, _LARGEST), array)
    return ir.tensor(bounded.astype(np.float16), name=name)


def _turn_attributes(node: ir.Node) -> None:
    for name, attribute in list(node.attributes.items()):
        if attribute.type == ir.AttributeType.TENSOR:
            tensor = attribute.as_tensor()
            if tensor.dtype == _SINGLE:
                node.attributes[name] = ir.AttrTensor(name, _half_tensor(tensor))
        elif name in _ELEMENT_TYPES and attribute.value == int(_SINGLE):
            node.attributes[name] = ir.AttrInt64(name, int(_HALF))
        elif node.op_type == "Constant" and name in ("value_float", "value_floats"):
            del node.attributes[name]
            array = np.asarray(attribute.value, np.float32)
            node.attributes["value"] = ir.AttrTensor("value", _half_tensor(ir.tensor(array)))
    if node.op_type == "ConstantOfShape" and "value" not in node.attributes:
        zero = ir.tensor(np.zeros(1, np.float16))
        node.attributes["value"] = ir.AttrTensor("value", zero)


def _defined(graph: ir.Graph) -> list[ir.Value]:
    made = [value for node in graph for value in node.outputs]
    return [*dict.fromkeys([*graph.inputs, *graph.initializers.values()]), *made]
