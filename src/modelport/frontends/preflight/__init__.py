"""What will go wrong in an export, found before one: run, read and tried, each with its line.

The module runs as it is, on several inputs, watched; what it does with sizes is read from the lines
that ran; torch.export is tried, and every operator of its program is looked up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from modelport.engines import ENGINES
from modelport.frontends.preflight.conversions import conversion_findings
from modelport.frontends.preflight.exporting import (
    Attempt,
    attempt,
    baked,
    failure,
    run_failure,
    sizes_vary,
)
from modelport.frontends.preflight.finding import Finding, Preflight
from modelport.frontends.preflight.lacking import lacking
from modelport.frontends.preflight.modes import resting
from modelport.frontends.preflight.repeat import Repetition, constant_outputs, repeat
from modelport.frontends.preflight.runs import Arguments, Run, Runner, varied
from modelport.frontends.preflight.sizes import size_findings
from modelport.frontends.preflight.state import State
from modelport.frontends.rewrites import Rewrite, applied

__all__ = ["Finding", "Preflight", "examine"]


NO_LIBRARIES: Mapping[str, Sequence[str]] = MappingProxyType({})


def examine(
    module: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    other: Sequence[Arguments] = (),
    engines: Sequence[str] = (),
    opset: int = 20,
    rewrites: Sequence[Rewrite] = (),
    libraries: Mapping[str, Sequence[str]] = NO_LIBRARIES,
) -> Preflight:
    """Looks for everything in a module that would stop its export, or make it wrong.

    The module is left as it was: its mode, its buffers and its attributes.

    Args:
        args, kwargs: example arguments of forward.
        other: further arguments with other values, and other sizes where sizes are to be free; without
            them the elements of the example are shuffled and negated.
        engines: names of engines whose operators must do.
        opset: version of the standard operators that will be written.
        rewrites: the user's own, beside the registered ones.
        libraries: of operators, by engine.

    Raises:
        UsageError: for an unknown engine, or a rewrite that can't be meant.
    """
    for name in engines:
        ENGINES.get(name)
    example: Arguments = (args, kwargs)
    with torch.random.fork_rng(devices=[]), resting(module) as modes:
        runner = Runner(module)
        state = State(module)
        try:
            repetition = repeat(runner, state, example)
            others = _others(runner, state, example, other)
            found = [*modes, *repetition.findings]
            if repetition.first.error is not None:
                found += _of_a_failing_run(runner, repetition.first)
            else:
                engine = engines[0] if len(engines) == 1 else None
                with applied(module, exporter="torch.export", engine=engine, extra=rewrites) as on:
                    attempted = attempt(on, runner, example, [a for a, _ in others], opset)
                    found += _of_an_export(attempted, runner, repetition, example, others)
                    if engines and attempted.whole:
                        found += lacking(attempted, runner.places, engines, opset, libraries)
        finally:
            state.restore()
    return Preflight.of(found)


def _others(
    runner: Runner, state: State, example: Arguments, other: Sequence[Arguments]
) -> list[tuple[Arguments, Run]]:
    """Other arguments with what they gave; those that the module refuses are left out."""
    made = []
    for arguments in other or [varied(example)]:
        made.append((arguments, runner.run(arguments)))
        state.restore()
    return [(arguments, run) for arguments, run in made if run.error is None]


def _of_a_failing_run(runner: Runner, run: Run) -> Iterator[Finding]:
    assert run.error is not None
    read = list(size_findings(runner.lines, free=False))
    broken = run_failure(run.error, runner.places)
    # A shape that is assigned to raises by itself; the finding says more than Python does.
    if not any(each.kind == "shape-edit" and _same_line(each, broken) for each in read):
        yield broken
    yield from read


def _of_an_export(
    attempted: Attempt,
    runner: Runner,
    repetition: Repetition,
    example: Arguments,
    others: Sequence[tuple[Arguments, Run]],
) -> Iterator[Finding]:
    runs = [repetition.first, *(run for _, run in others)]
    free = sizes_vary(example, [arguments for arguments, _ in others])
    seen = [
        *conversion_findings(runs, attempted.whole),
        *size_findings(runner.lines, free=free),
    ]
    if attempted.error is not None:
        seen = _with_failure(seen, attempted.error, runner)
    yield from seen
    yield from attempted.untranslated
    yield from constant_outputs(repetition.first, [run for _, run in others], runner.places)
    steady = not repetition.findings and all(each.severity != "error" for each in seen)
    if attempted.whole and steady:
        wrong = baked(attempted, [(arguments, run.outputs) for arguments, run in others])
        if wrong is not None:
            yield wrong


def _with_failure(seen: list[Finding], error: Exception, runner: Runner) -> list[Finding]:
    """Adds why torch.export fails, or makes an error of the finding that is the reason."""
    reason, depends = failure(error, runner.places)
    if reason.file is None:
        guilty = [each for each in seen if each.kind in ("shape-edit", "numpy")]
    else:
        guilty = [each for each in seen if _same_line(each, reason)]
    if not guilty:
        return [*seen, reason]
    if depends:  # whether it is an error depends on whether the value moves, which is known
        return seen
    return [replace(each, severity="error") if each in guilty else each for each in seen]


def _same_line(one: Finding, other: Finding) -> bool:
    if one.file is None or other.file is None:
        return False
    return (Path(one.file).name, one.line) == (Path(other.file).name, other.line)
