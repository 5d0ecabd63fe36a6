"""One model on one side: build, export, run, compare; and what became of it."""

from __future__ import annotations

import copy
import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from zoo_models.case import Case
from zoo_models.judge import (
    MOVEMENT,
    TOLERANCE,
    aligned,
    error_of,
    movement_of,
    results_of,
)
from zoo_models.liven import call, liven
from zoo_models.shorten import shortened
from zoo_models.sides import SIDES, Runner, quiet

STATUSES = {
    "correct": "equal to the eager module on every input, and the outputs move",
    "refused": "no file, or one that ONNX Runtime does not load or run",
    "wrong": "a file that gives other results, and nobody said so",
    "still": "the eager outputs hardly move, so equality proves nothing",
    "broken": "the model itself cannot be built or run here",
}


@dataclass
class Outcome:
    """What became of a model on one side.

    Attributes:
        status: one of `STATUSES`.
        converted: whether there is a file that ONNX Runtime loads.
        error: the largest relative error over all inputs, where there was something to compare.
        movement: the largest relative change of the eager outputs between two inputs.
        seconds: processor time of the export alone, which a busy machine does not stretch.
        checks: how many inputs were compared.
        reason: one line, where the status is not `correct`.
    """

    status: str = "broken"
    converted: bool = False
    error: float | None = None
    movement: float | None = None
    seconds: float | None = None
    checks: int = 0
    reason: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def attempt(case: Case, side: str) -> Outcome:
    """Tries a case; every way to fail is an outcome."""
    outcome = Outcome()
    try:
        with quiet(), torch.no_grad():
            module = built(case)
            checks = _checks(case, module)
    except Exception as error:
        outcome.reason = one_line(error)
        return outcome
    _demand_movement(case, checks, outcome)
    with tempfile.TemporaryDirectory() as folder:
        _convert(case, module, side, checks, Path(folder) / "model.onnx", outcome)
    return outcome


def built(case: Case) -> nn.Module:
    """The module in inference mode, seeded, and shortened and livened where the case asks for it."""
    torch.manual_seed(0)
    module = case.build().eval()
    if case.shorten:
        module = shortened(module, case.feeds(seed=100))
    if case.liven:
        liven(module, case.feeds(seed=100))
    return module


Check = tuple[Any, list[Any]]
"""Feeds, and what the eager module returns for them."""


def _checks(case: Case, module: nn.Module) -> list[Check]:
    """Two random inputs of the traced size, neither the traced one; two more of each other size."""
    checks = []
    for size in range(case.sizes):
        for seed in (1, 2):
            feeds = case.feeds(10 * size + seed, size)
            fresh = copy.deepcopy(module)  # a call may change buffers
            want = results_of([call(fresh, copy.deepcopy(feeds)) for _ in range(case.calls)])
            checks.append((feeds, want))
    return checks


def _demand_movement(case: Case, checks: Sequence[Check], outcome: Outcome) -> None:
    pairs = zip(checks[0::2], checks[1::2], strict=True)
    if case.moves:
        outcome.movement = min(movement_of(one[1], other[1]) for one, other in pairs)
    else:  # between sizes instead
        outcome.movement = movement_of(checks[0][1], checks[-1][1])


def _convert(
    case: Case, module: nn.Module, side: str, checks: Sequence[Check], path: Path, outcome: Outcome
) -> None:
    start = _processor_time()
    outcome.status = "refused"
    try:
        with quiet():
            SIDES[side](case, copy.deepcopy(module), path)
        outcome.seconds = _processor_time() - start
        runner = Runner(path, module)
        outcome.converted = True
        outcome.error = max(_error(case, runner, *check) for check in checks)
        outcome.checks = len(checks)
    except Exception as error:
        outcome.reason = one_line(error)
        return
    _judge(outcome)


def _processor_time() -> float:
    """Seconds of this process and of the children that it has waited for."""
    return sum(os.times()[:4])


def _error(case: Case, runner: Runner, feeds: Any, want: list[Any]) -> float:
    got = runner.run(feeds, case.calls)
    try:
        expected = aligned(want, len(got))
    except AssertionError:
        return float("inf")
    return error_of(expected, got, rows=case.compare == "rows")


def _judge(outcome: Outcome) -> None:
    assert outcome.error is not None
    assert outcome.movement is not None
    if not outcome.error <= TOLERANCE:
        outcome.status = "wrong"
        outcome.reason = (
            f"differs from the eager module by {outcome.error:.2g} of the largest value"
        )
    elif outcome.movement < MOVEMENT:
        outcome.status = "still"
        outcome.reason = f"the outputs move by {outcome.movement:.1e} only"
    else:
        outcome.status = "correct"


_NOISE = re.compile(r"\x1b\[[0-9;]*m|/[\w/.\-]+/(?=[\w.\-]+\.(?:py|onnx))")
"""Colours, and the folders of files."""


def one_line(error: BaseException, most: int = 160) -> str:
    """The deepest cause in one short line."""
    deepest = error
    while deepest.__cause__ is not None:
        deepest = deepest.__cause__
    text = " ".join(_NOISE.sub("", str(deepest)).split()) or "no message"
    return f"{type(deepest).__name__}: {text}"[:most]
