"""Which element of an earlier value each channel of a value holds, through nodes that only move."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from modelport.passes.matching import (
    constant_input,
    input_of,
    is_op,
    producer,
    rank_of,
    size_of,
)

_UNBOUNDED = (1 << 31) - 1
_MOST_STEPS = 12

Source = tuple[int, tuple[int, ...]]


@dataclass(frozen=True)
class Layout:
    """Channel `i` at position `p` holds the base's channel `c` at `p * steps + phase`.

    Attributes:
        sources: `(c, phase)` of each channel; a phase has one number to a spatial axis.
        nodes: what moves, in their order.
    """

    base: ir.Value
    steps: tuple[int, ...]
    sources: tuple[Source, ...]
    nodes: tuple[ir.Node, ...] = ()

    @property
    def channels(self) -> int:
        """Of the base, if every one is used."""
        return len({channel for channel, _ in self.sources})

    def is_rearranged(self) -> bool:
        """Whether it holds every element of the base once, elsewhere than the base does."""
        if not self.nodes or self.channels != size_of(self.base, 1):
            return False
        complete = {
            (channel, tuple(map(int, phase)))
            for channel in range(self.channels)
            for phase in np.ndindex(*self.steps)
        }
        return len(self.sources) == len(complete) and set(self.sources) == complete


def layout_of(value: ir.Value | None, axes: int, most: int = _MOST_STEPS) -> Layout | None:
    """The layout of a value with so many spatial axes, None where its channels are not known."""
    if value is None:
        return None
    node = value.producer()
    found = None if node is None or not most else _moved(node, value, axes, most - 1)
    if found is not None:
        return found
    channels = size_of(value, 1)
    if channels is None or rank_of(value) != axes + 2:
        return None
    at_once = (0,) * axes
    return Layout(value, (1,) * axes, tuple((channel, at_once) for channel in range(channels)))


def _moved(node: ir.Node, value: ir.Value, axes: int, most: int) -> Layout | None:
    if is_op(node, "Concat"):
        return _joined(node, axes, most)
    if is_op(node, "SpaceToDepth"):
        return _unshuffled(node, axes, most)
    if is_op(node, "Reshape"):
        return _reshaped(node, axes, most)
    if not is_op(node, "Slice", "Gather", "Split"):
        return None
    inner = layout_of(node.inputs[0], axes, most)
    if inner is None:
        return None
    if node.op_type == "Slice":
        return _sliced(node, inner)
    return _gathered(node, inner) if node.op_type == "Gather" else _split(node, value, inner)


def _joined(node: ir.Node, axes: int, most: int) -> Layout | None:
    if not _is_along_channels(node, axes):
        return None
    known: list[Layout] = []
    for value in node.inputs:
        part = layout_of(value, axes, most)
        if part is None or (known and (part.base, part.steps) != (known[0].base, known[0].steps)):
            return None
        known.append(part)
    nodes = dict.fromkeys(each for part in known for each in part.nodes)
    sources = tuple(source for part in known for source in part.sources)
    return Layout(known[0].base, known[0].steps, sources, (*nodes, node))


def _is_along_channels(node: ir.Node, axes: int) -> bool:
    return node.attributes.get_int("axis", 0) in (1, -axes - 1)


def _sliced(node: ir.Node, inner: Layout) -> Layout | None:
    rank = len(inner.steps) + 2
    given = [_numbers(node, index) for index in range(1, 5)]
    starts, ends, axes, steps = given
    if starts is None or ends is None:
        return None
    if any(input_of(node, at + 1) is not None and given[at] is None for at in (2, 3)):
        return None
    places = range(len(starts)) if axes is None else [axis % rank for axis in axes]
    sources, moves = inner.sources, [(0, 1)] * len(inner.steps)
    for axis, start, end, step in zip(
        places, starts, ends, steps or [1] * len(starts), strict=True
    ):
        if axis == 1:
            sources = sources[slice(start, end, step)]
        elif _takes_all(node, axis, start, end, step):
            moves[axis - 2] = (start, step)
        else:
            return None
    return _strided(inner, sources, moves, node)


def _numbers(node: ir.Node, index: int) -> list[int] | None:
    array = constant_input(node, index)
    return None if array is None else [int(number) for number in array.reshape(-1)]


def _takes_all(node: ir.Node, axis: int, start: int, end: int, step: int) -> bool:
    """Whether a slice runs to the end of a spatial axis from a place within its first step."""
    size = size_of(node.inputs[0], axis)
    runs_out = end >= _UNBOUNDED or (size is not None and end >= size)
    return axis >= 2 and step >= 1 and 0 <= start < step and runs_out


def _strided(
    inner: Layout, sources: Sequence[Source], moves: Sequence[tuple[int, int]], node: ir.Node
) -> Layout:
    """The layout after each spatial axis was read from a start on in steps."""
    starts, factors = zip(*moves, strict=True)
    moved = tuple((channel, _further(phase, inner.steps, starts)) for channel, phase in sources)
    steps = tuple(old * factor for old, factor in zip(inner.steps, factors, strict=True))
    return Layout(inner.base, steps, moved, (*inner.nodes, node))


def _further(phase: Sequence[int], steps: Sequence[int], by: Sequence[int]) -> tuple[int, ...]:
    return tuple(old + step * more for old, step, more in zip(phase, steps, by, strict=True))


def _gathered(node: ir.Node, inner: Layout) -> Layout | None:
    indices = constant_input(node, 1)
    if indices is None or indices.ndim != 1 or not _is_along_channels(node, len(inner.steps)):
        return None
    sources = tuple(inner.sources[int(index)] for index in indices)
    return Layout(inner.base, inner.steps, sources, (*inner.nodes, node))


def _split(node: ir.Node, value: ir.Value, inner: Layout) -> Layout | None:
    if not _is_along_channels(node, len(inner.steps)):
        return None
    if input_of(node, 1) is not None:
        sizes = _numbers(node, 1)
    elif "split" in node.attributes:  # before opset 13
        sizes = list(node.attributes.get_ints("split"))
    else:
        part, rest = divmod(len(inner.sources), len(node.outputs))
        sizes = None if rest else [part] * len(node.outputs)
    if sizes is None:
        return None
    place = node.outputs.index(value)
    first = sum(sizes[:place])
    sources = inner.sources[first : first + sizes[place]]
    return Layout(inner.base, inner.steps, sources, (*inner.nodes, node))


def _unshuffled(node: ir.Node, axes: int, most: int) -> Layout | None:
    inner = layout_of(node.inputs[0], axes, most)
    block = node.attributes.get_int("blocksize", 0)
    if inner is None or axes != 2 or block < 1:
        return None
    return _stacked(inner, {1: len(inner.sources), 3: block, 5: block}, [3, 5, 1], (node,))


def _reshaped(node: ir.Node, axes: int, most: int) -> Layout | None:
    """Sizes split in two, the inner halves moved to the channels, and merged with these."""
    transpose = producer(node.inputs[0], "Transpose")
    split = None if transpose is None else producer(transpose.inputs[0], "Reshape")
    if transpose is None or split is None or "perm" not in transpose.attributes:
        return None
    inner = layout_of(split.inputs[0], axes, most)
    order = list(transpose.attributes.get_ints("perm"))
    halves = [2 + 2 * axis for axis in range(axes)]
    if inner is None or len(order) != 2 + 2 * axes:
        return None
    if order[0] != 0 or order[-axes:] != halves:
        return None
    sizes = {axis: _size(split, axis) for axis in range(1, 2 + 2 * axes)}
    known = {axis: size for axis, size in sizes.items() if size is not None}
    if len(known) < len(sizes) or known[1] != len(inner.sources):
        return None
    for axis, half in enumerate(halves):
        if known[half] * known[half + 1] != size_of(split.inputs[0], axis + 2):
            return None
    merged = [math.prod(known[axis] for axis in order[1:-axes]), *(known[half] for half in halves)]
    if [_size(node, axis) for axis in range(1, axes + 2)] != merged:
        return None
    return _stacked(inner, known, order[1:-axes], (split, transpose, node))


def _size(reshape: ir.Node, axis: int) -> int | None:
    """A size of what a Reshape gives, by what is known of it or by its target."""
    known = size_of(reshape.outputs[0], axis)
    target = _numbers(reshape, 1)
    if known is None and target is not None and axis < len(target) and target[axis] > 0:
        return target[axis]
    return known


def _stacked(
    inner: Layout, sizes: Mapping[int, int], order: Sequence[int], nodes: tuple[ir.Node, ...]
) -> Layout:
    """Channels made of old ones (axis 1) and of phases (axes 3, 5, ...), counted up in that order."""
    halves = [3 + 2 * axis for axis in range(len(inner.steps))]
    sources: list[Source] = []
    for numbers in np.ndindex(*(sizes[axis] for axis in order)):
        chosen = {axis: int(number) for axis, number in zip(order, numbers, strict=True)}
        channel, phase = inner.sources[chosen[1]]
        sources.append((channel, _further(phase, inner.steps, [chosen[half] for half in halves])))
    steps = tuple(step * sizes[half] for step, half in zip(inner.steps, halves, strict=True))
    return Layout(inner.base, steps, tuple(sources), (*inner.nodes, *nodes))
