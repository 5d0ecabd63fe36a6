"""The contract of a pass.

A pass is a subclass of onnx-ir's `InPlacePass`. One that rewrites places in the graph derives from
`RewritePass` and answers three questions: which nodes take part (`pattern`), may they (`check`), and
what do they become (`rewrite`). A `check` that refuses says why, and the reasons are kept.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir

from modelport.graph import provenance
from modelport.graph.scope import graphs_of
from modelport.types import Array


@dataclass(frozen=True)
class Refusal:
    """A place that a pass matched but left alone, and why."""

    where: str
    reason: str


class GraphPass(ir.passes.InPlacePass):
    """A pass with a name for users and, after a run, the reasons of what it left alone."""

    name: ClassVar[str]
    summary: ClassVar[str]
    exact: ClassVar[bool] = True
    """Whether results stay equal bit for bit, or only up to rounding."""
    takes_apart: ClassVar[tuple[str, ...]] = ()
    """Operators that it replaces by older or plainer ones, for engines that lack them."""

    def __init__(self) -> None:
        self.refusals: list[Refusal] = []

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        self.refusals = []
        return ir.passes.PassResult(model, modified=self.apply(model))

    @abstractmethod
    def apply(self, model: ir.Model) -> bool:
        """Changes the model; returns whether it did."""


class RewritePass(GraphPass):
    """A pass that replaces places one by one, in the order of the nodes."""

    from_the_end: ClassVar[bool] = False
    """Whether nodes are visited from the last to the first: the end of a chain is met before its parts."""

    def apply(self, model: ir.Model) -> bool:
        self._model = model
        self._taken: set[str | None] | None = None
        modified = False
        for graph in graphs_of(model):
            for node in list(reversed(graph) if self.from_the_end else graph):
                if node.graph is graph and self._visit(node):
                    modified = True
        return modified

    def _visit(self, node: ir.Node) -> bool:
        match = self.pattern(node)
        if match is None:
            return False
        reason = self.check(match)
        if reason is not None:
            self.refusals.append(Refusal(provenance.describe(node), reason))
            return False
        self.rewrite(match)
        return True

    def fresh_name(self, stem: str) -> str:
        """A name that no value of the model has; a subgraph must not reuse those around it."""
        if self._taken is None:
            self._taken = {value.name for value in _values(self._model)}
        name, number = stem, 0
        while name in self._taken:
            number += 1
            name = f"{stem}_{number}"
        self._taken.add(name)
        return name

    def constant(self, array: Array, stem: str) -> ir.Value:
        """A new initializer of the model, which serves subgraphs too."""
        tensor = ir.tensor(np.ascontiguousarray(array).reshape(array.shape))
        value = ir.Value(
            name=self.fresh_name(stem),
            type=ir.TensorType(tensor.dtype),
            shape=ir.Shape(array.shape),
            const_value=tensor,
        )
        tensor.name = value.name
        self._model.graph.register_initializer(value)
        return value

    def node(
        self,
        operator: str,
        inputs: Sequence[ir.Value | None],
        attributes: Mapping[str, Any] | None = None,
        *,
        for_: Sequence[ir.Node],
        outputs: int = 1,
    ) -> ir.Node:
        """A new node that does the work of those nodes, with names of its own; not yet in a graph."""
        made = ir.node(
            operator, list(inputs), attributes=dict(attributes or {}), num_outputs=outputs
        )
        stem = for_[-1].outputs[0].name or operator
        for index, value in enumerate(made.outputs):
            value.name = self.fresh_name(
                f"{stem}_{operator.lower()}" + (f"_{index}" if index else "")
            )
        made.name = self.fresh_name(f"{for_[-1].name or stem}_{operator.lower()}")
        provenance.inherit(made, for_)
        return made

    def replace(self, match: Sequence[ir.Node], new: Sequence[ir.Node]) -> None:
        """Puts new nodes where the last matched one is, and removes those that nothing reads any more.

        The outputs of the last new node take the place, the names and what is known of the outputs of
        the last matched node.
        """
        last = match[-1]
        graph = last.graph
        assert graph is not None
        graph.insert_before(last, new)
        for result, heir in zip(last.outputs, new[-1].outputs, strict=False):
            take_over(heir, result)
        for node in reversed(match):
            if node.graph is graph and not any(_is_read(value) for value in node.outputs):
                graph.remove(node, safe=True)

    @property
    def opset(self) -> int:
        """Version of the standard operators that the model uses."""
        return self._model.opset_imports.get("") or 0

    @abstractmethod
    def pattern(self, node: ir.Node) -> Sequence[ir.Node] | None:
        """The nodes that take part if `node` ends such a place, else None."""

    @abstractmethod
    def check(self, match: Sequence[ir.Node]) -> str | None:
        """Why this place must stay as it is, or None."""

    @abstractmethod
    def rewrite(self, match: Sequence[ir.Node]) -> None:
        """Replaces the matched nodes."""


def _values(model: ir.Model) -> Iterator[ir.Value]:
    for graph in graphs_of(model):
        yield from graph.inputs
        yield from graph.initializers.values()
        for node in graph:
            yield from node.outputs


def take_over(heir: ir.Value, result: ir.Value) -> None:
    """Lets one value stand for another everywhere, callers included, and gives it its name."""
    name = result.name
    take_over_type(heir, result)
    result.replace_all_uses_with(heir, replace_graph_outputs=True)
    result.name = None
    heir.name = name


def _is_read(value: ir.Value) -> bool:
    return bool(value.uses()) or value.is_graph_output()


def take_over_type(heir: ir.Value, value: ir.Value) -> None:
    """What was known of `value` holds of its heir; of an output, callers were promised it."""
    if heir.type is None or value.is_graph_output():
        heir.type = value.type or heir.type
    if heir.shape is None or value.is_graph_output():
        heir.shape = value.shape or heir.shape
    provenance.inherit_marks(heir, value)
