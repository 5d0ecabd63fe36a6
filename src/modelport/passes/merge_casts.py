"""Removes the way through a wider element type.

Before:
    wide = Cast <to = float32> (x)                       # x is float16
    y = Cast <to = float16> (wide)
    z = Cast <to = double> (wide)

After:
    y = x
    z = Cast <to = double> (x)

Exact. The first Cast must keep every value: from float16 or bfloat16 to float and on to double, from
integers to wider ones, from an integer to a float with a mantissa that long. The second one goes back,
or widens further.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import onnx_ir as ir

from modelport.passes.matching import is_op, producer
from modelport.passes.shaped import ShapedPass, give_back, may_give_back

_D = ir.DataType

_FLOATS = {_D.FLOAT16: 11, _D.BFLOAT16: 8, _D.FLOAT: 24, _D.DOUBLE: 53}
"""Bits of a mantissa: whole numbers of as many bits are exact."""

_SIGNED = {_D.INT8: 7, _D.INT16: 15, _D.INT32: 31, _D.INT64: 63}
_UNSIGNED = {_D.BOOL: 1, _D.UINT8: 8, _D.UINT16: 16, _D.UINT32: 32, _D.UINT64: 64}
"""Bits of a number without its sign."""

_WIDER_FLOATS = {
    _D.FLOAT16: (_D.FLOAT, _D.DOUBLE),
    _D.BFLOAT16: (_D.FLOAT, _D.DOUBLE),
    _D.FLOAT: (_D.DOUBLE,),
}


class MergeCasts(ShapedPass):
    name: ClassVar[str] = "merge_casts"
    summary: ClassVar[str] = "casts to a wider type and back are removed"

    def pattern(self, node: ir.Node) -> Sequence[ir.Node] | None:
        if not is_op(node, "Cast"):
            return None
        first = producer(node.inputs[0], "Cast")
        return None if first is None or first.inputs[0] is None else [first, node]

    def check(self, match: Sequence[ir.Node]) -> str | None:
        first, second = match
        source = first.inputs[0]
        assert source is not None
        before, between, after = source.dtype, _to(first), _to(second)
        if before is None:
            return "the element type of its input is not known"
        if not keeps_values(before, between):
            return f"{before} does not fit into {between}"
        if before == after:
            return may_give_back(second, source)
        if not keeps_values(between, after):
            return f"{between} does not fit into {after}"
        return None

    def rewrite(self, match: Sequence[ir.Node]) -> None:
        first, second = match
        source = first.inputs[0]
        assert source is not None
        if source.dtype == _to(second):
            give_back(second, source)
        else:
            second.replace_input_with(0, source)


def keeps_values(before: ir.DataType, after: ir.DataType) -> bool:
    """Whether each value of one element type is a value of the other."""
    if before == after or after in _WIDER_FLOATS.get(before, ()):
        return True
    bits = _SIGNED.get(before) or _UNSIGNED.get(before)
    if bits is None:
        return False
    if after in _FLOATS:
        return bits <= _FLOATS[after]
    if after in _SIGNED:
        return bits <= _SIGNED[after]
    return before in _UNSIGNED and bits <= _UNSIGNED.get(after, 0) and after != _D.BOOL


def _to(cast: ir.Node) -> ir.DataType:
    return ir.DataType(cast.attributes.get_int("to", 0))
