"""What onnx itself knows of the standard operators."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import onnx_ir as ir
from onnx import defs, helper  # noqa: TID251  (the registry of operators, no proto)

_HARMLESS = frozenset({"saturate"})
"""Attributes that came later and say something of new element types alone."""


def means_the_same(operator: str, opset: int, other: int) -> bool:
    """Whether an operator means the same in both opsets; false too where either lacks it.

    Most new versions only add element types, which shows in neither inputs nor attributes.
    """
    try:
        one, two = (defs.get_schema(operator, each) for each in (opset, other))
    except defs.SchemaError:
        return False
    return bool(one.since_version == two.since_version) or _form(one) == _form(two)


def _form(schema: Any) -> tuple[object, ...]:
    return (
        [(value.name, value.option) for value in schema.inputs],
        [(value.name, value.option) for value in schema.outputs],
        {
            name: str(attribute.default_value)
            for name, attribute in schema.attributes.items()
            if name not in _HARMLESS
        },
    )


@dataclass(frozen=True)
class Formal:
    """One input or output of an operator.

    Attributes:
        option: `single`, `optional` or `variadic`.
        kind: a type variable such as `T`, or the one type that it has.
        types: what it may be, in ONNX's words: `tensor(float16)`.
        homogeneous: of a variadic one, whether all that it takes have one type.
    """

    name: str
    option: str
    kind: str
    types: frozenset[str]
    homogeneous: bool


@dataclass(frozen=True)
class AttributeRule:
    """An attribute that an operator takes; `default` is None where it has none."""

    name: str
    kind: ir.AttributeType
    required: bool
    default: Any


@dataclass(frozen=True)
class Operator:
    """A standard operator, as one version of it is specified.

    Attributes:
        inputs_range, outputs_range: least and most of them.
        text: what the specification says of it.
    """

    name: str
    since: int
    inputs: tuple[Formal, ...]
    outputs: tuple[Formal, ...]
    attributes: Mapping[str, AttributeRule]
    inputs_range: tuple[int, int]
    outputs_range: tuple[int, int]
    deprecated: bool
    text: str

    def input(self, index: int) -> Formal:
        """What stands at that place; the last one may stand for many."""
        return self.inputs[min(index, len(self.inputs) - 1)]


@cache
def operator(name: str, opset: int) -> Operator | None:
    """The operator as that opset has it; None where it has none of that name."""
    try:
        schema = defs.get_schema(name, opset, "")
    except defs.SchemaError:
        return None
    return Operator(
        name,
        schema.since_version,
        tuple(_formal(each) for each in schema.inputs),
        tuple(_formal(each) for each in schema.outputs),
        {key: _rule(each) for key, each in schema.attributes.items()},
        (schema.min_input, schema.max_input),
        (schema.min_output, schema.max_output),
        schema.deprecated,
        (schema.doc or "").strip(),
    )


@cache
def operators(opset: int) -> tuple[str, ...]:
    """Names of all operators that one may use in that opset."""
    names = {each.name for each in defs.get_all_schemas() if each.domain == ""}
    found = {name: operator(name, opset) for name in names}
    return tuple(sorted(name for name, each in found.items() if each and not each.deprecated))


@cache
def opsets_of(name: str) -> tuple[int, ...]:
    """The opsets that brought a version of that operator."""
    every = defs.get_all_schemas_with_history()
    return tuple(sorted(s.since_version for s in every if s.name == name and s.domain == ""))


def newest_opset() -> int:
    """The newest opset that onnx here knows."""
    return int(defs.onnx_opset_version())


def ir_version_of(opset: int) -> int:
    """The version of the file format that knows this opset; 10 at least, which all readers take."""
    return max(10, int(helper.find_min_ir_version_for([helper.make_opsetid("", opset)])))


def _formal(parameter: Any) -> Formal:
    return Formal(
        parameter.name,
        parameter.option.name.lower(),
        parameter.type_str,
        frozenset(parameter.types),
        parameter.is_homogeneous,
    )


def _rule(attribute: Any) -> AttributeRule:
    default = attribute.default_value
    has_default = default.type != 0  # 0 is UNDEFINED
    return AttributeRule(
        attribute.name,
        ir.AttributeType(attribute.type.value),
        attribute.required,
        ir.from_proto(default).value if has_default else None,
    )
