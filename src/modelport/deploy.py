"""The main job, from a trained model to a proven bundle.

open the source -> export -> prove the export -> optimise -> compile variants
-> compare each with the source -> time them in turn -> choose -> write the bundle
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from datetime import datetime, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from modelport.bundle.manifest import (
    CaseEntry,
    Manifest,
    PassEntry,
    Provenance,
    RewriteEntry,
    SignatureEntry,
    TaskEntry,
    VariantEntry,
)
from modelport.bundle.read import Bundle
from modelport.bundle.write import finish, staged
from modelport.deployment.data import Data, gather
from modelport.deployment.edited import edited
from modelport.deployment.export import ExportedGraph, export_proven
from modelport.deployment.measure import Judge, measure
from modelport.deployment.package import (
    REPORT,
    cases_of,
    hashed,
    report_cases,
    report_problem,
    share_files,
    show_report_beside,
    variant_entries,
)
from modelport.engines import ENGINES
from modelport.engines.routes import PROGRAM
from modelport.errors import ModelportError, UsageError
from modelport.frontends import ExportOptions, LoadedSource, open_source
from modelport.graph.query import operator_counts, signature_of
from modelport.machine import describe_machine, versions
from modelport.optimization import Optimized, probe_with, run_verified
from modelport.passes.pipelines import portable
from modelport.profile.cost import cost_of
from modelport.progress import Silent
from modelport.report.data import ReportCase
from modelport.runtime import transforms as transform_words
from modelport.runtime.tasks import TASKS
from modelport.tailoring import Tailor
from modelport.tune.select import select
from modelport.types import Outputs
from modelport.variants import Compiled, Plan, Program, compile_all, plan
from modelport.verify.compare import run_all

if TYPE_CHECKING:
    from modelport.frontends.rewrites import Rewrite

PROBES = 4
"""Feeds that the export and the passes are checked on."""

STAGES = 7


def deploy(
    source: Any,
    inputs: Any = None,
    *,
    output: str | Path,
    weights: str | Path | None = None,
    calibration: str | Path | None = None,
    verification: str | Path | None = None,
    budget: float | str = 0.01,
    engines: Sequence[str] | None = None,
    precisions: Sequence[str] | None = None,
    transforms: Sequence[transform_words.Transform] | None = None,
    task: str | None = None,
    labels: Sequence[str] | str | Path | None = None,
    licence: str | None = None,
    name: str | None = None,
    output_names: Sequence[str] | None = None,
    opset: int | None = None,
    export: ExportOptions | None = None,
    rewrites: Sequence[Rewrite] = (),
    examples: Any = None,
    operators: Any = None,
    edits: Sequence[str] = (),
    threads: int = 0,
    overwrite: bool = False,
    report: bool = True,
    progress: Silent | None = None,
) -> Bundle:
    """Takes a model to a bundle whose fastest variant within the budget runs by default.

    Args:
        source: an `nn.Module`, a `modelport.Source`, a reference `file.py:function` to something that
            returns either, or the path of an ONNX file.
        inputs: specifications such as `"image=1x3x224x224"` (ranges `1..16` stay free), or example
            tensors; see `Source.inputs`.
        output: where the bundle goes: a folder, or a file ending in `.zip`.
        weights: a state dict to load first, `.pth` or `.safetensors`; never unpickled.
        calibration: folder of pictures (through the transforms) or `.npy`/`.npz` feeds; without it
            there is no int8.
        verification: such a folder, for measuring fidelity; by default the calibration data.
        budget: largest accepted loss of fidelity, as a share (0.01) or in words (`"1%"`).
        engines: names to try, or `["all"]`; by default ONNX Runtime and OpenVINO where they are.
        precisions: names to try; by default those that each engine has.
        transforms, task, labels, licence, name, output_names: override those of the `Source`; labels
            may be a file with one to a line.
        opset: version of the standard operators to export; overrides that of `export`.
        export: how the source becomes a graph: exporters, parts, state and more.
        rewrites: the user's own; see `modelport.rewrites`.
        examples: inputs to prove the export with where random ones fail; see `Source.examples`.
        operators: libraries of operators; see `Source.operators`.
        edits: names of `modelport edits`, which move work into the graph or out of it.
        threads: for the engines; 0 leaves the number to them.
        overwrite: whether to replace a bundle that is already there.
        report: whether to write `report.html` into the bundle.
        progress: who hears about the stages.

    Raises:
        ModelportError: whatever goes wrong; nothing is left at `output` then.
    """
    progress = progress or Silent()
    output, share = Path(output), parse_budget(budget)
    options = _options(export, opset, output_names)
    with staged(output, overwrite=overwrite) as stage, ExitStack() as sessions:
        scratch = Path(sessions.enter_context(TemporaryDirectory(prefix="modelport-")))
        with progress.stage("Open the source"):
            loaded = open_source(
                source, inputs=inputs, weights=weights, options=options, transforms=transforms,
                task=task, labels=read_labels(labels), licence=licence, name=name,
                rewrites=tuple(rewrites) or None, examples=examples, operators=operators,
            )  # fmt: skip
            decoder = TASKS.get(loaded.source.task)
            plans = plan(engines, precisions, threads, direct=bool(loaded.exporters) and not edits)
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
            passes = portable(upgrade=options.opset is None)
            optimized = run_verified(exported, passes, probe, signature_of(exported))
        with progress.stage("Compile the variants"):
            tailor = Tailor(probe)
            compiled = list(
                compile_all(
                    optimized.model, plans, data.calibration, stage / "artifacts",
                    progress.detail, tailor,
                    _program(loaded, exported, plans, bool(edits), scratch),
                )
            )  # fmt: skip
            optimized = replace(optimized, records=[*optimized.records, *tailor.records])
        with progress.stage("Compare with the source, time in turn, choose"):
            judge = Judge(truth, intended, decoder.has_classes)
            measured = measure(compiled, data, judge, threads, sessions)
            decisions = select(list(measured.values()), share)
        with progress.stage("Write the bundle"):
            files = share_files(compiled, decisions, stage)
            variants = variant_entries(compiled, measured, decisions, files, stage, threads)
            manifest = _manifest(
                loaded, exported, optimized, data, variants,
                cases=cases_of(data, truth, stage),
                provenance=_provenance(
                    loaded, made, optimized, data, source, weights, share,
                    notes=[missing] if report and (missing := report_problem()) else [],
                ),
            )  # fmt: skip
            if report and report_problem() is None:
                answers = _answers(compiled, variants[0], data, threads)
                shown = report_cases(data, truth, answers, manifest)
                _write_report(manifest, shown, stage / REPORT)
            finish(stage, manifest, output)
            show_report_beside(stage, output)
    return Bundle(output)


def _program(
    loaded: LoadedSource, exported: ir.Model, plans: Sequence[Plan], edited: bool, folder: Path
) -> Program | None:
    """What torch.export captures, where a plan needs it."""
    if not any(item.route == PROGRAM for item in plans):
        return None
    signature = signature_of(exported)
    if edited:
        return Program(signature, problem="edits change the graph alone")
    path = folder / "model.pt2"
    try:
        written = loaded.write_program(path)
    except ModelportError as error:
        return Program(signature, problem=str(error))
    return Program(signature, path) if written else Program(signature)


def _options(
    export: ExportOptions | None, opset: int | None, output_names: Sequence[str] | None
) -> ExportOptions:
    """The options, with what has an argument of its own put in."""
    options = export or ExportOptions()
    return replace(
        options,
        opset=options.opset if opset is None else opset,
        output_names=options.output_names if output_names is None else output_names,
    )


def parse_budget(budget: float | str) -> float:
    """A share between 0 and 1, from a number or from text such as `1%` or `0.01`."""
    try:
        text = str(budget).strip()
        share = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise UsageError(
            f"The budget {budget!r} cannot be read",
            expected="a percentage such as 1%, or a share between 0 and 1",
        )
    return share


def read_labels(labels: Sequence[str] | str | Path | None) -> list[str] | None:
    """Labels as given, or from a text file with one to a line."""
    if labels is None or not isinstance(labels, (str, Path)):
        return None if labels is None else [str(label) for label in labels]
    path = Path(labels)
    if not path.is_file():
        raise UsageError(
            f"There is no labels file {path}", expected="a text file with one class name to a line"
        )
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise UsageError(
            f"The labels file {path} is not UTF-8 text",
            expected="a text file with one class name to a line",
        ) from error


def _answers(
    compiled: Sequence[Compiled], chosen: VariantEntry, data: Data, threads: int
) -> list[Outputs]:
    item = next(item for item in compiled if item.plan.name == chosen.name)
    assert item.artifact is not None
    with ENGINES.get(chosen.engine).load(item.artifact, threads=threads) as session:
        return run_all(session, data.feeds)


def _write_report(manifest: Manifest, cases: Sequence[ReportCase], path: Path) -> None:
    from modelport.report.html import write_report  # imports what the extra `report` installs

    write_report(manifest, cases, path)


def _manifest(
    loaded: LoadedSource,
    exported: ir.Model,
    optimized: Optimized,
    data: Data,
    variants: tuple[VariantEntry, ...],
    *,
    cases: tuple[CaseEntry, ...],
    provenance: Provenance,
) -> Manifest:
    source = loaded.source
    return Manifest(
        name=loaded.name,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        licence=source.licence,
        signature=SignatureEntry.of(signature_of(optimized.model)),
        transforms=transform_words.dump(source.transforms),
        task=TaskEntry(name=source.task, parameters=dict(source.parameters)),
        labels=None if source.labels is None else tuple(source.labels),
        default=variants[0].name,
        variants=variants,
        cases=cases,
        provenance=provenance,
    )


def _name_of(source: Any, loaded: LoadedSource) -> str:
    """As the user wrote it, but for folders of their machine; the class of a module."""
    if isinstance(source, (str, Path)):
        return Path(source).name if Path(source).is_absolute() else str(source)
    return type(loaded.source.model).__qualname__


def _provenance(
    loaded: LoadedSource,
    made: ExportedGraph,
    optimized: Optimized,
    data: Data,
    source: Any,
    weights: str | Path | None,
    budget: float,
    notes: list[str],
) -> Provenance:
    cost = cost_of(optimized.model)
    return Provenance(
        source=_name_of(source, loaded),
        weights=None if weights is None else Path(weights).name,
        weights_sha256=None if weights is None else hashed(Path(weights)),
        opset=made.graph.opset_imports.get(""),
        versions=versions(),
        machine=describe_machine(),
        budget=budget,
        calibration_samples=len(data.calibration),
        verification_samples=len(data.samples),
        verification_data=data.origin,
        held_out=data.held_out,
        operators_before=operator_counts(made.graph),
        operators_after=operator_counts(optimized.model),
        cost=vars(cost),
        exporter=made.exporter,
        exporter_reason=made.reason,
        export_attempts=tuple(made.attempts),
        rewrites=tuple(RewriteEntry(**asdict(fired)) for fired in made.fired),
        passes=tuple(PassEntry(**record.to_json()) for record in optimized.records),
        notes=(*loaded.notes, *data.notes, *notes),
    )
