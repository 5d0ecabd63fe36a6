"""Shapes of the outputs of operators, sizes as entries: what onnx's inference says of numbers alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from modelport.graph.shape_rules import computing, making, moving
from modelport.graph.shape_rules.computing import ELEMENTWISE
from modelport.graph.shape_rules.rows import Row, Rule

if TYPE_CHECKING:
    from modelport.graph.shapes import Shapes

__all__ = ["ELEMENTWISE", "RULES", "infer"]

RULES: dict[str, Rule] = {**moving.RULES, **computing.RULES, **making.RULES}


def infer(node: ir.Node, shapes: Shapes) -> list[Row | None]:
    """Shapes of a node's outputs, with None for each size and each shape that is not known."""
    rule = RULES.get(node.op_type) if node.domain in ("", "ai.onnx") else None
    if rule is None:
        return []
    try:
        return rule(node, shapes)
    except (ValueError, IndexError, TypeError, ZeroDivisionError):
        return []  # a node that asks for what is not there; the engine will say so
