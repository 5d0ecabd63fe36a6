"""Runs a module again on the same input: randomness, state, and outputs that never move."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from modelport.frontends.preflight.finding import Finding, Place, finding
from modelport.frontends.preflight.places import Places
from modelport.frontends.preflight.runs import Arguments, Run, Runner
from modelport.frontends.preflight.state import State, state_findings


@dataclass
class Repetition:
    first: Run
    findings: list[Finding]


def repeat(runner: Runner, state: State, example: Arguments) -> Repetition:
    """Runs twice from the same state; and once from the state that the first run left behind."""
    first = runner.run(example)
    changes = state.changes()
    if first.error is not None:
        state.restore()
        return Repetition(first, [])
    follower = runner.run(example) if changes else None
    state.restore()
    again = runner.run(example)
    state.restore()
    if again.error is None and not first.agrees(again):
        return Repetition(first, list(_random(first, runner.places)))
    if follower is not None and (follower.error is not None or not first.agrees(follower)):
        return Repetition(first, list(state_findings(runner.module, changes)))
    return Repetition(first, [])


def _random(run: Run, places: Places) -> Iterator[Finding]:
    seen = [(each.name, each.place) for each in run.sightings if each.kind == "random"]
    forced = any(each.kind == "train-mode" for each in run.sightings)
    if forced and not seen:
        return  # the call that is told to train has a finding of its own
    for name, place in seen or [("", places.of_forward())]:
        what = f"{name} is random" if name else "Something outside torch is random"
        yield finding(
            "nondeterministic",
            "error",
            f"{what}, and the results differ each time on the same input",
            "Pass the random tensor in as an input, or leave it out in inference mode",
            place,
        )


def constant_outputs(first: Run, others: Sequence[Run], places: Places) -> Iterator[Finding]:
    """Outputs that are the same on every input."""
    for name, tensor in first.outputs.items():
        same = [run for run in others if name in run.outputs and _equal(run, name, tensor)]
        if not others or len(same) < len(others):
            continue
        place: Place = places.of_forward()
        if name in first.fixed:
            yield finding(
                "constant-output",
                "warning",
                f"The output {name!r} is not computed from the inputs",
                "Leave it out of what forward returns, or keep it as a constant beside the model",
                place,
            )
        else:
            yield finding(
                "constant-output",
                "note",
                f"The output {name!r} is the same on all inputs that were tried",
                "Check the weights: a comparison with it would prove nothing",
                place,
            )


def _equal(run: Run, name: str, tensor: object) -> bool:
    return isinstance(tensor, torch.Tensor) and torch.equal(run.outputs[name], tensor)
