"""Moves Transposes past other operators to where they cancel.

Before:
    a = Transpose <perm = [0, 2, 3, 1]> (x)
    b = Mul (a, w)                                       # w is float[8]
    c = Softmax <axis = -1> (b)
    y = Transpose <perm = [0, 3, 1, 2]> (c)

After:
    b = Mul (x, w)                                       # w is float[8, 1, 1]
    y = Softmax <axis = 1> (b)

Equal up to rounding: sums may be taken in another order. From a Transpose on, the nodes that may as well
run before it are collected, forward and to the sides: elementwise operators, Concat, Split, Slice, Pad,
Softmax, and reductions that keep the rank. Other values that flow in must be constants, or transposed
in the same order. What the collected nodes give to others is transposed behind them. All this is done
only where fewer Transposes are left than before, and no node is added otherwise; so it comes to an end.
Values in the new order have new names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from modelport.graph import provenance
from modelport.graph.provenance import marks_of
from modelport.graph.query import constant_of
from modelport.passes.base import take_over
from modelport.passes.layouts import data_inputs, moved, transposed_constant
from modelport.passes.matching import is_op
from modelport.passes.merge_transposes import permutation
from modelport.passes.shaped import ShapedPass
from modelport.types import Array

OLDEST = 7
"""Before this opset, operators do not broadcast from the last axis on."""

MOST_NODES = 64
"""A region grows no further than this."""


@dataclass
class _Region:
    """Nodes that will run before a Transpose of one order, and what surrounds them."""

    perm: list[int]
    sources: list[ir.Node] = field(default_factory=list)
    """The Transposes whose inputs flow in."""
    nodes: list[ir.Node] = field(default_factory=list)

    def holds(self, value: ir.Value | None) -> bool:
        """Whether the value is in the order that the Transposes make."""
        maker = None if value is None else value.producer()
        return maker is not None and (maker in self.sources or maker in self.nodes)

    def leaving(self) -> list[ir.Value]:
        """Values that others read in the old order, so that a Transpose must make them."""
        return [
            value
            for node in self.nodes
            for value in node.outputs
            if value.is_graph_output()
            or marks_of(value)
            or any(self._is_outside(use.node) for use in value.uses())
        ]

    def _is_outside(self, reader: ir.Node) -> bool:
        return reader not in self.nodes and not self.undoes(reader)

    def undoes(self, reader: ir.Node) -> bool:
        """Whether it is a Transpose back. One to yet another order reads a Transpose and is merged."""
        if not is_op(reader, "Transpose") or reader.graph is not self.sources[0].graph:
            return False
        return [self.perm[axis] for axis in permutation(reader) or ()] == sorted(self.perm)

    def sinks(self) -> list[ir.Node]:
        return [
            use.node
            for node in self.nodes
            for value in node.outputs
            for use in value.uses()
            if self.undoes(use.node)
        ]

    def gain(self) -> int:
        """How many Transposes go, less those that come."""
        gone = [
            source
            for source in self.sources
            if not source.outputs[0].is_graph_output()
            and all(use.node in self.nodes for use in source.outputs[0].uses())
        ]
        return len(gone) + len(self.sinks()) - len(self.leaving())


class PushTransposes(ShapedPass):
    name: ClassVar[str] = "push_transposes"
    summary: ClassVar[str] = "Transposes are moved to where they cancel"
    exact: ClassVar[bool] = False

    def pattern(self, node: ir.Node) -> Sequence[ir.Node] | None:
        if not is_op(node, "Transpose") or not permutation(node) or self.opset < OLDEST:
            return None
        readers = [use.node for use in node.outputs[0].uses()]
        if not any(data_inputs(reader) is not None for reader in readers):
            return None
        region = self._region(node)
        return None if not region.nodes or region.gain() < 1 else [node]

    def check(self, match: Sequence[ir.Node]) -> str | None:
        return None  # `pattern` has counted; there is no use in naming every Transpose that stays

    def rewrite(self, match: Sequence[ir.Node]) -> None:
        region = self._region(match[0])
        before = {source.outputs[0]: source.inputs[0] for source in region.sources}
        for node in region.nodes:
            before.update(self._move(node, region, before))
        leaving, sinks = region.leaving(), region.sinks()
        for sink in sinks:
            self._end(sink, before)
        for value in leaving:
            self._transpose_back(value, before[value], region)
        for node in [*reversed(region.nodes), *region.sources]:
            unread = not any(value.uses() or value.is_graph_output() for value in node.outputs)
            if unread and node.graph is not None:
                node.graph.remove(node, safe=True)

    def _region(self, start: ir.Node) -> _Region:
        """All that can be reached, without the ends that only carry the Transpose further."""
        region = _Region(permutation(start) or [], [start])
        waiting = [use.node for use in start.outputs[0].uses()]
        while waiting and len(region.nodes) < MOST_NODES:
            node, known = waiting.pop(0), len(region.sources)
            if node in region.nodes or not self._joins(node, region, start):
                continue
            region.nodes.append(node)
            for value in (*node.outputs, *(source.outputs[0] for source in region.sources[known:])):
                waiting.extend(use.node for use in value.uses())
        region.nodes = _in_order(region.nodes)
        _trim(region)
        return region

    def _joins(self, node: ir.Node, region: _Region, start: ir.Node) -> bool:
        """Whether the node can run before the Transposes; those beside it that it needs join too."""
        places = data_inputs(node)
        if (
            places is None
            or node.graph is not start.graph
            or moved(node, region.perm, self) is None
        ):
            return False
        beside = []
        for place in places:
            value = node.inputs[place]
            if value is None or region.holds(value):
                continue
            maker = value.producer()
            if is_op(maker, "Transpose") and maker is not None and maker.graph is start.graph:
                if permutation(maker) != region.perm:
                    return False
                beside.append(maker)
            elif self._constant(value, region.perm, node) is None:
                return False
        region.sources.extend(maker for maker in beside if maker not in region.sources)
        return True

    def _constant(self, value: ir.Value, perm: Sequence[int], node: ir.Node) -> Array | None:
        """A constant in the order that the values have before the Transposes."""
        array = constant_of(value)
        if array is None or (node.op_type == "Concat" and array.ndim != len(perm)):
            return None
        return transposed_constant(array, perm)

    def _move(
        self, node: ir.Node, region: _Region, before: dict[ir.Value, ir.Value | None]
    ) -> dict[ir.Value, ir.Value | None]:
        """Puts a copy of the node beside it that reads the values as they are before the Transposes."""
        change = moved(node, region.perm, self)
        assert change is not None
        attributes, others = change
        inputs = [self._before(value, region, node, before) for value in node.inputs]
        if places := data_inputs(node):
            inputs[len(places) :] = node.inputs[len(places) :]
        for index, numbers in others.items():
            inputs += [None] * (index + 1 - len(inputs))
            inputs[index] = self.constant(
                np.asarray(numbers, np.int64), f"{node.outputs[0].name}_moved"
            )
        copied = {name: each for name, each in node.attributes.items() if name not in attributes}
        made = self.node(
            node.op_type,
            inputs,
            {**copied, **attributes},
            for_=[node],
            outputs=len(node.outputs),
        )
        order = np.argsort(region.perm)
        for old, new in zip(node.outputs, made.outputs, strict=True):
            new.type = old.type
            if old.shape is not None and len(old.shape) == len(order):
                new.shape = ir.Shape([old.shape[int(axis)] for axis in order])
        assert node.graph is not None
        node.graph.insert_before(node, made)
        return dict(zip(node.outputs, made.outputs, strict=True))

    def _before(
        self,
        value: ir.Value | None,
        region: _Region,
        node: ir.Node,
        before: dict[ir.Value, ir.Value | None],
    ) -> ir.Value | None:
        if value is None or value in before:
            return None if value is None else before[value]
        array = self._constant(value, region.perm, node)
        if array is None or array.size == 1:
            return value
        return self.constant(array, f"{value.name}_moved")

    def _end(self, sink: ir.Node, before: dict[ir.Value, ir.Value | None]) -> None:
        """What a Transpose back gave is there without it."""
        value = sink.inputs[0]
        source = None if value is None else before[value]
        assert source is not None
        assert sink.graph is not None
        if sink.outputs[0].is_graph_output() and source.is_graph_output():
            same = self.node("Identity", [source], for_=[sink])  # callers want two names for it
            sink.graph.insert_before(sink, same)
            source = same.outputs[0]
        maker = source.producer()
        if maker is not None:
            provenance.inherit(maker, [sink])
        take_over(source, sink.outputs[0])
        sink.graph.remove(sink, safe=True)

    def _transpose_back(self, value: ir.Value, source: ir.Value | None, region: _Region) -> None:
        maker = value.producer()
        assert maker is not None
        assert maker.graph is not None
        made = self.node(
            "Transpose", [source], {"perm": region.perm}, for_=[*region.sources, maker]
        )
        maker.graph.insert_after(maker, made)
        take_over(made.outputs[0], value)


def _in_order(nodes: Sequence[ir.Node]) -> list[ir.Node]:
    """The nodes so that each comes after those that it reads."""
    ordered: list[ir.Node] = []
    waiting = list(nodes)
    while waiting:
        makers = {id(value.producer()) for node in waiting for value in node.outputs}
        ready = [
            node
            for node in waiting
            if not any(value and id(value.producer()) in makers for value in node.inputs)
        ]
        ordered += ready
        waiting = [node for node in waiting if node not in ready]
    return ordered


def _trim(region: _Region) -> None:
    """Leaves out ends that read one value of the region and undo nothing."""
    for node in reversed(list(region.nodes)):
        inside = {value for value in node.inputs if region.holds(value)}
        readers = [use.node for value in node.outputs for use in value.uses()]
        useful = any(each in region.nodes or region.undoes(each) for each in readers)
        if not useful and len(inside) <= 1:
            region.nodes.remove(node)
    needed = {value.producer() for node in region.nodes for value in node.inputs if value}
    region.sources = [source for source in region.sources if source in needed] or region.sources[:1]
