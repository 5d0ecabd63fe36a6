"""Operators that move elements, or choose among them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import onnx_ir as ir

from modelport.graph import sizes
from modelport.graph.arguments import ABSENT, END, integers, slices
from modelport.graph.shape_rules.rows import (
    MOST_AXES,
    Row,
    Rule,
    as_size,
    broadcast,
    inputs_of,
    sizes_held,
)
from modelport.graph.sizes import Entry, Known, add, divide, multiply, subtract

if TYPE_CHECKING:
    from modelport.graph.shapes import Shapes


def _transpose(node: ir.Node, shapes: Shapes) -> list[Row | None]:
    row = shapes.of(node.inputs[0])
    if row is None:
        return []
    perm = node.attributes.get_ints("perm", None) or range(len(row) - 1, -1, -1)
    return [tuple(row[axis] for axis in perm)]


def _reshape(node: ir.Node, shapes: Shapes) -> list[Row | None]:
    if len(node.inputs) < 2:  # opset 1
        return []
    source, target = shapes.of(node.inputs[0]), shapes.contents(node.inputs[1])
    if target is None:
        length = shapes.of(node.inputs[1])
        known = length[0] if length else None
        return [(None,) * known] if isinstance(known, int) and known <= MOST_AXES else []
    zero_is_zero = bool(node.attributes.get_int("allowzero", 0))
    entries = [
        (None if source is None else source[axis])
        if isinstance(entry, int) and entry == 0 and not zero_is_zero
        else as_size(entry, also=-1)
        for axis, entry in enumerate(target)
    ]
    return [resolved(source, entries)]


def resolved(source: Sequence[Known] | None, entries: Sequence[Entry]) -> Row:
    """The target of a Reshape with its -1 or its only unknown entry worked out, where that is certain.

    Beside a size of zero, -1 is an error, but an unknown entry can be any number.
    """
    holes = [place for place, entry in enumerate(entries) if entry is None or entry == -1]
    others = sizes.product(entry for entry in entries if entry is not None and entry != -1)
    asked = -1 in entries
    found: list[Entry] = [None if entry == -1 else entry for entry in entries]
    if len(holes) == 1 and source is not None and (asked or (sizes.least(others) or 0) >= 1):
        found[holes[0]] = divide(sizes.product(source), others)
    return tuple(found)


def _expand(node: ir.Node, shapes: Shapes) -> list[Row | None]:
    source, target = shapes.of(node.inputs[0]), sizes_held(node.inputs[1], shapes)
    return [] if source is None or target is None else [broadcast([source, target])]


def _tile(node: ir.Node, shapes: Shapes) -> list[Row | None]:
    source, repeats = shapes.of(node.inputs[0]), sizes_held(node.inputs[1], shapes)
    if source is None or repeats is None:
        return []
    return [tuple(multiply(*pair) for pair in zip(source, repeats, strict=True))]


def _concat(node: ir.Node, shapes: Shapes) -> list[Row | None]:
    rows = inputs_of(node, shapes)
    if not rows:
        return []
    axis = node.attributes.get_int("axis", 0) or 0
    axis %= len(rows[0])
    result: list[Entry] = [_any_of(column) for column in zip(*rows, strict=True)]
    total: Entry = 0
    for row in rows:
        total = add(total, row[axis])
    result[axis] = total
    return [tuple(result)]


def _any_of(entries: Sequence[Entry]) -> Entry:
    """One of sizes that must be equal: a number where there is one."""
    return next((entry for entry in entries if isinstance(entry, int)), entries[0])


def _slice(node: ir.Node, shapes: Shapes) -> list[Row | None]:
    source = shapes.of(node.inputs[0])
    if source is None:
        return []
    cuts = slices(node, shapes, len(source))
    if cuts is None:
        return [(None,) * len(source)]
    return [tuple(_cut(size, *cut) for size, cut in zip(source, cuts, strict=True))]


def _cut(size: Entry, start: Entry, end: Entry, step: int) -> Entry:
    if isinstance(size, int) and isinstance(start, int) and isinstance(end, int):
        return len(range(size)[slice(start, None if step < 0 and end < -size else end, step)])
    if step < 0:
        whole = isinstance(end, int) and end <= -END and start == -1 and step == -1
        return size if whole else None
    length = sizes.maximum(_span(size, start, end), 0)
    return divide(add(length, step - 1), step)


def _span(size: Entry, start: Entry, end: Entry) -> Entry:
    """From start to end, below zero where nothing lies between."""
    if isinstance(start, int) and start < 0:
        if isinstance(end, int) and end >= END:
            return sizes.minimum(size, -start)
        return subtract(_clamped(end, size), _clamped(start, size))
    last = add(size, end) if isinstance(end, int) and end < 0 else _clamped(end, size)
    return subtract(last, as_size(start))


def _clamped(place: Entry, size: Entry) -> Entry:
    if isinstance(place, int):
        if place >= END:
            return size
        return sizes.minimum(place, size) if place >= 0 else sizes.maximum(add(size, place), 0)
    return sizes.minimum(as_size(place), size)


def _split(node: ir.Node, shapes: Shapes) -> list[Row | None]:
    source, listed = shapes.of(node.inputs[0]), integers(node, "split", 1, shapes)
    if source is None or listed is None:
        return []
    axis = (node.attributes.get_int("axis", 0) or 0) % len(source)
    count = len(node.outputs)
    parts: list[Entry]
    if isinstance(listed, list):
        parts = list(listed)
    else:
        part = divide(add(source[axis], count - 1), count)
        parts = [part] * (count - 1)
        parts.append(subtract(source[axis], multiply(part, count - 1)))
        if "num_outputs" not in node.attributes:  # all parts are equal, or it is an error
            parts = [divide(source[axis], count)] * count
    return [(*source[:axis], part, *source[axis + 1 :]) for part in parts]


def _gather(node: ir.Node, shapes: Shapes) -> list[Row | None]:
    data, index = shapes.of(node.inputs[0]), shapes.of(node.inputs[1])
    if data is None or index is None:
        return []
    axis = (node.attributes.get_int("axis", 0) or 0) % len(data)
    return [(*data[:axis], *index, *data[axis + 1 :])]


def _flatten(node: ir.Node, shapes: Shapes) -> list[Row | None]:
    row = shapes.of(node.inputs[0])
    if row is None:
        return [(None, None)]
    axis = node.attributes.get_int("axis", 1)
    axis = axis + len(row) if axis < 0 else axis
    return [(sizes.product(row[:axis]), sizes.product(row[axis:]))]


def _squeeze(node: ir.Node, shapes: Shapes) -> list[Row | None]:
    row, axes = shapes.of(node.inputs[0]), integers(node, "axes", 1, shapes)
    if row is None or axes is None:
        return []
    if axes is ABSENT or not axes:  # of an empty list, engines do not agree whether it means all
        if axes == [] or not all(isinstance(size, int) for size in row):
            return []
        return [tuple(size for size in row if size != 1)]
    gone = {axis % len(row) for axis in axes}
    return [tuple(size for axis, size in enumerate(row) if axis not in gone)]


def _unsqueeze(node: ir.Node, shapes: Shapes) -> list[Row | None]:
    row, axes = shapes.of(node.inputs[0]), integers(node, "axes", 1, shapes)
    if row is None or not isinstance(axes, list):
        return []
    result: list[Entry] = list(row)
    for axis in sorted(axis % (len(row) + len(axes)) for axis in axes):
        result.insert(axis, 1)
    return [tuple(result)]


def _pad(node: ir.Node, shapes: Shapes) -> list[Row | None]:
    row, pads = shapes.of(node.inputs[0]), _amounts(node, shapes)
    axes = integers(node, "axes", 3, shapes)
    if row is None or pads is None or axes is None:
        return [] if row is None else [(None,) * len(row)]
    places = [axis % len(row) for axis in axes] if isinstance(axes, list) else range(len(row))
    result: list[Entry] = list(row)
    for number, axis in enumerate(places):
        result[axis] = add(result[axis], add(pads[number], pads[number + len(places)]))
    return [tuple(result)]


def _amounts(node: ir.Node, shapes: Shapes) -> Sequence[Entry] | None:
    if "pads" in node.attributes:
        return list(node.attributes["pads"].as_ints())
    pads = shapes.contents(node.inputs[1]) if len(node.inputs) > 1 else None
    return None if pads is None else list(pads)


def _blocks(node: ir.Node, shapes: Shapes) -> list[Row | None]:
    row, block = shapes.of(node.inputs[0]), node.attributes.get_int("blocksize", 0)
    if row is None or not block or len(row) != 4:
        return []
    batch, channels, height, width = row
    if node.op_type == "DepthToSpace":
        area = divide(channels, block * block)
        return [(batch, area, multiply(height, block), multiply(width, block))]
    area = multiply(channels, block * block)
    return [(batch, area, divide(height, block), divide(width, block))]


def _top_k(node: ir.Node, shapes: Shapes) -> list[Row | None]:
    row = shapes.of(node.inputs[0])
    if row is None:
        return []
    given = shapes.contents(node.inputs[1]) if len(node.inputs) > 1 else None
    kept: Entry = node.attributes.get_int("k", None) if given is None else given.reshape(-1)[0]
    axis = node.attributes.get_int("axis", -1) % len(row)
    return [(*row[:axis], as_size(kept), *row[axis + 1 :])] * 2


RULES: dict[str, Rule] = {
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Expand": _expand,
    "Tile": _tile,
    "Concat": _concat,
    "Slice": _slice,
    "Split": _split,
    "Gather": _gather,
    "Flatten": _flatten,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Pad": _pad,
    "TopK": _top_k,
    **dict.fromkeys(("DepthToSpace", "SpaceToDepth"), _blocks),
}
