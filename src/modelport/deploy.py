"""The main job, from a trained model to a proven bundle.

open the source -> export -> prove the export -> optimise -> compile variants
-> compare each with the source -> time them in turn -> choose -> write the bundle
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

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
from modelport.deployment.data import Data
from modelport.deployment.measure import measure
from modelport.deployment.opening import STAGES as OPENING_STAGES
from modelport.deployment.opening import Opened, prepared
from modelport.deployment.package import (
    REPORT,
    cases_of,
    hashed,
    report_cases,
    report_problem,
    share_files,
    show_report_beside,
    taken_along,
    transform_entries,
    variant_entries,
)
from modelport.deployment.searching import Question, search
from modelport.engines import ENGINES
from modelport.engines.routes import PROGRAM
from modelport.errors import UsageError
from modelport.frontends import ExportOptions, LoadedSource, Source, open_source
from modelport.graph.query import operator_counts, signature_of
from modelport.machine import describe_machine, versions
from modelport.profile.cost import cost_of
from modelport.progress import Silent
from modelport.report.data import ReportCase
from modelport.runtime import transforms as transform_words
from modelport.runtime.tasks import TASKS
from modelport.tailoring import Tailor
from modelport.tune.limits import NO_LIMITS, Limits
from modelport.tune.select import Candidate, Decision, select
from modelport.tune.space import thread_counts
from modelport.types import Blob, Outputs
from modelport.variants import Compiled, Plan, compile_all, plan, timed_engines
from modelport.verify.compare import run_all

if TYPE_CHECKING:
    from modelport.frontends.rewrites import Rewrite

AUTO = "auto"
"""The target that means: whatever is fastest on this machine."""

STAGES = OPENING_STAGES + 3


def deploy(
    source: Any,
    inputs: Any = None,
    *,
    output: str | Path,
    weights: str | Path | None = None,
    calibration: str | Path | None = None,
    verification: str | Path | None = None,
    budget: float | str = 0.01,
    limits: Limits = NO_LIMITS,
    target: str | None = None,
    trials: str | Path | None = None,
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
        limits: what else a variant may cost at most.
        target: `auto` searches engines, precisions, routes, layouts and numbers of threads for what
            is fastest on this machine, as `modelport.tune` does; None tries what the next two say.
        trials: a folder of `modelport.tune`, whose outcomes such a search takes and adds to.
        engines: names to try, or `["all"]`; by default ONNX Runtime and OpenVINO where they are, and
            for the target `auto` all of this machine.
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
    _check_target(target, trials)
    with staged(output, overwrite=overwrite) as stage, ExitStack() as sessions:

        def open_it() -> LoadedSource:
            loaded = open_source(
                source, inputs=inputs, weights=weights, options=options, transforms=transforms,
                task=task, labels=read_labels(labels), licence=licence, name=name,
                rewrites=tuple(rewrites) or None, examples=examples, operators=operators,
            )  # fmt: skip
            direct = bool(loaded.exporters) and not edits
            if target == AUTO:
                plans.extend(
                    plan(engines or timed_engines(), precisions, 0, direct=direct, layouts=True)
                )
            else:
                plans.extend(plan(engines, precisions, threads, direct=direct))
            return loaded

        plans: list[Plan] = []
        opened = prepared(
            open_it, progress, sessions, calibration=calibration, verification=verification,
            edits=edits, upgrade=options.opset is None,
        )  # fmt: skip
        if target == AUTO:
            counts = [threads] if threads else thread_counts()
            question = Question(plans, share, limits, counts)
            tried = _searched(opened, question, stage, trials, progress)
        else:
            tried = _tried(opened, plans, share, limits, threads, stage, progress)
        compiled, decisions, opened = tried.compiled, tried.decisions, tried.opened
        with progress.stage("Write the bundle"):
            files = share_files(compiled, decisions, stage)
            variants = variant_entries(compiled, tried.measured, decisions, files, stage, threads)
            notes = [missing] if report and (missing := report_problem()) else []
            manifest = _manifest(
                opened, variants,
                transforms=transform_entries(opened.loaded.source.transforms, stage),
                cases=cases_of(opened.data, opened.truth, stage),
                provenance=_provenance(opened, source, weights, share, notes),
            )  # fmt: skip
            if report and report_problem() is None:
                answers = _answers(compiled, variants[0], opened.data, threads, stage)
                shown = report_cases(opened.data, opened.truth, answers, manifest)
                _write_report(manifest, shown, stage / REPORT)
            finish(stage, manifest, output)
            show_report_beside(stage, output)
    return Bundle(output)


@dataclass(frozen=True)
class _Tried:
    """What became of the variants, by name; and the source with what engines' passes did to it."""

    compiled: list[Compiled]
    measured: dict[str, Candidate]
    decisions: dict[str, Decision]
    opened: Opened


def _tried(
    opened: Opened,
    plans: Sequence[Plan],
    budget: float,
    limits: Limits,
    threads: int,
    stage: Path,
    progress: Silent,
) -> _Tried:
    """Compiles and measures every plan."""
    with progress.stage("Compile the variants"), TemporaryDirectory(prefix="modelport-") as scratch:
        direct = any(item.route == PROGRAM for item in plans)
        program = opened.program(Path(scratch)) if direct else None
        tailor = Tailor(opened.probe)
        graph, calibration = opened.optimized.model, opened.data.calibration
        folder = stage / "artifacts"
        compiled = list(
            compile_all(graph, plans, calibration, folder, progress.detail, tailor, program)
        )
    with (
        progress.stage("Compare with the source, time in turn, choose"),
        ExitStack() as sessions,
    ):
        measured = measure(compiled, opened.data, opened.judge, threads, sessions, limits)
        decisions = select(list(measured.values()), budget, limits)
    return _Tried(compiled, measured, decisions, opened.with_records(tailor.records))


def _searched(
    opened: Opened, question: Question, stage: Path, trials: str | Path | None, progress: Silent
) -> _Tried:
    """Searches the plans; what was not even compiled is left out."""
    folder = stage if trials is None else Path(trials)
    with progress.stage("Search engines, precisions, routes, layouts and threads"):
        found = search(opened, question, folder, progress.step, keep=trials is not None)
    compiled = [item for item in found.compiled if found.candidates[item.plan.name].tried]
    if trials is not None:
        compiled = taken_along(compiled, found.decisions, stage)
    return _Tried(compiled, found.candidates, found.decisions, opened.with_records(found.records))


def _check_target(target: str | None, trials: str | Path | None) -> None:
    if target not in (None, AUTO):
        raise UsageError(
            f"There is no target {target!r}", expected="auto, for what is fastest on this machine"
        )
    if trials is not None and target is None:
        raise UsageError("Trials are of a search", hint="Add --target auto, or leave --trials out")


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
    compiled: Sequence[Compiled], chosen: VariantEntry, data: Data, threads: int, stage: Path
) -> list[Outputs]:
    """What the chosen variant gives, from its files in the bundle: equal ones are there once."""
    item = next(item for item in compiled if item.plan.name == chosen.name)
    assert item.artifact is not None
    files = {role: Blob(stage / path) for role, path in chosen.files.items()}
    artifact = replace(item.artifact, files=files)
    with ENGINES.get(chosen.engine).load(artifact, threads=threads) as session:
        return run_all(session, data.feeds)


def _write_report(manifest: Manifest, cases: Sequence[ReportCase], path: Path) -> None:
    from modelport.report.html import write_report  # imports what the extra `report` installs

    write_report(manifest, cases, path)


def _manifest(
    opened: Opened,
    variants: tuple[VariantEntry, ...],
    *,
    transforms: tuple[dict[str, Any], ...],
    cases: tuple[CaseEntry, ...],
    provenance: Provenance,
) -> Manifest:
    source = opened.loaded.source
    return Manifest(
        name=opened.loaded.name,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        licence=source.licence,
        signature=SignatureEntry.of(signature_of(opened.optimized.model)),
        transforms=transforms,
        task=TaskEntry(name=source.task, parameters=_parameters(source)),
        labels=None if source.labels is None else tuple(source.labels),
        default=variants[0].name,
        variants=variants,
        cases=cases,
        provenance=provenance,
    )


def _parameters(source: Source) -> dict[str, Any]:
    """Those of the task that the source gives, a preset written out: production may have another."""
    given = TASKS.get(source.task).parameters(source.parameters)
    return dict(given.model_dump(mode="json", exclude_unset=True))


def _name_of(source: Any, loaded: LoadedSource) -> str:
    """As the user wrote it, but for folders of their machine; the class of a module."""
    named = source if isinstance(source, (str, Path)) else loaded.source.model
    if isinstance(named, (str, Path)):
        return Path(named).name if Path(named).is_absolute() else str(named)
    return type(loaded.source.model).__qualname__


def _provenance(
    opened: Opened, source: Any, weights: str | Path | None, budget: float, notes: list[str]
) -> Provenance:
    made, data, graph = opened.made, opened.data, opened.optimized.model
    return Provenance(
        source=_name_of(source, opened.loaded),
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
        operators_after=operator_counts(graph),
        cost=vars(cost_of(graph)),
        exporter=made.exporter,
        exporter_reason=made.reason,
        export_attempts=tuple(made.attempts),
        rewrites=tuple(RewriteEntry(**asdict(fired)) for fired in made.fired),
        passes=tuple(PassEntry(**record.to_json()) for record in opened.optimized.records),
        notes=(*opened.loaded.notes, *data.notes, *notes),
    )
