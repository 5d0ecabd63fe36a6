"""Puts the branch that is always taken in the place of an If, and the body of a Loop that runs once.

Before:
    y = If <then_branch = {a = Relu (x)}, else_branch = {b = Neg (x)}> (true)
    z = Loop <body = (i, on, v) => (on_again, w) {...; w = Add (v, x)}> (one, , x)

After:
    a = Relu (x)
    w = Add (x, x)

Exact. The condition must be the same on every feed: a constant, or a comparison of sizes that comes out
one way. A Loop runs once where it is told so, and never where its count is 0 or its condition is false;
what it stacks up is empty then, so nothing may read that. Nodes of the branch without a module get that
of the If. Names that other subgraphs have too get a number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from modelport.graph import provenance
from modelport.graph.scope import graphs_of
from modelport.passes.base import take_over
from modelport.passes.matching import input_of, is_op
from modelport.passes.shaped import ShapedPass

_AXES_AS_INPUT = 13


class ResolveBranches(ShapedPass):
    name: ClassVar[str] = "resolve_branches"
    summary: ClassVar[str] = "an If that always goes one way, and a Loop of one turn, are inlined"

    def apply(self, model: ir.Model) -> bool:
        """What comes out of a branch may be a branch again."""
        modified = False
        while super().apply(model):
            modified, self.refusals = True, []
        return modified

    def pattern(self, node: ir.Node) -> Sequence[ir.Node] | None:
        return [node] if is_op(node, "If", "Loop") else None

    def check(self, match: Sequence[ir.Node]) -> str | None:
        (node,) = match
        if node.op_type == "If":
            known = self.shapes.numbers(node.inputs[0])
            return "its condition depends on the feeds" if known is None else None
        turns = self._turns(node)
        if turns is None:
            return "it is not known to run once or never"
        stacked = node.outputs[len(node.inputs) - 2 :]
        if turns == 0 and any(value.uses() or value.is_graph_output() for value in stacked):
            return "it never runs, and what it stacks up is read"
        return None

    def rewrite(self, match: Sequence[ir.Node]) -> None:
        (node,) = match
        if node.op_type == "If":
            self._rewrite_if(node)
        elif self._turns(node) == 0:
            self._finish(node, node.inputs[2:])
        else:
            self._rewrite_loop(node)

    def _rewrite_if(self, node: ir.Node) -> None:
        known = self.shapes.numbers(node.inputs[0])
        taken = node.attributes["then_branch" if known and known[0] else "else_branch"].as_graph()
        self._finish(node, self._inline(taken, node))

    def _rewrite_loop(self, node: ir.Node) -> None:
        body = node.attributes["body"].as_graph()
        stem = node.outputs[0].name or "loop"
        starts = [
            self.constant(np.asarray(0, np.int64), f"{stem}_turn"),
            self.constant(np.asarray(True), f"{stem}_condition"),
            *node.inputs[2:],
        ]
        for given, start in zip(body.inputs, starts, strict=True):
            assert start is not None
            given.replace_all_uses_with(start, replace_graph_outputs=True)
        _, *results = self._inline(body, node)
        carried = len(node.inputs) - 2
        stacked = [self._stacked(value, node) for value in results[carried:]]
        self._finish(node, [*results[:carried], *stacked])

    def _turns(self, node: ir.Node) -> int | None:
        """0 or 1 where the Loop runs that often for certain, else None."""
        count, condition = input_of(node, 0), input_of(node, 1)
        limit = None if count is None else self.shapes.numbers(count)
        begins = [1] if condition is None else self.shapes.numbers(condition)
        if (limit and limit[0] <= 0) or (begins and not begins[0]):
            return 0
        again = self.shapes.numbers(node.attributes["body"].as_graph().outputs[0])
        at_least_once = begins is not None and (count is None or limit is not None)
        at_most_once = (limit is not None and limit[0] == 1) or (again is not None and not again[0])
        return 1 if at_least_once and at_most_once else None

    def _inline(self, inner: ir.Graph, node: ir.Node) -> list[ir.Value | None]:
        """Moves what the graph holds before the node; returns the graph's outputs."""
        graph = node.graph
        assert graph is not None
        results: list[ir.Value | None] = list(inner.outputs)
        inner.outputs.clear()
        counts = self._names()
        for value in list(inner.initializers.values()):
            inner.initializers.pop(value.name or "")
            self._make_unique(value, counts)
            graph.register_initializer(value)
        nodes = list(inner)
        inner.remove(nodes)
        for each in nodes:
            if provenance.MODULE not in each.metadata_props:
                provenance.inherit(each, [node])
            for value in each.outputs:
                self._make_unique(value, counts)
        graph.insert_before(node, nodes)
        return results

    def _names(self) -> Counter[str | None]:
        """How many values have each name."""
        return Counter(
            value.name
            for graph in graphs_of(self._model)
            for value in [
                *graph.inputs,
                *graph.initializers.values(),
                *(value for node in graph for value in node.outputs),
            ]
        )

    def _make_unique(self, value: ir.Value, counts: Counter[str | None]) -> None:
        if value.name and counts[value.name] > 1:
            counts[value.name] -= 1
            value.name = self.fresh_name(value.name)

    def _stacked(self, value: ir.Value | None, node: ir.Node) -> ir.Value:
        """One turn of what a Loop stacks up along a new first axis."""
        assert node.graph is not None
        if self.opset < _AXES_AS_INPUT:
            made = self.node("Unsqueeze", [value], {"axes": [0]}, for_=[node])
        else:
            axis = self.constant(np.asarray([0], np.int64), f"{node.outputs[0].name}_axis")
            made = self.node("Unsqueeze", [value, axis], for_=[node])
        node.graph.insert_before(node, made)
        return made.outputs[0]

    def _finish(self, node: ir.Node, values: Sequence[ir.Value | None]) -> None:
        """Lets the values stand for the node's outputs, and removes the node with its subgraphs."""
        graph = node.graph
        assert graph is not None
        for value, result in zip(values, node.outputs, strict=False):
            if not result.name:
                continue
            assert value is not None
            producer = value.producer()
            elsewhere = producer is None or producer.graph is not graph or value in node.inputs
            if elsewhere or value.is_graph_output():
                value = self._copied(value, node)
            take_over(value, result)
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.GRAPH:
                _empty(attribute.as_graph())
        graph.remove(node, safe=True)

    def _copied(self, value: ir.Value, node: ir.Node) -> ir.Value:
        assert node.graph is not None
        made = self.node("Identity", [value], for_=[node])
        node.graph.insert_before(node, made)
        return made.outputs[0]


def _empty(graph: ir.Graph) -> None:
    """Lets go of the values around that the graph reads."""
    graph.outputs.clear()
    for node in reversed(list(graph)):
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.GRAPH:
                _empty(attribute.as_graph())
        graph.remove(node, safe=True)
