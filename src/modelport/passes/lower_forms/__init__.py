"""How nodes are written in an older opset: one `Lowered` for each operator whose form has changed.

Operators that are not listed have at most gained types and options since; whether a node uses those is
asked of onnx's own registry of operators.
"""

from modelport.passes.lower_forms.changed import CHANGED
from modelport.passes.lower_forms.composed import COMPOSED
from modelport.passes.lower_forms.lowering import Lowered, Lowering

__all__ = ["LOWERED", "Lowering"]

LOWERED: dict[str, Lowered] = {**CHANGED, **COMPOSED}
"""Operators that are new, or whose node of a new opset takes something from elsewhere."""
