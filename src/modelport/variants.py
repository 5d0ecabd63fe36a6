"""Plans the variants worth trying and compiles them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from modelport.engines import ENGINES
from modelport.engines.base import Engine
from modelport.errors import EngineError, ModelportError, UsageError
from modelport.graph import operators
from modelport.optimization import run_unverified
from modelport.passes import PASSES
from modelport.passes.pipelines import LEGALIZING
from modelport.quantize import SCHEMES
from modelport.quantize.nncf import applies, quantize
from modelport.quantize.schemes import Scheme
from modelport.tailoring import Tailor
from modelport.types import PRECISIONS, Artifact, Feeds, Target

QUANTIZED = "int8"


@dataclass(frozen=True)
class Plan:
    """A variant to try: engine, precision, and the scheme where the precision is int8."""

    engine: str
    target: Target
    scheme: Scheme | None = None

    @property
    def name(self) -> str:
        return f"{self.engine}-{self.scheme.name if self.scheme else self.target.precision}"


@dataclass(frozen=True)
class Compiled:
    """What became of a plan: an artifact, or the reason why there is none."""

    plan: Plan
    artifact: Artifact | None = None
    problem: str | None = None


def plan(
    engines: Sequence[str] | None, precisions: Sequence[str] | None, threads: int
) -> list[Plan]:
    """Every combination of the engines, precisions and schemes asked for.

    Raises:
        UsageError: for a name that does not exist.
    """
    wanted = list(precisions or PRECISIONS)
    for precision in wanted:
        if precision not in PRECISIONS:
            raise UsageError(
                f"There is no precision {precision!r}", expected=f"one of {', '.join(PRECISIONS)}"
            )
    names = list(engines) if engines else [n for n in ENGINES if ENGINES.get(n).deployable]
    plans = []
    for name in names:
        ENGINES.get(name)
        for precision in wanted:
            target = Target(precision=precision, threads=threads)
            schemes = [SCHEMES.get(s) for s in SCHEMES] if precision == QUANTIZED else [None]
            plans += [Plan(name, target, scheme) for scheme in schemes]
    return plans


def compile_all(
    model: ir.Model,
    plans: Sequence[Plan],
    calibration: Sequence[Feeds],
    directory: Path,
    announce: Callable[[str], None],
    tailor: Tailor | None = None,
) -> Iterator[Compiled]:
    """Compiles the plans one by one; a plan that cannot be served says why and stops nobody.

    Artifacts go to `directory/<engine>-<kind>`. Equal files of several plans are kept once when the
    bundle is written.

    Args:
        tailor: runs the passes of each engine, and keeps the record of them.
    """
    tailor = tailor or Tailor()
    quantized: dict[str, ir.Model | str] = {}
    for item in plans:
        announce(item.name)
        problem = ENGINES.get(item.engine).refuses(item.target)
        if problem is None and item.scheme is not None:
            made = quantized.get(item.scheme.name)
            if made is None:
                made = quantized[item.scheme.name] = _quantized(model, item.scheme, calibration)
            if isinstance(made, str):
                problem = made
        if problem is not None:
            yield Compiled(item, problem=problem)
            continue
        graph = model if item.scheme is None else quantized[item.scheme.name]
        assert isinstance(graph, ir.Model)
        yield _compiled(item, graph, directory, tailor)


def _quantized(model: ir.Model, scheme: Scheme, calibration: Sequence[Feeds]) -> ir.Model | str:
    """The quantized graph, or why there is none."""
    if not calibration:
        return "int8 needs calibration data: point --calibration at a folder of real inputs"
    reason = applies(model, scheme)
    if reason is not None:
        return reason
    try:
        legal = run_unverified(model, [PASSES.get(name) for name in LEGALIZING]).model
        quantized = quantize(legal, scheme, calibration)
        operators.inherit(quantized, model)
        return quantized
    except ModelportError as error:
        return str(error)


def _compiled(item: Plan, graph: ir.Model, directory: Path, tailor: Tailor) -> Compiled:
    kind = item.scheme.name if item.scheme else item.target.precision
    folder = directory / f"{item.engine}-{kind}"
    folder.mkdir(parents=True)
    engine = ENGINES.get(item.engine)
    try:
        return Compiled(item, _artifact(engine, graph, item.target, folder, tailor))
    except ModelportError as error:
        reason = operators.lacking(graph, engine.name)
        return Compiled(item, problem=str(error) if reason is None else ". ".join(reason))


def _artifact(
    engine: Engine, graph: ir.Model, target: Target, folder: Path, tailor: Tailor
) -> Artifact:
    """A library may have a kernel for what would be taken apart, so that is first left whole."""
    if operators.declared(graph, engine.name):
        with suppress(EngineError):
            return engine.compile(tailor.fit(graph, engine, needs=()), target, folder)
    return engine.compile(tailor.fit(graph, engine, engine.rules.legalize), target, folder)
