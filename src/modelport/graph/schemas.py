"""What onnx itself knows of the standard operators."""

from __future__ import annotations

from typing import Any

from onnx import defs  # noqa: TID251  (the registry of operators, no proto)

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
