"""Replaces arithmetic with sizes by what it comes to.

Before:                                                  # x is float[N, 197, 192]
    size = Shape (x)
    batch = Gather (size, zero)
    row = Unsqueeze (batch, zero)
    target = Concat <axis = 0> (row, rest)               # rest is int64 {197, 3, 64}
    y = Reshape (x, target)

After:
    y = Reshape (x, target)                              # target is int64 {0, 197, 3, 64}

Exact. Whole numbers that are the same on every feed become constants, such as a Gather of a static size
from a shape that is free elsewhere. The target of a Reshape becomes a constant where all its entries are
numbers, sizes of the input in their own places (0, which copies them), and at most one more: -1.
-1 is an error beside a size of zero where the computed number was none, so the other sizes must be known
to be at least 1. A Resize to whole multiples of its input's sizes gets these as scales.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from modelport.graph import sizes
from modelport.graph.query import constant_of
from modelport.graph.shapes import MOST_ELEMENTS, Sizes
from modelport.graph.sizes import Entry
from modelport.passes.matching import input_of, is_op
from modelport.passes.shaped import ShapedPass

_PLACES = {"Reshape": 1, "Resize": 3}
"""Which input has the sizes."""

_WHOLE = (ir.DataType.INT64, ir.DataType.INT32, ir.DataType.BOOL)
_LEFT = ("Constant", "Identity")
"""Other passes turn these into weights, or remove them."""


class FoldShapes(ShapedPass):
    name: ClassVar[str] = "fold_shapes"
    summary: ClassVar[str] = "arithmetic with sizes becomes constants where it comes to the same"

    def pattern(self, node: ir.Node) -> Sequence[ir.Node] | None:
        if self._is_known(node):
            return [node]
        place = _PLACES.get(node.op_type) if is_op(node, *_PLACES) else None
        target = None if place is None else input_of(node, place)
        return None if target is None or constant_of(target) is not None else [node]

    def check(self, match: Sequence[ir.Node]) -> str | None:
        (node,) = match
        if self._is_known(node):
            return None
        found = self._scales(node) if node.op_type == "Resize" else self._target(node)
        return found if isinstance(found, str) else None

    def rewrite(self, match: Sequence[ir.Node]) -> None:
        (node,) = match
        if self._is_known(node):
            self._replace(node)
        elif node.op_type == "Resize":
            scales = self._scales(node)
            value = self.constant(np.asarray(scales, np.float32), f"{node.outputs[0].name}_scales")
            node.replace_input_with(3, None)
            node.replace_input_with(2, value)
            node.resize_inputs(3)
        else:
            target = self._target(node)
            value = self.constant(np.asarray(target, np.int64), f"{node.outputs[0].name}_shape")
            node.replace_input_with(1, value)
            node.attributes.pop("allowzero", None)

    def _is_known(self, node: ir.Node) -> bool:
        """Whether all that the node gives is whole numbers, the same on every feed."""
        if node.op_type in _LEFT or not is_op(node, node.op_type):
            return False
        return bool(node.outputs) and all(
            value.dtype in _WHOLE
            and not value.is_graph_output()
            and self.shapes.numbers(value) is not None
            for value in node.outputs
        )

    def _replace(self, node: ir.Node) -> None:
        for value in node.outputs:
            contents = self.shapes.contents(value)
            assert contents is not None
            assert value.dtype is not None
            array = np.asarray(contents, value.dtype.numpy())
            value.replace_all_uses_with(self.constant(array, f"{value.name}_known"))
        assert node.graph is not None
        node.graph.remove(node, safe=True)

    def _target(self, node: ir.Node) -> list[int] | str:
        entries = self.shapes.contents(node.inputs[1])
        if entries is None:
            length = self.shapes.of(node.inputs[1])
            if not length or not isinstance(length[0], int) or length[0] > MOST_ELEMENTS:
                return "the rank of the result is not known"
            entries = np.full(length[0], None, object)
        copies = not node.attributes.get_int("allowzero", 0)
        return constant_target(self.shapes.of(node.inputs[0]), list(entries), copies=copies)

    def _scales(self, node: ir.Node) -> list[int] | str:
        """Whole factors from the input's sizes to the wanted ones."""
        source, wanted = self.shapes.of(node.inputs[0]), self.shapes.contents(node.inputs[3])
        if source is None or wanted is None or len(source) != len(wanted):
            return "the sizes are not known"
        mode = node.attributes.get_string("coordinate_transformation_mode", "")
        policy = node.attributes.get_string("keep_aspect_ratio_policy", "stretch")
        if mode == "tf_crop_and_resize" or policy != "stretch":
            return "its mode makes of sizes something else than of scales"
        factors = [sizes.divide(size, own) for size, own in zip(wanted, source, strict=True)]
        for factor, size, own in zip(factors, wanted, source, strict=True):
            if not isinstance(factor, int) or factor < 1 or sizes.multiply(own, factor) != size:
                return "the sizes are no whole multiples of the input's"
        return [factor for factor in factors if isinstance(factor, int)]


def constant_target(
    source: Sizes | None, entries: Sequence[Entry], *, copies: bool = True
) -> list[int] | str:
    """The entries of a Reshape's target as numbers, 0 and -1 that mean the same; or why there are none.

    Args:
        copies: whether an entry of 0 means the input's size, and not a size of zero.
    """
    target: list[int | None] = []
    others: Entry = 1
    for place, entry in enumerate(entries):
        own = source[place] if source is not None and place < len(source) else None
        if isinstance(entry, int):
            if entry == 0 and not copies:
                return "a size of zero is wanted"
            target.append(entry)
            others = sizes.multiply(others, own if entry == 0 else abs(entry))
        elif entry is not None and entry == own:
            target.append(0)
            others = sizes.multiply(others, own)
        else:
            target.append(None)
    if target.count(None) + target.count(-1) > 1:
        return "more than one size is not known"
    if None in target and (sizes.least(others) or 0) < 1:
        return "one of the other sizes may be zero, and -1 is an error then"
    return [-1 if entry is None else entry for entry in target]
