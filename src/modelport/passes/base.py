"""The contract of a pass.

A pass is a subclass of onnx-ir's `InPlacePass`. One that rewrites places in the graph derives from
`RewritePass` and answers three questions: which nodes take part (`pattern`), may they (`check`), and
what do they become (`rewrite`). A `check` that refuses says why, and the reasons are kept.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
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
    """A pass that replaces places one by one, until a round finds nothing more."""

    def apply(self, model: ir.Model) -> bool:
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

    @abstractmethod
    def pattern(self, node: ir.Node) -> Sequence[ir.Node] | None:
        """The nodes that take part if `node` ends such a place, else None."""

    @abstractmethod
    def check(self, match: Sequence[ir.Node]) -> str | None:
        """Why this place must stay as it is, or None."""

    @abstractmethod
    def rewrite(self, match: Sequence[ir.Node]) -> None:
        """Replaces the matched nodes."""
