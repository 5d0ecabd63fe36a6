"""What rules about shapes are written in: rows of sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import onnx_ir as ir

from modelport.graph import sizes
from modelport.graph.sizes import Entry

if TYPE_CHECKING:
    from modelport.graph.shapes import Shapes

Row: TypeAlias = tuple[Entry, ...]
Rule: TypeAlias = "Callable[[ir.Node, Shapes], list[Row | None]]"

MOST_AXES = 64
"""Of a shape whose length alone is known."""


def broadcast(rows: Sequence[Row]) -> Row:
    """The shape that arrays of those shapes have together."""
    rank = max(map(len, rows))
    padded = [(1,) * (rank - len(row)) + tuple(row) for row in rows]
    return tuple(_together(column) for column in zip(*padded, strict=True))


def _together(entries: Sequence[Entry]) -> Entry:
    """A size that is no number is 1 or the other's size, so a number other than 1 decides."""
    wide = [entry for entry in entries if entry != 1]
    if not wide:
        return 1
    for entry in wide:
        if isinstance(entry, int):
            return entry
    return wide[0] if all(entry == wide[0] for entry in wide) else None


def inputs_of(node: ir.Node, shapes: Shapes) -> list[Row] | None:
    rows = [shapes.of(value) for value in node.inputs if value is not None]
    return None if any(row is None for row in rows) else [row for row in rows if row is not None]


def as_size(entry: Entry, also: int = 0) -> Entry:
    """The entry where it is a size for certain: a symbol that may be negative could stand for -1."""
    bound = sizes.least(entry)
    if bound is None or (bound < 0 and not isinstance(entry, int)):
        return None
    return entry if bound >= min(0, also) else None


def sizes_held(value: ir.Value | None, shapes: Shapes) -> Row | None:
    """The sizes that a tensor of sizes holds."""
    target = shapes.contents(value)
    if target is not None:
        return tuple(as_size(entry) for entry in target)
    length = shapes.of(value)
    if length and isinstance(length[0], int) and length[0] <= MOST_AXES:
        return (None,) * length[0]
    return None
