"""Checks what goes into a node against the specification of its operator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from modelport.frontends.network.mistakes import Refused, nearest
from modelport.frontends.network.weights import array_of
from modelport.graph.schemas import AttributeRule, Formal, Operator
from modelport.types import Array

_TYPE_NAMES = {
    ir.DataType.FLOAT: "float",
    ir.DataType.DOUBLE: "double",
}
"""ONNX's words for element types, where they are not numpy's."""


def array_like(given: Any, like: ir.DataType | None, *, cast: bool = False) -> Array:
    """An array; Python's numbers take the element type `like`, arrays keep theirs unless cast.

    Raises:
        Refused: where a number with a fraction meets whole numbers, or it is no array.
    """
    plain = isinstance(given, (bool, int, float, list, tuple))
    array = array_of(given)
    if array.dtype.kind in "OSU":
        if array.dtype.kind == "O":
            raise Refused(f"{given!r} is no tensor, array or number")
        return array.astype(object)
    if not plain:
        return _cast(array, like) if cast and like is not None else array
    if like is None or (like.is_integer() and array.dtype.kind == "f") or like.name == "BOOL":
        if like is not None and array.dtype.kind != "b":
            raise Refused(
                f"{given!r} does not go with {like.numpy().name}",
                hint="Cast the tensor first: x.cast('float32')",
            )
        return array.astype(np.float32) if array.dtype == np.float64 else array
    return array.astype(like.numpy())


def _cast(array: Array, like: ir.DataType) -> Array:
    """Weights with fractions in the element type of what they meet; whole numbers stay as they are."""
    kind = like.numpy()
    floating = array.dtype.kind == "f" or array.dtype.name == "bfloat16"
    return array.astype(kind) if floating and array.dtype != kind else array


def element_type(dtype: Any) -> ir.DataType:
    """Of numpy's or onnx-ir's name for it: `float16`, numpy.float16, ir.DataType.FLOAT16."""
    if isinstance(dtype, ir.DataType):
        return dtype
    try:
        name = str(dtype) if str(dtype) in _BY_NAME else np.dtype(dtype).name
        return _BY_NAME[name]
    except (TypeError, KeyError):
        raise Refused(
            f"there is no element type {dtype!r}",
            hint=nearest(str(dtype), _BY_NAME) or "Write for example 'float32' or 'int64'",
        ) from None


def _by_name() -> dict[str, ir.DataType]:
    found = {}
    for kind in ir.DataType:
        if kind not in (ir.DataType.UNDEFINED, ir.DataType.STRING):
            found[str(kind.numpy().name)] = kind
    return {**found, "string": ir.DataType.STRING}


_BY_NAME = _by_name()


def onnx_type(value: ir.Value) -> str | None:
    """As specifications write it: `tensor(float)`, `seq(tensor(int64))`; None where unknown."""
    return None if value.type is None else _written_type(value.type)


def _written_type(kind: Any) -> str | None:
    if isinstance(kind, ir.TensorType):
        name = _TYPE_NAMES.get(kind.dtype, kind.dtype.name.lower())
        return f"tensor({name})"
    inner = _written_type(kind.elem_type) if hasattr(kind, "elem_type") else None
    if inner is None:
        return None
    return f"seq({inner})" if isinstance(kind, ir.SequenceType) else f"optional({inner})"


def only_type(rule: Operator, index: int) -> ir.DataType | None:
    """The element type of an input that takes but one."""
    if not rule.inputs or len(rule.input(index).types) != 1:
        return None
    (word,) = rule.input(index).types
    name = word.removeprefix("tensor(").removesuffix(")")
    return next(
        (kind for kind in ir.DataType if _TYPE_NAMES.get(kind, kind.name.lower()) == name), None
    )


def check_types(rule: Operator, values: Sequence[ir.Value | None]) -> None:
    """Raises Refused where the number or the types of inputs are not those of the operator."""
    _check_arity(rule, values)
    bound: dict[str, tuple[str, str]] = {}
    for index, value in enumerate(values):
        formal = rule.input(index) if rule.inputs else None
        kind = None if value is None else onnx_type(value)
        if formal is None or value is None or kind is None:
            continue
        if kind not in formal.types:
            raise Refused(
                f"{rule.name} takes no {_short(kind)} for {formal.name}",
                expected=f"one of {', '.join(sorted(map(_short, formal.types)))}",
                hint=_cast_to(formal),
            )
        if not formal.homogeneous:
            continue
        other, name = bound.setdefault(formal.kind, (kind, formal.name))
        if other != kind:
            raise Refused(
                f"{rule.name} takes one element type for {_both(name, formal)}, and these are "
                f"{_short(other)} and {_short(kind)}",
                hint="Cast one of them: x.cast('float32')",
            )


def _cast_to(formal: Formal) -> str | None:
    """The cast that may have been meant."""
    for name in ("float32", "int64", "bool"):
        if name in map(_short, formal.types):
            return f"Cast it first: x.cast({name!r})"
    return None


def _both(name: str, formal: Formal) -> str:
    return f"all {name}" if name == formal.name else f"{name} and {formal.name}"


def _short(kind: str) -> str:
    """numpy's word where there is one: `tensor(float)` is float32."""
    inner = kind.removeprefix("tensor(").removesuffix(")") if kind.startswith("tensor(") else kind
    return {"float": "float32", "double": "float64"}.get(inner, inner)


def _check_arity(rule: Operator, values: Sequence[ir.Value | None]) -> None:
    least, most = rule.inputs_range
    if not least <= len(values) <= most:
        names = ", ".join(
            each.name if each.option == "single" else f"{each.name} ({each.option})"
            for each in rule.inputs
        )
        raise Refused(
            f"{rule.name} was given {len(values)} inputs",
            expected=names or "none",
        )
    for index, value in enumerate(values):
        if value is None and rule.input(index).option == "single":
            raise Refused(f"{rule.name} needs its input {rule.input(index).name}")


def bound_type(rule: Operator | None, node: ir.Node, index: int) -> ir.TypeProtocol | None:
    """The type of an output that the operator ties to an input."""
    if rule is None or not rule.outputs:
        return None
    kind = rule.outputs[min(index, len(rule.outputs) - 1)].kind
    for place, value in enumerate(node.inputs):
        if value is not None and rule.input(place).kind == kind:
            return value.type
    return None


def attributes(rule: Operator, given: Mapping[str, Any]) -> list[ir.Attr]:
    """Attributes of a node; raises Refused where the operator has none such, or of another kind."""
    for name in given:
        if name not in rule.attributes:
            raise Refused(
                f"{rule.name} has no attribute {name!r}",
                expected=f"one of {', '.join(rule.attributes)}" if rule.attributes else "none",
                hint=nearest(name, rule.attributes),
            )
    for name, each in rule.attributes.items():
        if each.required and given.get(name) is None:
            raise Refused(f"{rule.name} needs its attribute {name!r}")
    return [_attribute(rule, rule.attributes[name], value) for name, value in given.items()]


_ELEMENT_TYPES = ("to", "dtype", "output_dtype", "output_datatype", "stash_type")


def _attribute(rule: Operator, wanted: AttributeRule, value: Any) -> ir.Attr:
    kind = wanted.kind
    if isinstance(value, ir.Attr):
        return value
    if wanted.name in _ELEMENT_TYPES and not isinstance(value, int):
        value = int(element_type(value))
    if kind == ir.AttributeType.TENSOR and not isinstance(value, ir.TensorProtocol):
        value = ir.tensor(array_like(value, None))
    try:
        return ir.Attr(wanted.name, kind, _CHECKS[kind](value) if kind in _CHECKS else value)
    except (TypeError, ValueError):
        raise Refused(
            f"the attribute {wanted.name!r} of {rule.name} is {value!r}",
            expected=_KINDS.get(kind, kind.name),
        ) from None


def _whole(value: Any) -> int:
    if isinstance(value, float) or int(value) != value:
        raise TypeError
    return int(value)


def _number(value: Any) -> float:
    if isinstance(value, str):
        raise TypeError
    return float(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _listed(value: Any) -> list[Any]:
    if isinstance(value, str):
        raise TypeError
    return list(value)


_CHECKS: dict[ir.AttributeType, Any] = {
    ir.AttributeType.INT: _whole,
    ir.AttributeType.FLOAT: _number,
    ir.AttributeType.STRING: _text,
    ir.AttributeType.INTS: lambda value: [_whole(each) for each in _listed(value)],
    ir.AttributeType.FLOATS: lambda value: [_number(each) for each in _listed(value)],
    ir.AttributeType.STRINGS: lambda value: [_text(each) for each in _listed(value)],
}

_KINDS = {
    ir.AttributeType.INT: "a whole number",
    ir.AttributeType.FLOAT: "a number",
    ir.AttributeType.STRING: "text",
    ir.AttributeType.INTS: "a list of whole numbers",
    ir.AttributeType.FLOATS: "a list of numbers",
    ir.AttributeType.STRINGS: "a list of texts",
    ir.AttributeType.GRAPH: "a graph; see net.cond and net.loop",
}
