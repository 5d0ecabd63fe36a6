"""Runs the passes of one engine alone, checked like the portable ones, once for each graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import onnx_ir as ir

from modelport.engines.base import Engine
from modelport.errors import ModelportError
from modelport.graph.query import signature_of
from modelport.optimization import Optimized, PassRecord, Probe, run_unverified, run_verified
from modelport.passes import PASSES
from modelport.passes.base import GraphPass
from modelport.passes.pipelines import AROUND, for_engine


class Tailor:
    """Makes of a graph what an engine wants, and keeps the record of what that took.

    Args:
        probe: what the results are compared with; None trusts the passes.
    """

    def __init__(self, probe: Probe | None = None) -> None:
        self.records: list[PassRecord] = []
        self._probe = probe
        self._made: dict[tuple[int, str, tuple[str, ...]], tuple[ir.Model, ir.Model]] = {}

    def fit(self, graph: ir.Model, engine: Engine, needs: Sequence[str]) -> ir.Model:
        """The graph after the engine's passes: a copy, or the graph itself where they change nothing.

        Args:
            needs: those that the engine cannot do without.
        """
        key = (id(graph), engine.name, tuple(needs))
        if key not in self._made:
            # The graph is kept with what became of it: no other may be given its id meanwhile.
            self._made[key] = (graph, self._fitted(graph, engine, needs))
        return self._made[key][1]

    def _fitted(self, graph: ir.Model, engine: Engine, needs: Sequence[str]) -> ir.Model:
        passes = for_engine(engine.name, needs)
        made = run_unverified(graph, passes)
        if not any(record.changed for record in made.records if record.name not in AROUND):
            return graph
        if self._probe is not None:
            made = self._verified(graph, passes, needs, self._probe)
        self._note(made.records, engine.name)
        return made.model

    def _verified(
        self, graph: ir.Model, passes: Sequence[GraphPass], needs: Sequence[str], probe: Probe
    ) -> Optimized:
        try:
            return run_verified(graph, passes, probe, signature_of(graph))
        except ModelportError:  # a graph that cannot be compared gets what it needs, and no more
            return run_unverified(graph, [PASSES.get(name) for name in needs])

    def _note(self, records: Sequence[PassRecord], engine: str) -> None:
        """Once for each pass, of the first graph it had to do with: the others differ in scheme alone."""
        known = {(record.name, record.engine) for record in self.records}
        for record in records:
            if record.name in AROUND or (record.name, engine) in known:
                continue
            if record.changed or record.rejected:
                self.records.append(replace(record, engine=engine))
