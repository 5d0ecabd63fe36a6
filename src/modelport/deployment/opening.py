"""From a source to a proven, optimised graph, and the data that everything after is measured on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import onnx_ir as ir

from modelport.deployment.data import Data, gather
from modelport.deployment.edited import edited
from modelport.deployment.export import ExportedGraph, export_proven
from modelport.deployment.measure import Judge
from modelport.errors import ModelportError
from modelport.frontends import LoadedSource
from modelport.graph.query import signature_of
from modelport.optimization import Optimized, PassRecord, Probe, probe_with, run_verified
from modelport.passes.pipelines import portable
from modelport.progress import Silent
from modelport.runtime.tasks import TASKS
from modelport.types import Outputs
from modelport.variants import Program
from modelport.verify.compare import run_all

PROBES = 4
"""Feeds that the export and the passes are checked on."""


@dataclass(frozen=True)
class Opened:
    """A source that is ready to be compiled.

    Attributes:
        exported: the graph as the source has it, after edits.
        truth: what the source gives for the feeds of the data.
        edits: whether there were any, so that the graph alone has them.
    """

    loaded: LoadedSource
    made: ExportedGraph
    exported: ir.Model
    data: Data
    truth: list[Outputs]
    judge: Judge
    optimized: Optimized
    edits: bool

    @property
    def has_program(self) -> bool:
        """Whether engines may take what torch.export captures."""
        return bool(self.loaded.exporters) and not self.edits

    @property
    def probe(self) -> Probe:
        return probe_with(self.data.feeds[:PROBES])

    def program(self, folder: Path) -> Program:
        """What torch.export captures, written into the folder."""
        signature = signature_of(self.exported)
        if self.edits:
            return Program(signature, problem="edits change the graph alone")
        path = folder / "model.pt2"
        try:
            written = self.loaded.write_program(path)
        except ModelportError as error:
            return Program(signature, problem=str(error))
        return Program(signature, path) if written else Program(signature)

    def with_records(self, records: Sequence[PassRecord]) -> Opened:
        """With what the passes of engines did."""
        mine = [*self.optimized.records, *records]
        return replace(self, optimized=replace(self.optimized, records=mine))


STAGES = 4
"""How many `prepared` announces."""


def prepared(
    open_it: Callable[[], LoadedSource],
    progress: Silent,
    sessions: ExitStack,
    *,
    calibration: str | Path | None,
    verification: str | Path | None,
    edits: Sequence[str] = (),
    upgrade: bool = True,
) -> Opened:
    """Opens the source, exports and proves it, runs it on the data, and optimises the graph.

    Args:
        sessions: closes what is opened here.
        upgrade: whether passes may raise the opset.
    """
    with progress.stage("Open the source"):
        loaded = open_it()
        decoder = TASKS.get(loaded.source.task)
        decoder.parameters(loaded.source.parameters)  # what is wrong with them is said at once
    with progress.stage("Export, and prove the export"):
        made = export_proven(loaded, progress.detail)
        loaded = edited(loaded, made.graph, edits)
        exported = loaded.to_graph() if edits else made.graph
    with progress.stage("Run the source on the data"):
        data = gather(loaded, signature_of(exported), calibration, verification)
        oracle = sessions.enter_context(loaded.oracle(exported))
        truth = run_all(oracle, data.feeds)
        intended = None if data.intended is None else run_all(oracle, data.intended)
    with progress.stage("Optimise"):
        probe = probe_with(data.feeds[:PROBES])
        optimized = run_verified(exported, portable(upgrade=upgrade), probe, signature_of(exported))
    judge = Judge(truth, intended, decoder.has_classes)
    return Opened(loaded, made, exported, data, truth, judge, optimized, bool(edits))
