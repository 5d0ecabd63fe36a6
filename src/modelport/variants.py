"""Plans the variants worth trying and compiles them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from modelport.engines import ENGINES
from modelport.engines.base import Engine
from modelport.engines.routes import GRAPH, PROGRAM
from modelport.errors import EngineError, ModelportError, UsageError
from modelport.graph import operators
from modelport.optimization import run_unverified
from modelport.passes import PASSES
from modelport.passes.pipelines import LEGALIZING
from modelport.quantize import SCHEMES
from modelport.quantize.complete import complete
from modelport.quantize.nncf import applies, quantize
from modelport.quantize.schemes import Scheme
from modelport.tailoring import Tailor
from modelport.types import PRECISIONS, QUANTIZED, Artifact, Feeds, Signature, Target

OWN = "own"
"""What the rules of an engine say that quantizes by itself."""

ALL = "all"
"""In place of names: every engine that this machine has."""


@dataclass(frozen=True)
class Plan:
    """A variant to try: engine, precision, route, and the scheme where we quantize the graph.

    Attributes:
        title: what it is called, where that is not what it is made of.
    """

    engine: str
    target: Target
    scheme: Scheme | None = None
    route: str = GRAPH
    title: str = ""

    @property
    def name(self) -> str:
        return self.title or f"{self.engine}-{self.kind}"

    @property
    def family(self) -> str:
        """The engine and its way from PyTorch, in one name."""
        return f"{self.engine}-direct" if self.route == PROGRAM else self.engine

    @property
    def base(self) -> str:
        """Engine and precision or scheme, whatever the route and the layout."""
        return f"{self.engine}-{self.scheme.name if self.scheme else self.target.precision}"

    @property
    def kind(self) -> str:
        kind = self.scheme.name if self.scheme else self.target.precision
        ways = ["direct"] if self.route == PROGRAM else []
        return "-".join([kind, *ways, *filter(None, [self.target.layout])])


@dataclass(frozen=True)
class Program:
    """What torch.export captured, for engines that need no graph.

    Attributes:
        path: a `.pt2` file; None where there is none.
        problem: why there is none, in words.
    """

    signature: Signature
    path: Path | None = None
    problem: str = "the source is no PyTorch program"


@dataclass(frozen=True)
class Compiled:
    """What became of a plan: an artifact, or the reason why there is none."""

    plan: Plan
    artifact: Artifact | None = None
    problem: str | None = None


def plan(
    engines: Sequence[str] | None,
    precisions: Sequence[str] | None,
    threads: int,
    *,
    direct: bool = True,
    layouts: bool = False,
) -> list[Plan]:
    """Every combination of the engines, precisions, routes and schemes asked for.

    Args:
        engines: names, or `all`; by default those that a deployment considers.
        precisions: by default those that the engine knows.
        direct: whether to take the engine's own way from PyTorch too, where it has a graph's as well.
        layouts: whether to take every layout that an engine has, not its own choice alone.

    Raises:
        UsageError: for a name that does not exist.
    """
    for precision in precisions or ():
        if precision not in PRECISIONS:
            raise UsageError(
                f"There is no precision {precision!r}", expected=f"one of {', '.join(PRECISIONS)}"
            )
    return [
        item
        for name in _names(engines)
        for precision in precisions or ENGINES.get(name).precisions
        for layout in ("", *(ENGINES.get(name).layouts[1:] if layouts else ()))
        for item in _plans(
            ENGINES.get(name), Target(precision=precision, threads=threads, layout=layout), direct
        )
    ]


def timed_engines() -> list[str]:
    """Those that this machine has, and whose times are those of a device that is there."""
    members = (ENGINES.get(name) for name in ENGINES if not ENGINES.get(name).for_tests)
    return [
        engine.name
        for engine in members
        if engine.available() is None and engine.cannot_run() is None and not engine.emulates
    ]


def _names(engines: Sequence[str] | None) -> list[str]:
    if engines is None or not engines:
        return [name for name in ENGINES if ENGINES.get(name).deployable]
    if list(engines) == [ALL]:
        members = {name: ENGINES.get(name) for name in ENGINES}
        return [n for n, e in members.items() if not e.for_tests and e.available() is None]
    return list(engines)


def _plans(engine: Engine, target: Target, direct: bool) -> list[Plan]:
    """One for each scheme where we quantize the graph, one for each route where nobody does."""
    if target.precision in QUANTIZED and engine.rules.quantization != OWN:
        schemes = [SCHEMES.get(name) for name in SCHEMES]
        return [Plan(engine.name, target, s) for s in schemes if s.precision == target.precision]
    routes = engine.routes if direct else engine.routes[:1]
    return [Plan(engine.name, target, route=route) for route in routes]


def compile_all(
    model: ir.Model,
    plans: Sequence[Plan],
    calibration: Sequence[Feeds],
    directory: Path,
    announce: Callable[[str], None],
    tailor: Tailor | None = None,
    program: Program | None = None,
) -> Iterator[Compiled]:
    """Compiles the plans one by one; a plan that cannot be served says why and stops nobody.

    Artifacts go to `directory/<engine>-<kind>`. Equal files of several plans are kept once when the
    bundle is written.

    Args:
        tailor: runs the passes of each engine, and keeps the record of them.
        program: for plans of the direct route.
    """
    compiler = Compiler(model, calibration, directory, tailor, program)
    for item in plans:
        announce(item.name)
        yield compiler.compile(item)


class Compiler:
    """Compiles one plan after another; what several of them need is made once.

    Args: as of `compile_all`.
    """

    def __init__(
        self,
        model: ir.Model,
        calibration: Sequence[Feeds],
        directory: Path,
        tailor: Tailor | None = None,
        program: Program | None = None,
    ) -> None:
        self.directory = directory
        self.tailor = tailor or Tailor()
        self._model, self._calibration, self._program = model, calibration, program
        self._quantized: dict[tuple[str, bool], ir.Model | str] = {}

    def compile(self, item: Plan) -> Compiled:
        """The artifact, or the reason why there is none."""
        if (problem := ENGINES.get(item.engine).refuses(item.target)) is not None:
            return Compiled(item, problem=problem)
        if item.route == PROGRAM:
            return _compiled_directly(item, self._program, self._calibration, self.directory)
        completes = ENGINES.get(item.engine).rules.completes
        graph = self._model if item.scheme is None else self._graph_in(item.scheme, completes)
        if isinstance(graph, str):
            return Compiled(item, problem=graph)
        return _compiled(item, graph, self.directory, self.tailor, self._calibration)

    def _graph_in(self, scheme: Scheme, completed: bool) -> ir.Model | str:
        """The graph in that scheme, made once; or why there is none."""
        key = (scheme.name, completed)
        if key not in self._quantized:
            self._quantized[key] = (
                _completed(self._graph_in(scheme, False), self._calibration)
                if completed
                else _quantized(self._model, scheme, self._calibration)
            )
        return self._quantized[key]


def _quantized(model: ir.Model, scheme: Scheme, calibration: Sequence[Feeds]) -> ir.Model | str:
    """The quantized graph, or why there is none."""
    if not calibration:
        return f"{scheme.precision} needs calibration data: point --calibration at a folder of real inputs"
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


def _completed(model: ir.Model | str, calibration: Sequence[Feeds]) -> ir.Model | str:
    """The quantized graph with more values in integers, or why there is none."""
    if isinstance(model, str):
        return model
    try:
        completed = complete(model, calibration)
        operators.inherit(completed, model)
        return completed
    except ModelportError as error:
        return str(error)


def _compiled_directly(
    item: Plan, program: Program | None, calibration: Sequence[Feeds], directory: Path
) -> Compiled:
    if program is None or program.path is None:
        problem = "the source is no PyTorch program" if program is None else program.problem
        return Compiled(item, problem=f"{item.engine} was to compile PyTorch, but {problem}")
    folder = directory / item.name
    folder.mkdir(parents=True)
    engine = ENGINES.get(item.engine)
    feeds = _own_calibration(item, calibration)
    try:
        return Compiled(
            item,
            engine.compile_program(program.path, program.signature, item.target, folder, feeds),
        )
    except ModelportError as error:
        return Compiled(item, problem=str(error))


def _own_calibration(item: Plan, calibration: Sequence[Feeds]) -> Sequence[Feeds]:
    return calibration if item.target.precision in QUANTIZED and item.scheme is None else ()


def _compiled(
    item: Plan,
    graph: ir.Model,
    directory: Path,
    tailor: Tailor,
    calibration: Sequence[Feeds],
) -> Compiled:
    folder = directory / item.name
    folder.mkdir(parents=True)
    engine = ENGINES.get(item.engine)
    feeds = _own_calibration(item, calibration)
    try:
        return Compiled(item, _artifact(engine, graph, item.target, folder, tailor, feeds))
    except ModelportError as error:
        reason = operators.lacking(graph, engine.name)
        return Compiled(item, problem=str(error) if reason is None else ". ".join(reason))


def _artifact(
    engine: Engine,
    graph: ir.Model,
    target: Target,
    folder: Path,
    tailor: Tailor,
    calibration: Sequence[Feeds],
) -> Artifact:
    """A library may have a kernel for what would be taken apart, so that is first left whole."""
    if operators.declared(graph, engine.name):
        with suppress(EngineError):
            return engine.compile(tailor.fit(graph, engine, needs=()), target, folder)
    fitted = tailor.fit(graph, engine, engine.rules.legalize)
    return engine.compile(fitted, target, folder, calibration)
