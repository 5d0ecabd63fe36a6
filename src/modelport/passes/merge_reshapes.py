"""Leaves out the first of two nodes in a row that only lay out a tensor anew.

Before:
    a = Unsqueeze (x, axes)
    y = Reshape (a, target)
    b = Squeeze (a, axes)

After:
    y = Reshape (x, target)
    b = x

Exact. Reshape, Flatten, Squeeze and Unsqueeze keep the order of the elements, so only the last shape
counts; so does a Transpose that moves axes of size 1 alone. A Reshape takes the first node's input where
its target means the same from there: an entry of 0 copies a size of the input. Another node becomes a
Reshape where that is as certain, and nothing else reads what lies between. A second node that restores
the shape goes away altogether.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from modelport.graph import provenance, sizes
from modelport.passes.fold_shapes import constant_target
from modelport.passes.matching import is_op, is_private, producer
from modelport.passes.shaped import ShapedPass, give_back, may_give_back

LAYING_OUT = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")


class MergeReshapes(ShapedPass):
    name: ClassVar[str] = "merge_reshapes"
    summary: ClassVar[str] = (
        "of Reshape, Flatten, Squeeze and Unsqueeze in a row, the last one stays"
    )

    def pattern(self, node: ir.Node) -> Sequence[ir.Node] | None:
        if not node.inputs or not self._lays_out(node):
            return None
        first = producer(node.inputs[0], *LAYING_OUT, "Transpose")
        if first is None or first.inputs[0] is None or not self._lays_out(first):
            return None
        both = node.op_type == first.op_type == "Transpose"
        return None if both else [first, node]  # merge_transposes has those

    def check(self, match: Sequence[ir.Node]) -> str | None:
        first, second = match
        if self._restores(first, second):
            return may_give_back(second, first.inputs[0])
        if second.op_type == "Reshape" and self.opset >= 5:
            return self._problem_of_target(first, second)
        if not is_private(first.outputs[0]):
            return f"something else reads the result of {first.op_type} too"
        target = self._target(first, second)
        return target if isinstance(target, str) else None

    def rewrite(self, match: Sequence[ir.Node]) -> None:
        first, second = match
        source = first.inputs[0]
        assert source is not None
        if self._restores(first, second):
            give_back(second, source)
        elif second.op_type == "Reshape":
            second.replace_input_with(0, source)
            provenance.inherit(second, [first])
        else:
            target = np.asarray(self._target(first, second), np.int64)
            shape = self.constant(target, f"{second.outputs[0].name}_shape")
            self.replace(match, [self.node("Reshape", [source, shape], for_=[second, first])])

    def _lays_out(self, node: ir.Node) -> bool:
        return is_op(node, *LAYING_OUT) or (is_op(node, "Transpose") and self._keeps_order(node))

    def _keeps_order(self, node: ir.Node) -> bool:
        """Whether a Transpose moves axes of size 1 alone."""
        shape, perm = self.shapes.of(node.inputs[0]), node.attributes.get_ints("perm", ())
        if shape is None or len(perm) != len(shape):
            return False
        kept = [axis for axis in perm if shape[axis] != 1]
        return kept == sorted(kept)

    def _restores(self, first: ir.Node, second: ir.Node) -> bool:
        return self.shapes.same(first.inputs[0], second.outputs[0])

    def _problem_of_target(self, first: ir.Node, second: ir.Node) -> str | None:
        entries = self.shapes.contents(second.inputs[1])
        if entries is None:
            return "the target of the last Reshape is not known"
        if second.attributes.get_int("allowzero", 0):
            return None
        before, between = self.shapes.of(first.inputs[0]), self.shapes.of(first.outputs[0])
        for axis, entry in enumerate(entries):
            if (sizes.least(entry) or 0) >= 1 or entry == -1:
                continue
            own = before[axis] if before is not None and axis < len(before) else None
            if own is None or between is None or axis >= len(between) or own != between[axis]:
                return "the last Reshape may copy a size of what it gets"
        return None

    def _target(self, first: ir.Node, second: ir.Node) -> list[int] | str:
        result = self.shapes.of(second.outputs[0])
        if result is None or self.opset < 5:
            return "the shape of the result is not known"
        if 0 in result:
            return "a size of zero is wanted"
        return constant_target(self.shapes.of(first.inputs[0]), result)
