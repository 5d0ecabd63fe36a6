"""Runs passes on a graph, checks them on real feeds, and rolls back the one that changes results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import onnx_ir as ir

from modelport.engines import ENGINES
from modelport.engines.scratch import opened
from modelport.errors import ModelportError, UsageError, VerificationError
from modelport.feeds import random_feeds
from modelport.graph import invariants, io, provenance
from modelport.graph.query import is_quantized, signature_of
from modelport.passes.base import GraphPass, Refusal
from modelport.passes.pipelines import for_engine, may_need_repair, portable, repairing
from modelport.types import Feeds, Outputs, Signature, Target
from modelport.verify.compare import compare, run_all

if TYPE_CHECKING:
    from modelport.frontends.network import Network

MOST_ROUNDS = 4
"""One pass may uncover work for another; more rounds than this have never found any."""

ROUNDED = "fp16"
"""The precision whose tolerance a quantized graph has after a pass that rounds: a number that differs in its
last bit may go to the next step of its grid, and so may all that follows from it."""

Probe: TypeAlias = Callable[[ir.Model], list[Outputs]]
"""Outputs of a model for the probing feeds."""


@dataclass
class PassRecord:
    """What one pass did over all rounds."""

    name: str
    summary: str
    changed: bool = False
    removed_nodes: int = 0
    rejected: str | None = None
    refusals: list[Refusal] = field(default_factory=list)
    engine: str | None = None
    """The engine that alone it ran for; None for the portable passes."""

    def note(self, modified: bool, refusals: list[Refusal], before: int, after: int) -> None:
        self.changed |= modified
        self.removed_nodes += before - after
        self.refusals = refusals  # those of the last round, when everything else has been done

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Optimized:
    """An optimised model, and the record of every pass."""

    model: ir.Model
    records: list[PassRecord]
    checked: bool


def optimize(
    source: str | Path | ir.Model | Network,
    *,
    feeds: Sequence[Feeds] | None = None,
    check: bool = True,
    upgrade: bool = True,
    engine: str | None = None,
    also: Sequence[str] = (),
) -> Optimized:
    """Optimises an ONNX file, graph or network with the portable pipeline; the original stays as it is.

    Args:
        feeds: what to check on; by default two random feeds of the smallest shapes.
        check: whether to compare the results with those of the original.
        upgrade: whether an old opset may be raised to 20, which some fusions need.
        engine: one whose own passes run too, after the portable ones.
        also: names of further passes, which run last.

    Returns:
        The optimised graph. A pass that changed the results, or broke the graph, is left out of it,
        and its record says so.
    """
    if isinstance(source, (str, Path)):
        model = io.load(Path(source))
    else:
        model = source.clone() if isinstance(source, ir.Model) else source.build()
    provenance.adopt_torch_metadata(model)
    passes = [*portable(upgrade=upgrade), *_asked_for(engine, also)]
    if may_need_repair(model):
        repaired = run_unverified(model, repairing())
        repairs = [record for record in repaired.records if record.changed]
        if repairs:
            made = optimize(
                repaired.model, feeds=feeds, check=check, upgrade=upgrade, engine=engine, also=also
            )
            return replace(made, records=[*repairs, *made.records])
    if not check:
        return run_unverified(model, passes)
    signature = signature_of(model)
    if feeds is None:
        feeds = [random_feeds(signature, seed) for seed in (1, 2)]
    return run_verified(model, passes, probe_with(feeds), signature)


def _asked_for(engine: str | None, also: Sequence[str]) -> list[GraphPass]:
    """The passes of an engine and those named, between the two that go around any others."""
    needs = ENGINES.get(engine).rules.legalize if engine else ()
    return for_engine(engine or "", [*needs, *also])


def probe_with(feeds: Sequence[Feeds]) -> Probe:
    """A probe that runs models with ONNX Runtime on those feeds."""
    if not feeds:
        raise UsageError("There are no feeds to check the passes on")

    def probe(model: ir.Model) -> list[Outputs]:
        with opened(ENGINES.get("onnxruntime"), model, Target()) as session:
            return run_all(session, feeds)

    return probe


def run_unverified(model: ir.Model, passes: Sequence[GraphPass]) -> Optimized:
    """Runs the passes on a copy and trusts them."""
    copy = model.clone()
    records = {step.name: PassRecord(step.name, step.summary) for step in passes}
    _run(copy, [*passes] * MOST_ROUNDS, records)
    return Optimized(copy, list(records.values()), checked=False)


def run_verified(
    model: ir.Model, passes: Sequence[GraphPass], probe: Probe, signature: Signature
) -> Optimized:
    """Runs the passes; where results change, finds the pass by bisection and leaves it out.

    One comparison is enough where all is well, which is the usual case.

    Raises:
        VerificationError: where the model does not agree with itself.
    """
    check = _Check(probe, probe(model), signature, is_quantized(model))
    rejected: dict[str, str] = {}
    while True:
        steps = [step for step in passes if step.name not in rejected]
        records = {step.name: PassRecord(step.name, step.summary) for step in passes}
        problem, optimized = check.after(model, steps * MOST_ROUNDS, records)
        if problem is None and optimized is not None:
            for name, reason in rejected.items():
                records[name].rejected = reason
            return Optimized(optimized, list(records.values()), checked=True)
        if not steps:
            raise VerificationError(
                f"Without any pass, running the model twice does not agree: {problem}",
                expected="equal results for equal feeds",
                hint="Look for random operations and for values that are not finite, or leave the "
                "check out",
            )
        culprit, reason = _culprit(model, steps * MOST_ROUNDS, check)
        rejected[culprit.name] = reason


def _culprit(model: ir.Model, steps: list[GraphPass], check: _Check) -> tuple[GraphPass, str]:
    """The first step after which the results differ, and what differs then."""
    good, bad, reason = 0, len(steps), ""
    while bad - good > 1:
        middle = (good + bad) // 2
        problem, _ = check.after(model, steps[:middle])
        if problem is None:
            good = middle
        else:
            bad, reason = middle, problem
    return steps[bad - 1], reason or check.after(model, steps[:bad])[0] or "it changed the results"


@dataclass(frozen=True)
class _Check:
    """Compares what steps make of a model with what the model gave."""

    probe: Probe
    expected: list[Outputs]
    signature: Signature
    quantized: bool

    def after(
        self,
        model: ir.Model,
        steps: Sequence[GraphPass],
        records: dict[str, PassRecord] | None = None,
    ) -> tuple[str | None, ir.Model | None]:
        """What is wrong after those steps, in words, or None; and the model they made."""
        copy = model.clone()
        try:
            exact = _run(copy, steps, records)
        except Exception as error:  # whatever a pass raises, it is that pass's failure
            return f"it broke the graph: {error}", None
        try:
            outputs = self.probe(copy)
        except ModelportError as error:
            return f"the model no longer runs: {error}", None
        precision = ROUNDED if self.quantized and not exact else "fp32"
        fidelity = compare(self.expected, outputs, self.signature, precision, classes=False)
        if not fidelity.passed:
            return f"it changed the results: {'; '.join(fidelity.reasons)}", None
        return None, copy


def _run(
    model: ir.Model,
    steps: Sequence[GraphPass],
    records: dict[str, PassRecord] | None = None,
) -> bool:
    """Applies the steps in place and notes what they did; each must leave a well-formed graph.

    Returns whether all that changed anything are exact.

    The steps are rounds of the same passes. One that found nothing finds nothing again until another
    has changed the graph, and is left out until then.
    """
    changes, exact = 0, True
    settled: dict[str, int] = {}
    for step in steps:
        if settled.get(step.name) == changes:
            continue
        before = model.graph.num_nodes()
        modified = step(model).modified
        if modified:
            invariants.check(model)
            changes, exact = changes + 1, exact and step.exact
        else:
            settled[step.name] = changes
        if records is not None:
            records[step.name].note(modified, step.refusals, before, model.graph.num_nodes())
    return exact
