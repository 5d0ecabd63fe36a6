"""The search over engines, precisions, routes, layouts and threads, for `deploy` and `tune`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from modelport.deployment.bench import Bench
from modelport.deployment.opening import Opened
from modelport.engines import ENGINES
from modelport.engines.cache import features
from modelport.engines.routes import PROGRAM
from modelport.graph.content import digest
from modelport.machine import describe_machine, versions
from modelport.optimization import PassRecord
from modelport.tailoring import Tailor
from modelport.tune.experience import Experience
from modelport.tune.ledger import Ledger
from modelport.tune.limits import NO_LIMITS, Limits
from modelport.tune.notebook import Notebook, experience_folder
from modelport.tune.search import Search
from modelport.tune.select import Candidate, Decision, select
from modelport.tune.space import Choice
from modelport.types import QUANTIZED, Feeds
from modelport.variants import Compiled, Compiler, Plan

TRIALS = "trials.jsonl"
ARTIFACTS = "artifacts"


@dataclass(frozen=True)
class Searched:
    """What a search found of each choice, in the order of the space.

    Attributes:
        decisions: by name; one of them is chosen.
        records: what the passes of engines did.
        resumed: how many outcomes were there already.
    """

    choices: list[Choice]
    compiled: list[Compiled]
    candidates: dict[str, Candidate]
    decisions: dict[str, Decision]
    records: list[PassRecord]
    resumed: int


@dataclass(frozen=True)
class Question:
    """What a search is asked.

    Attributes:
        budget: largest accepted loss of fidelity, as a share.
        threads: numbers to try, the largest first; `[0]` leaves it to the engines.
        exhaustive: whether to try everything to the end.
    """

    plans: Sequence[Plan]
    budget: float
    limits: Limits = NO_LIMITS
    threads: Sequence[int] = (0,)
    exhaustive: bool = False


def space_of(plans: Sequence[Plan], threads: Sequence[int]) -> list[Choice]:
    """Every plan with every number of threads."""
    firsts: dict[str, str] = {}
    choices = []
    for plan in plans:
        layout = plan.target.layout
        kind = plan.name.removesuffix(f"-{layout}") if layout else plan.name
        first = firsts.setdefault(plan.family, kind) == kind
        choices += [
            Choice(
                kind, plan.family, count, first, layout, plan.base,
                direct=plan.route == PROGRAM, quantized=plan.target.precision in QUANTIZED,
            )
            for count in threads
        ]  # fmt: skip
    return choices


def search(
    opened: Opened,
    question: Question,
    folder: Path,
    tell: Callable[[str, int, int], None],
    *,
    keep: bool,
) -> Searched:
    """Searches; what is compiled goes below `folder/artifacts`.

    Args:
        keep: whether outcomes are kept in the folder, and taken from there.

    Raises:
        BudgetError: where nothing that runs here is close enough and keeps the limits.
        UsageError: where the folder holds the outcomes of another question.
    """
    choices = space_of(question.plans, question.threads)
    asked = _asked(opened)
    ledger = Ledger(folder / TRIALS, asked) if keep else Ledger()
    notes = Notebook(experience_folder(features()), asked["model"], _engine_versions())
    learnt = ledger.once("experience", lambda: notes.of_others().to_json())
    tailor = Tailor(opened.probe)
    with ExitStack() as stack:
        program = None
        if any(plan.route == PROGRAM for plan in question.plans):
            scratch = stack.enter_context(TemporaryDirectory(prefix="modelport-"))
            program = opened.program(Path(scratch))
        compiler = Compiler(
            opened.optimized.model, opened.data.calibration, folder / ARTIFACTS, tailor, program
        )
        plans = {plan.name: plan for plan in question.plans}
        bench = stack.enter_context(Bench(plans, compiler, opened.data, opened.judge, ledger))
        run = Search(choices, bench, question.budget, question.limits, tell, Experience(learnt))
        found = run.exhaustive() if question.exhaustive else run.halving()
        engines = {choice.name: plans[choice.artifact].engine for choice in choices}
        notes.write(run.relative(), engines)
        decisions = select(found, question.budget, question.limits)
        return Searched(
            choices,
            [bench.compiled(choice) for choice in choices],
            {candidate.name: candidate for candidate in found},
            decisions,
            tailor.records,
            ledger.found,
        )


def _asked(opened: Opened) -> dict[str, str]:
    """What outcomes depend on: those of another model, machine or version are not these."""
    data = opened.data
    return {
        "model": digest(opened.optimized.model),
        "verification data": _digest(data.feeds),
        "calibration data": _digest(data.calibration),
        "software": json.dumps({**versions(), **_engine_versions()}, sort_keys=True),
        "machine": json.dumps(describe_machine(), sort_keys=True),
    }


def _engine_versions() -> Mapping[str, str]:
    members = {name: ENGINES.get(name) for name in ENGINES}
    return {name: engine.version() for name, engine in members.items() if not engine.for_tests}


def _digest(feeds: Sequence[Feeds]) -> str:
    found = hashlib.sha256()
    for feed in feeds:
        for name in sorted(feed):
            found.update(f"\0{name}\0{feed[name].shape}\0".encode())
            found.update(feed[name].tobytes())
    return found.hexdigest()
