"""Passes that ask what is known of shapes, and passes that let a node give back one of its inputs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import onnx_ir as ir

from modelport.graph.shapes import Shapes
from modelport.passes.base import RewritePass, take_over_type


class ShapedPass(RewritePass):
    """A pass that knows shapes with their free sizes."""

    def apply(self, model: ir.Model) -> bool:
        self._shapes: Shapes | None = None
        try:
            return super().apply(model)
        finally:
            self._shapes = None

    @property
    def shapes(self) -> Shapes:
        """Worked out when first asked for. What it says of a value stays true while nodes are replaced."""
        if self._shapes is None:
            self._shapes = Shapes(self._model)
        return self._shapes


class GivingBackPass(ShapedPass):
    """A pass that removes single nodes whose result is a value that exists already.

    A node stays where removing it would rename something that callers see: between an input or weight
    and an output, or where the value is an output under another name already.
    """

    @abstractmethod
    def source(self, node: ir.Node) -> ir.Value | str | None:
        """The value that the node gives; None where that is a new one, a reason where it is almost one."""

    def pattern(self, node: ir.Node) -> Sequence[ir.Node] | None:
        return None if self.source(node) is None else [node]

    def check(self, match: Sequence[ir.Node]) -> str | None:
        (node,) = match
        source = self.source(node)
        return source if isinstance(source, str) else may_give_back(node, source)

    def rewrite(self, match: Sequence[ir.Node]) -> None:
        (node,) = match
        source = self.source(node)
        assert isinstance(source, ir.Value)
        give_back(node, source)


def may_give_back(node: ir.Node, source: ir.Value | None) -> str | None:
    """Why a value cannot take the place of the node's first output, or None."""
    result = node.outputs[0]
    if source is None or not result.is_graph_output():
        return None
    if source.is_graph_input() or source.is_initializer():
        return "it connects an input or a weight to an output"
    if source.is_graph_output():
        return "its input is an output under another name"
    producer = source.producer()
    if producer is None or producer.graph is not node.graph:
        return "its input belongs to an enclosing graph"
    return None


def give_back(node: ir.Node, source: ir.Value) -> None:
    """Lets the value take the place of the node's first output, and removes the node."""
    result = node.outputs[0]
    assert node.graph is not None
    take_over_type(source, result)
    name, keep_name = result.name, result.is_graph_output()
    result.replace_all_uses_with(source, replace_graph_outputs=True)
    node.graph.remove(node, safe=True)
    if keep_name:
        result.name = None
        source.name = name
