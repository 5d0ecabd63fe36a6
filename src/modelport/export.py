"""From a source to an ONNX file: exported, proved equal to the source, and optimised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from modelport.deployment.export import export_proven
from modelport.errors import UsageError
from modelport.frontends import ExportOptions, open_source
from modelport.graph import io
from modelport.graph.query import operator_counts, signature_of
from modelport.optimization import PassRecord, probe_with, run_unverified, run_verified
from modelport.passes.pipelines import portable
from modelport.progress import Silent
from modelport.types import Signature

if TYPE_CHECKING:
    from modelport.frontends.rewrites import Fired, Rewrite

STAGES = 4


@dataclass(frozen=True)
class Exported:
    """Attributes:
    model: the graph.
    path: where it was written, if it was.
    exporter: the one that wrote it; empty where the source was a graph already.
    reason: why this one.
    attempts: what every exporter that was tried came to.
    rewrites: those that took part, and where.
    passes: what every pass did.
    """

    model: ir.Model
    path: Path | None
    exporter: str
    reason: str
    attempts: Sequence[str]
    rewrites: Sequence[Fired]
    passes: Sequence[PassRecord] = ()
    notes: Sequence[str] = field(default_factory=list)

    @property
    def signature(self) -> Signature:
        return signature_of(self.model)

    def to_json(self) -> dict[str, Any]:
        return {
            "path": None if self.path is None else str(self.path),
            "signature": asdict(self.signature),
            "operators": operator_counts(self.model),
            "exporter": self.exporter,
            "reason": self.reason,
            "attempts": list(self.attempts),
            "rewrites": [asdict(fired) for fired in self.rewrites],
            "passes": [record.to_json() for record in self.passes],
            "notes": list(self.notes),
        }


def export(
    source: Any,
    inputs: Any = None,
    *,
    output: str | Path | None = None,
    weights: str | Path | None = None,
    options: ExportOptions | None = None,
    opset: int | None = None,
    rewrites: Sequence[Rewrite] = (),
    examples: Any = None,
    operators: Any = None,
    optimize: bool = True,
    check: bool = True,
    weights_in: str = io.AUTO,
    initializers_as_inputs: bool = False,
    progress: Silent | None = None,
) -> Exported:
    """Exports a model, proves the graph on several inputs and sizes, and optimises it.

    Args:
        source, inputs, weights: see `modelport.deploy`.
        output: an `.onnx` file to write; without it the graph is only returned.
        options: how it is exported.
        opset: overrides that of the options.
        rewrites: the user's own, beside those of the source.
        examples: inputs to prove the export with where random ones fail; see `Source.examples`.
        operators: libraries of operators that the check needs; see `Source.operators`.
        optimize: whether to run the portable passes.
        check: whether to compare with the source, after the export and after the passes.
        weights_in: `inside` the file, `outside` in a file beside it, `nowhere` (the file then only
            says where they would be), or `auto`: outside from 1.5 GB on.
        initializers_as_inputs: whether weights are listed as inputs too, so that callers may replace
            them; engines then cannot fold them.

    Raises:
        ModelportError: where the source cannot be read or exported, or the graph is not equal to it.
    """
    progress = progress or Silent()
    path = _checked_path(output)
    io.check_placement(weights_in)
    options = options or ExportOptions()
    if opset is not None:
        options = replace(options, opset=opset)
    with progress.stage("Open the source"):
        loaded = open_source(
            source,
            inputs=inputs,
            weights=weights,
            options=options,
            rewrites=tuple(rewrites) or None,
            examples=examples,
            operators=operators,
        )
    with progress.stage("Export, and prove the export"):
        made = export_proven(loaded, progress.detail, check=check)
    model, records = made.graph, list[PassRecord]()
    passes = portable(upgrade=False)
    with progress.stage("Optimise"):
        if optimize and check:
            feeds = [loaded.example_feeds(seed) for seed in (1, 2)]
            optimized = run_verified(model, passes, probe_with(feeds), signature_of(model))
        elif optimize:
            optimized = run_unverified(model, passes)
        if optimize:
            model, records = optimized.model, optimized.records
    with progress.stage("Write"):
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            io.save(model, path, weights_in=weights_in, as_inputs=initializers_as_inputs)
    return Exported(
        model, path, made.exporter, made.reason, made.attempts, made.fired, records, loaded.notes
    )


def _checked_path(output: str | Path | None) -> Path | None:
    if output is None:
        return None
    path = Path(output)
    if path.suffix != ".onnx":
        raise UsageError(f"The output {path} is no ONNX file", expected="a name ending in .onnx")
    return path
