"""A result is as right as the source if it is as close to the exact one; nothing else is."""

from __future__ import annotations

import numpy as np
import pytest

from modelport.types import Outputs
from modelport.verify.rounding import as_exact, worst_db

EXACT = np.random.default_rng(0).standard_normal((4, 100))


def off_by(noise: float, seed: int) -> Outputs:
    random = np.random.default_rng(seed)
    return {"y": (EXACT + noise * random.standard_normal(EXACT.shape)).astype(np.float32)}


@pytest.mark.parametrize(
    ("source", "other", "right"),
    [
        (1e-3, 1e-3, True),  # both 60 dB off, in other directions
        (1e-3, 1e-5, True),  # closer than the source itself
        (1e-3, 1e-2, False),  # ten times as far
        (0.1, 0.1, False),  # rounding hides too much
        (1e-6, 1e-3, False),
    ],
)
def test_as_close_as_the_source(source: float, other: float, right: bool) -> None:
    assert as_exact({"y": EXACT}, off_by(source, 1), off_by(other, 2)) is right


def test_integers_must_be_equal() -> None:
    labels = np.array([3, 1, 2])
    one = {**off_by(1e-3, 1), "labels": labels}
    exact = {"y": EXACT, "labels": labels}
    assert as_exact(exact, one, {**off_by(1e-3, 2), "labels": labels.copy()})
    assert not as_exact(exact, one, {**off_by(1e-3, 2), "labels": labels[::-1]})


def test_not_a_number_is_never_right() -> None:
    broken = off_by(1e-3, 2)
    broken["y"][0, 0] = np.nan
    assert not as_exact({"y": EXACT}, off_by(1e-3, 1), broken)


def test_worst_db() -> None:
    assert worst_db({"y": EXACT}, off_by(1e-3, 1)) == pytest.approx(60, abs=1)
