"""Makes one Transpose of two in a row, or none where the second undoes the first.

Before:
    a = Transpose <perm = [0, 2, 3, 1]> (x)
    y = Transpose <perm = [0, 3, 1, 2]> (a)
    z = Transpose <perm = [1, 2, 3, 0]> (a)

After:
    y = x
    z = Transpose <perm = [2, 3, 1, 0]> (x)

Exact. The first one stays for whoever else reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import onnx_ir as ir

from modelport.graph import provenance
from modelport.passes.matching import is_op, producer, rank_of
from modelport.passes.shaped import ShapedPass, give_back, may_give_back


class MergeTransposes(ShapedPass):
    name: ClassVar[str] = "merge_transposes"
    summary: ClassVar[str] = "Transposes in a row become one, or none"

    def pattern(self, node: ir.Node) -> Sequence[ir.Node] | None:
        if not is_op(node, "Transpose"):
            return None
        first = producer(node.inputs[0], "Transpose")
        return None if first is None or first.inputs[0] is None else [first, node]

    def check(self, match: Sequence[ir.Node]) -> str | None:
        first, second = match
        perm = _together(first, second)
        if perm is None:
            return "the rank is not known"
        return may_give_back(second, first.inputs[0]) if perm == sorted(perm) else None

    def rewrite(self, match: Sequence[ir.Node]) -> None:
        first, second = match
        source, perm = first.inputs[0], _together(first, second)
        assert source is not None
        assert perm is not None
        if perm == sorted(perm):
            give_back(second, source)
            return
        second.replace_input_with(0, source)
        second.attributes["perm"] = ir.AttrInt64s("perm", perm)
        provenance.inherit(second, [first])


def permutation(node: ir.Node) -> list[int] | None:
    """Which axis of its input each axis of the result is; None where the rank is not known."""
    given = node.attributes.get_ints("perm", ())
    if given:
        return list(given)
    rank = rank_of(node.inputs[0]) or rank_of(node.outputs[0])
    return None if rank is None else list(range(rank))[::-1]


def _together(first: ir.Node, second: ir.Node) -> list[int] | None:
    one, two = permutation(first), permutation(second)
    if one is None or two is None or len(one) != len(two):
        return None
    return [one[axis] for axis in two]
