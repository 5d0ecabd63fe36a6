"""New nodes for an edited graph: operator, attributes and inputs as users write them, checked first."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import onnx_ir as ir

from modelport.errors import UnknownNameError, UsageError
from modelport.graph import find, provenance, schemas
from modelport.graph.scope import all_values
from modelport.types import Array

Given: TypeAlias = "str | int | float | Sequence[Any] | None"
"""An input of a new node: a selector of a value, numbers that become a constant, None to leave it out."""

Read: TypeAlias = "ir.Value | Array | None"
"""Such an input once it is read; the array becomes a constant when all has been checked."""

_STANDARD = ("", "ai.onnx")


def check(
    model: ir.Model, operator: str, attributes: Mapping[str, Any] | None, name: str | None
) -> None:
    """Raises where no such node can be made; what `make` does later then succeeds.

    Raises:
        UnknownNameError: for an operator or attribute that ONNX does not have; it offers the nearest.
        UsageError: for a value of the wrong kind, and for the name of another node.
    """
    domain, _, op_type = operator.rpartition("::")
    attributes_of(model, op_type, domain, attributes or {})
    if name is not None and any(node.name == name for node in model.graph.all_nodes()):
        raise UsageError(f"Another node is named {name!r} already", hint="Choose another name")


def make(
    model: ir.Model,
    operator: str,
    inputs: Sequence[Read],
    attributes: Mapping[str, Any] | None = None,
    name: str | None = None,
    *,
    like: ir.Value,
    outputs: int = 1,
) -> ir.Node:
    """A node with names of its own, not yet in a graph.

    Args:
        inputs: arrays among them become constants; real numbers take the element type of `like`.
        name: of the node; numbered where it is taken.
    """
    domain, _, op_type = operator.rpartition("::")
    given = attributes_of(model, op_type, domain, attributes or {})
    values = [
        each if each is None or isinstance(each, ir.Value) else _constant(model, each, like)
        for each in inputs
    ]
    taken = {value.name for value in all_values(model.graph)}
    nodes = {node.name for node in model.graph.all_nodes()}
    node = ir.Node(domain, op_type, values, given, num_outputs=outputs)
    producer = like.producer()
    stem = (provenance.module_of(producer) if producer is not None else "") or like.name
    node.name = free_name(name or f"{stem}/{op_type}", nodes)
    for value in node.outputs:
        value.name = free_name(f"{like.name}_{op_type.lower()}", taken)
        taken.add(value.name)
    if domain and domain not in model.opset_imports:
        model.opset_imports[domain] = 1
    return node


def read_inputs(model: ir.Model, given: Sequence[Given]) -> list[Read]:
    """Values that selectors stand for, and numbers as arrays.

    Raises:
        UsageError: for what is neither, and for a selector of no value or of several.
    """
    return [_read(model, each) for each in given]


def _read(model: ir.Model, given: Given) -> Read:
    if given is None:
        return None
    if isinstance(given, str):
        return find.value(model, given)
    try:
        array = np.asarray(given)
    except ValueError:  # rows of different lengths
        array = np.asarray(None)
    if array.dtype.kind not in "biuf":
        raise UsageError(
            f"The input {given!r} of a new node cannot be read",
            expected="the name of a value, a number, or a list of numbers",
        )
    return array


def _constant(model: ir.Model, array: Any, like: ir.Value) -> ir.Value:
    if array.dtype.kind == "f":
        wanted = like.dtype
        is_real = wanted is not None and wanted.is_floating_point()
        array = array.astype(wanted.numpy() if wanted is not None and is_real else np.float32)
    name = free_name("constant", {value.name for value in all_values(model.graph)})
    tensor = ir.tensor(array, name=name)
    value = ir.Value(
        name=name,
        type=ir.TensorType(tensor.dtype),
        shape=ir.Shape(array.shape),
        const_value=tensor,
    )
    model.graph.register_initializer(value)
    return value


def attributes_of(
    model: ir.Model, op_type: str, domain: str, given: Mapping[str, Any]
) -> list[ir.Attr]:
    """Attributes of the types that the operator wants; of other domains, as the values look."""
    opset = model.opset_imports.get("") or 0
    if domain not in _STANDARD:
        return [_attribute(op_type, name, value, None) for name, value in given.items()]
    schema = schemas.operator(op_type, opset)
    if schema is None:
        raise _unknown_operator(op_type, opset)
    for name in given:
        if name not in schema.attributes:
            near = difflib.get_close_matches(name, list(schema.attributes), n=1)
            raise UnknownNameError(
                f"{op_type} has no attribute {name!r}",
                expected=f"one of {', '.join(schema.attributes)}" if schema.attributes else "none",
                hint=f"Perhaps you meant {near[0]!r}" if near else None,
            )
    return [
        _attribute(op_type, name, value, schema.attributes[name].kind)
        for name, value in given.items()
    ]


def _unknown_operator(op_type: str, opset: int) -> UnknownNameError:
    lower = {name.lower(): name for name in schemas.operators(opset)}
    near = [lower[name] for name in difflib.get_close_matches(op_type.lower(), list(lower), n=2)]
    domains = "Write the domain before an operator of another one: com.microsoft::Gelu"
    return UnknownNameError(
        f"ONNX has no operator {op_type!r} in opset {opset}",
        hint=f"Perhaps you meant {' or '.join(map(repr, near))}" if near else domains,
    )


def _attribute(op_type: str, name: str, value: Any, kind: ir.AttributeType | None) -> ir.Attr:
    try:
        return _converted(name, value, kind)
    except (TypeError, ValueError) as error:
        wanted = kind.name.lower() if kind else "a number, a text, or a list of these"
        raise UsageError(
            f"The attribute {name!r} of {op_type} cannot be {value!r}", expected=wanted
        ) from error


def _converted(name: str, value: Any, kind: ir.AttributeType | None) -> ir.Attr:
    if isinstance(value, ir.Attr):
        return value
    if kind == ir.AttributeType.TENSOR:
        array = np.asarray(_numbers_only(value))
        return ir.AttrTensor(
            name, ir.tensor(array.astype(np.float32) if _is_wide(array) else array)
        )
    if kind is not None and kind in _CONVERTERS:
        return ir.Attr(name, kind, _CONVERTERS[kind](value))
    if kind is not None or value is None or isinstance(value, Mapping):
        raise TypeError(f"{value!r} is no attribute")
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = list(value)
        if not value or any(isinstance(each, (Mapping, list, type(None))) for each in value):
            raise TypeError(f"{value!r} is no attribute")
    if isinstance(value, bool):
        value = int(value)
    return ir.convenience.convert_attribute(name, value)


def _is_wide(array: Array) -> bool:
    return bool(array.dtype == np.float64)


def _numbers_only(value: Any) -> Any:
    if np.asarray(value).dtype.kind not in "biuf":
        raise TypeError(value)
    return value


def _whole(value: Any) -> int:
    number = int(value)
    if isinstance(value, str) or number != value:
        raise ValueError(value)
    return number


def _real(value: Any) -> float:
    if isinstance(value, str):
        raise TypeError(value)
    return float(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _listed(value: Any) -> list[Any]:
    if isinstance(value, (str, Mapping)) or not isinstance(value, Iterable):
        raise TypeError(value)
    return list(value)


_CONVERTERS: dict[ir.AttributeType, Any] = {
    ir.AttributeType.INT: _whole,
    ir.AttributeType.FLOAT: _real,
    ir.AttributeType.STRING: _text,
    ir.AttributeType.INTS: lambda values: [_whole(value) for value in _listed(values)],
    ir.AttributeType.FLOATS: lambda values: [_real(value) for value in _listed(values)],
    ir.AttributeType.STRINGS: lambda values: [_text(value) for value in _listed(values)],
}


def free_name(stem: str, taken: Collection[str | None]) -> str:
    name, number = stem, 0
    while name in taken:
        number += 1
        name = f"{stem}_{number}"
    return name
