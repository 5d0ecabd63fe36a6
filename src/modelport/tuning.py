"""Searches what is fastest on this machine for a model, within the user's budgets."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelport.deploy import parse_budget
from modelport.deployment.opening import STAGES as OPENING_STAGES
from modelport.deployment.opening import Opened, prepared
from modelport.deployment.package import report_problem
from modelport.deployment.searching import ARTIFACTS, TRIALS, Question, Searched, search
from modelport.errors import UsageError
from modelport.frontends import ExportOptions, LoadedSource, open_source
from modelport.machine import describe_machine
from modelport.progress import Silent
from modelport.runtime import transforms as transform_words
from modelport.tune.front import front
from modelport.tune.limits import NO_LIMITS, Limits
from modelport.tune.select import Candidate, Decision
from modelport.tune.space import thread_counts
from modelport.variants import Plan, plan, timed_engines

if TYPE_CHECKING:
    from modelport.frontends.rewrites import Rewrite

STAGES = OPENING_STAGES + 1
SUMMARY, PLOT = "tuning.json", "pareto.svg"


@dataclass(frozen=True)
class Tuning:
    """What a search found.

    Attributes:
        path: the folder, which `deploy` takes as `trials`.
        candidates: everything that could be chosen, in the order of the space; those with `tried` false
            were spared.
        decisions: by name, with reasons.
        seconds: how long it took, without what was known from before.
        resumed: how many outcomes were known from before.
        notes: what the user should know.
    """

    path: Path
    candidates: list[Candidate]
    decisions: dict[str, Decision]
    seconds: float
    resumed: int
    notes: tuple[str, ...] = ()

    @property
    def chosen(self) -> Candidate:
        return next(c for c in self.candidates if self.decisions[c.name].verdict == "chosen")

    @property
    def front(self) -> list[Candidate]:
        """Candidates than which none is both faster and closer to the source, from fast to slow."""
        return front(self.candidates)

    def to_json(self) -> dict[str, Any]:
        ends = {candidate.name for candidate in self.front}
        return {
            "chosen": self.chosen.name,
            "seconds": round(self.seconds, 1),
            "resumed": self.resumed,
            "machine": describe_machine(),
            "notes": list(self.notes),
            "candidates": [
                {**_row(candidate), **asdict(self.decisions[candidate.name]),
                 "on_front": candidate.name in ends}
                for candidate in self.candidates
            ],
        }  # fmt: skip


def _row(candidate: Candidate) -> dict[str, Any]:
    fidelity, latency = candidate.fidelity, candidate.latency
    return {
        "name": candidate.name,
        "tried": candidate.tried,
        "latency_ms": None if latency is None else latency.median_ms,
        "rounds": None if latency is None else latency.rounds,
        "loss": None if fidelity is None else fidelity.loss,
        "samples": None if fidelity is None else fidelity.samples,
        "size_bytes": candidate.size_bytes,
        "memory_bytes": candidate.memory_bytes,
        "start_up_ms": candidate.start_up_ms,
    }


def tune(
    source: Any,
    inputs: Any = None,
    *,
    output: str | Path,
    weights: str | Path | None = None,
    calibration: str | Path | None = None,
    verification: str | Path | None = None,
    budget: float | str = 0.01,
    limits: Limits = NO_LIMITS,
    engines: Sequence[str] | None = None,
    precisions: Sequence[str] | None = None,
    threads: Sequence[int] | None = None,
    layouts: bool = True,
    exhaustive: bool = False,
    transforms: Sequence[transform_words.Transform] | None = None,
    task: str | None = None,
    export: ExportOptions | None = None,
    rewrites: Sequence[Rewrite] = (),
    examples: Any = None,
    operators: Any = None,
    overwrite: bool = False,
    progress: Silent | None = None,
) -> Tuning:
    """Searches engines, precisions, routes, layouts and numbers of threads.

    A search that was stopped goes on where it was when it is asked again with the same folder.

    Args:
        source, inputs, weights, calibration, verification, transforms, task, export, rewrites, examples,
            operators: as of `deploy`.
        output: a folder for what is tried; `deploy` takes it as `trials`.
        budget: largest accepted loss of fidelity, as a share (0.01) or in words (`"1%"`).
        limits: what else a variant may cost at most.
        engines: names; by default all that run here, but for emulators, whose times say nothing.
        precisions: names; by default those that each engine has.
        threads: numbers to try; by default powers of two up to the processor's.
        layouts: whether to try layouts beside the engines' own choice.
        exhaustive: whether to try everything to the end, which takes many times as long.
        overwrite: whether to forget what the folder has.
        progress: who hears about the stages.

    Raises:
        BudgetError: where nothing that runs here is close enough and keeps the limits.
        ModelportError: whatever else goes wrong; outcomes so far stay in the folder.
    """
    progress, folder = progress or Silent(), Path(output)
    share, options = parse_budget(budget), export or ExportOptions()
    _check_folder(folder, overwrite)
    begun = time.perf_counter()
    plans: list[Plan] = []

    def open_it() -> LoadedSource:
        loaded = open_source(
            source, inputs=inputs, weights=weights, options=options, transforms=transforms, task=task,
            rewrites=tuple(rewrites) or None, examples=examples, operators=operators,
        )  # fmt: skip
        direct = bool(loaded.exporters)
        plans.extend(
            plan(engines or timed_engines(), precisions, 0, direct=direct, layouts=layouts)
        )
        return loaded

    with ExitStack() as sessions:
        opened = prepared(
            open_it, progress, sessions, calibration=calibration, verification=verification,
            upgrade=options.opset is None,
        )  # fmt: skip
        counts = sorted(threads, reverse=True) if threads else thread_counts()
        question = Question(plans, share, limits, counts, exhaustive)
        with progress.stage("Search"):
            found = search(opened, question, folder, progress.step, keep=True)
    made = _tuning(opened, found, folder, time.perf_counter() - begun)
    _write(made, share)
    return made


def _tuning(opened: Opened, found: Searched, folder: Path, seconds: float) -> Tuning:
    notes = [*opened.loaded.notes, *opened.data.notes]
    if report_problem() is not None:
        notes.append(f'there is no {PLOT}, which needs: pip install "modelport[report]"')
    candidates = list(found.candidates.values())
    return Tuning(folder, candidates, found.decisions, seconds, found.resumed, tuple(notes))


def _write(made: Tuning, budget: float) -> None:
    text = json.dumps(made.to_json(), indent=1, ensure_ascii=False)
    (made.path / SUMMARY).write_text(text + "\n", encoding="utf-8")
    if report_problem() is None:
        from modelport.report.pareto import write_plot  # imports what the extra `report` installs

        write_plot(made.candidates, made.decisions, budget, made.path / PLOT)


def _check_folder(folder: Path, overwrite: bool) -> None:
    """What is not of a search is never touched."""
    strange = folder.exists() and not (
        folder.is_dir() and ((folder / TRIALS).is_file() or not any(folder.iterdir()))
    )
    if strange:
        raise UsageError(
            f"{folder} exists, and no search has written it", hint="Choose another folder with -o"
        )
    if overwrite:
        (folder / TRIALS).unlink(missing_ok=True)
        shutil.rmtree(folder / ARTIFACTS, ignore_errors=True)
