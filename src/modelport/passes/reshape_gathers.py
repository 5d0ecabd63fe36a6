"""Writes a GatherND that takes everything in its order as the Reshape that it is.

Before:
    y = GatherND (mask, places)                         # places [[0, 0], [0, 1], ... [0, n]]

After:
    y = Reshape (mask, shape)

Exact. Masks of transformers are exported so, as their rows and columns are computed from numbers; engines
without GatherND take them then. The conditions: the indices are constants, the sizes of the axes that they
count through are known, `batch_dims` is 0, and the places come one by one from the first to the last.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from modelport.passes.base import RewritePass
from modelport.passes.matching import constant_input, is_op
from modelport.types import Array


class ReshapeGathers(RewritePass):
    name: ClassVar[str] = "reshape_gathers"
    summary: ClassVar[str] = "GatherND that takes everything in its order becomes Reshape"

    def pattern(self, node: ir.Node) -> Sequence[ir.Node] | None:
        found = is_op(node, "GatherND") and constant_input(node, 1) is not None
        return [node] if found else None

    def check(self, match: Sequence[ir.Node]) -> str | None:
        (node,) = match
        places = constant_input(node, 1)
        assert places is not None
        if node.attributes.get_int("batch_dims", 0):
            return "it gathers from each of several"
        sizes = _sizes(node)
        if sizes is None:
            return "the sizes of what it gathers from are not known"
        counted = sizes[: places.shape[-1]]
        return (
            None if _is_everything(places, counted) else "it does not take everything in its order"
        )

    def rewrite(self, match: Sequence[ir.Node]) -> None:
        (node,) = match
        places, sizes = constant_input(node, 1), _sizes(node)
        assert places is not None
        assert sizes is not None
        shape = np.asarray([*places.shape[:-1], *sizes[places.shape[-1] :]], np.int64)
        target = self.constant(shape, f"{node.outputs[0].name}_shape")
        self.replace(match, [self.node("Reshape", [node.inputs[0], target], for_=match)])


def _sizes(node: ir.Node) -> list[int] | None:
    value = node.inputs[0]
    shape = None if value is None else value.shape
    if shape is None or not all(isinstance(size, int) and size > 0 for size in shape):
        return None
    return [int(size) for size in shape]  # type: ignore[arg-type]


def _is_everything(places: Array, sizes: Sequence[int]) -> bool:
    """Whether the places, one by one, are all of an array of those sizes."""
    rows = places.reshape(-1, places.shape[-1])
    if len(rows) != int(np.prod(sizes)) or len(sizes) != places.shape[-1]:
        return False
    rows = np.where(rows < 0, rows + np.asarray(sizes), rows)
    return bool(np.array_equal(rows, np.indices(sizes).reshape(len(sizes), -1).T))
