"""The contract of a pass.

A pass is a subclass of onnx-ir's `InPlacePass`. One that rewrites places in the graph derives from
`RewritePass` and answers three questions: which nodes take part (`pattern`), may they (`check`), and
what do they become (`rewrite`). A `check` that refuses says why, and the reasons are kept.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from modelport.graph import provenance


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

    def apply(self, model: ir.Model) -> bool:
        self._model = model
        self._taken: set[str | None] | None = None
        modified = False
        for graph in model.graphs():
            for node in list(graph):
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
    for graph in model.graphs():
        yield from graph.inputs
        yield from graph.initializers.values()
        for node in graph:
            yield from node.outputs


def take_over_type(heir: ir.Value, value: ir.Value) -> None:
    """What was known of `value` holds of its heir; of an output, callers were promised it."""
    if heir.type is None or value.is_graph_output():
        heir.type = value.type or heir.type
    if heir.shape is None or value.is_graph_output():
        heir.shape = value.shape or heir.shape
