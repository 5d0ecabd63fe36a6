"""What onnx itself knows of the standard operators."""

from __future__ import annotations

from onnx import defs  # noqa: TID251  (the registry of operators, no proto)


def means_the_same(operator: str, opset: int, other: int) -> bool:
    """Whether an operator has one definition in both opsets; false too where either lacks it."""
    try:
        versions = {defs.get_schema(operator, each).since_version for each in (opset, other)}
    except defs.SchemaError:
        return False
    return len(versions) == 1
