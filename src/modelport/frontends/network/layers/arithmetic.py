"""Arithmetic, comparison, reduction and choice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from modelport.frontends.network.core import Core, layer
from modelport.frontends.network.mistakes import Refused
from modelport.frontends.network.tensor import Tensor, written

Axes: TypeAlias = int | Sequence[int] | None
"""One axis, several, or all of them."""

_SIGNS = {
    "+": "Add", "-": "Sub", "*": "Mul", "/": "Div", "**": "Pow", "@": "MatMul",
    "<": "Less", "<=": "LessOrEqual", ">": "Greater", ">=": "GreaterOrEqual",
    "==": "Equal", "!=": "Equal", "&": "And", "|": "Or",
}  # fmt: skip


class Arithmetic(Core):
    def arithmetic(self, sign: str, left: Any, right: Any) -> Tensor:
        """`left sign right`; numbers take the element type of the tensor."""
        with self.calling(f"x {sign} y"):
            if sign == "@":
                return self._product(left, right)
            for side in (left, right):
                if sign == "/" and isinstance(side, Tensor) and "int" in side.dtype:
                    raise Refused(
                        f"{side.name} is {side.dtype}, and / of whole numbers cuts off in ONNX",
                        hint="Say net.op.Div, or cast first: x.cast('float32')",
                    )
            _demand_broadcast(left, right)
            like = next((t.value.dtype for t in (left, right) if isinstance(t, Tensor)), None)
            result = self.one(_SIGNS[sign], self.value(left, like), self.value(right, like))
            return self.one("Not", result) if sign == "!=" else result

    @layer
    def matmul(self, left: Any, right: Any) -> Tensor:
        """The product of matrices along the last two axes."""
        return self._product(left, right)

    def _product(self, left: Any, right: Any) -> Tensor:
        like = next((t.value.dtype for t in (left, right) if isinstance(t, Tensor)), None)
        first, second = (self.value(side, like, role="weight", cast=True) for side in (left, right))
        return self.one("MatMul", first, second)

    @layer
    def neg(self, x: Any) -> Tensor:
        return self.one("Neg", x)

    @layer
    def abs(self, x: Any) -> Tensor:
        return self.one("Abs", x)

    @layer
    def logical_not(self, x: Any) -> Tensor:
        return self.one("Not", x)

    @layer
    def minimum(self, left: Any, right: Any) -> Tensor:
        """The smaller of two, element by element."""
        return self.one("Min", left, right)

    @layer
    def maximum(self, left: Any, right: Any) -> Tensor:
        """The larger of two, element by element."""
        return self.one("Max", left, right)

    @layer
    def where(self, condition: Any, yes: Any, no: Any) -> Tensor:
        """Elements of `yes` where the condition holds, of `no` elsewhere."""
        if not any(isinstance(side, Tensor) for side in (yes, no)):
            yes = self.taken(np.asarray(yes, np.float32) if isinstance(yes, float) else yes)
        return self.one("Where", condition, yes, no)

    @layer
    def mean(self, x: Any, axis: Axes = None, keepdims: bool = False) -> Tensor:
        """Along those axes; over everything by default."""
        return self._reduced("ReduceMean", x, axis, keepdims)

    @layer
    def sum(self, x: Any, axis: Axes = None, keepdims: bool = False) -> Tensor:
        """See `mean`."""
        return self._reduced("ReduceSum", x, axis, keepdims)

    @layer
    def max(self, x: Any, axis: Axes = None, keepdims: bool = False) -> Tensor:
        """See `mean`."""
        return self._reduced("ReduceMax", x, axis, keepdims)

    @layer
    def min(self, x: Any, axis: Axes = None, keepdims: bool = False) -> Tensor:
        """See `mean`."""
        return self._reduced("ReduceMin", x, axis, keepdims)

    @layer
    def argmax(self, x: Any, axis: int = -1, keepdims: bool = False) -> Tensor:
        """The place of the largest."""
        return self.one("ArgMax", x, axis=axis, keepdims=int(keepdims))

    @layer
    def topk(
        self, x: Any, k: int, axis: int = -1, *, largest: bool = True
    ) -> tuple[Tensor, Tensor]:
        """The k largest, in order, and their places."""
        x = self.taken(x)
        size = x.shape[axis]
        if isinstance(size, int) and k > size:
            raise Refused(f"axis {axis} of {written(x.shape)} has no {k} elements")
        values, places = self.node(
            "TopK", [x, [k]], {"axis": axis, "largest": int(largest)}, outputs=2
        )
        return values, places

    @layer
    def gather(self, x: Any, indices: Any, axis: int = 0) -> Tensor:
        """The parts at those places along the axis, as numpy.take."""
        wanted = indices if isinstance(indices, Tensor) else np.asarray(indices)
        return self.one("Gather", x, wanted, axis=axis)

    @layer
    def embedding(self, indices: Any, weight: Any) -> Tensor:
        """The row of a table for each index.

        Args:
            weight: one row for each word; or a group with `weight`.
        """
        indices = self.taken(indices)
        if "int" not in indices.dtype:
            raise Refused(f"the indices are {indices.dtype}", expected="int32 or int64")
        table = weight["weight"] if hasattr(weight, "keys") else weight
        return self.one("Gather", self.value(table, role="weight"), indices, axis=0)

    def _reduced(self, operator: str, x: Any, axis: Axes, keepdims: bool) -> Tensor:
        x = self.taken(x)
        axes = [axis] if isinstance(axis, int) else axis
        if axes is not None and any(not -x.rank <= each < x.rank for each in axes):
            raise Refused(f"the input of shape {written(x.shape)} has no axis {axis}")
        inputs: list[Any] = [x] if axes is None else [x, list(axes)]
        return self.node(operator, inputs, {"keepdims": int(keepdims)})[0]


def _demand_broadcast(left: Any, right: Any) -> None:
    shapes = [side.shape if hasattr(side, "shape") else () for side in (left, right)]
    for one, other in zip(shapes[0][::-1], shapes[1][::-1], strict=False):
        if (
            isinstance(one, int)
            and isinstance(other, int)
            and one != other
            and 1 not in (one, other)
        ):
            raise Refused(f"the shapes {written(shapes[0])} and {written(shapes[1])} do not fit")
