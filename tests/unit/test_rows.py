"""Sets of rows are compared as sets; everything else by position."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelport.types import Dim, Outputs, Signature, TensorSpec
from modelport.verify.compare import compare
from modelport.verify.rows import row_axes

COUNT = Dim(name="u3")
PICTURE = TensorSpec("image", "float32", (1, 3, 32, 32))
BOXES = TensorSpec("boxes", "float32", (COUNT, 4))
LABELS = TensorSpec("labels", "int64", (COUNT,))
DETECTOR = Signature((PICTURE,), (BOXES, LABELS))


def found(seed: int, count: int = 12) -> Outputs:
    random = np.random.default_rng(seed)
    return {
        "boxes": random.uniform(0, 500, (count, 4)).astype(np.float32),
        "labels": random.integers(1, 9, count),
    }


def in_another_order(outputs: Outputs, order: list[int]) -> Outputs:
    return {name: rows[order] for name, rows in outputs.items()}


def passed(want: Outputs, got: Outputs, signature: Signature = DETECTOR) -> bool:
    return compare([want], [got], signature, "fp32", classes=False).passed


@given(st.integers(0, 1000), st.permutations(range(12)))
def test_any_order_of_boxes_is_equal(seed: int, order: list[int]) -> None:
    want = found(seed)
    noisy = in_another_order(want, order)
    noisy["boxes"] = noisy["boxes"] * np.float32(1 + 1e-6)
    assert passed(want, noisy)


@given(st.integers(0, 1000), st.integers(0, 11), st.integers(0, 3))
def test_one_wrong_number_is_found(seed: int, row: int, column: int) -> None:
    want = found(seed)
    got = in_another_order(want, list(range(11, -1, -1)))
    got["boxes"][row, column] += 40
    assert not passed(want, got)


def test_rows_stay_together() -> None:
    """The right boxes and the right labels, but of each other."""
    want = found(0)
    swapped = {"boxes": want["boxes"][::-1], "labels": want["labels"]}
    assert want["labels"].tolist() != want["labels"][::-1].tolist()
    assert not passed(want, swapped)


def test_other_counts_name_both() -> None:
    want = found(0)
    fewer = {name: rows[:10] for name, rows in want.items()}
    for one, other, text in (
        (want, fewer, "boxes: 10 rows, the source has 12"),
        (fewer, want, "boxes: 12 rows, the source has 10"),
    ):
        fidelity = compare([one], [other], DETECTOR, "fp32", classes=False)
        assert fidelity.reasons[0] == text


def test_int8_may_miss_a_small_share() -> None:
    """Missing rows count as rows of zeros, so a measure is left where shapes differ."""
    want = found(0, 200)
    fewer = {name: np.delete(rows, 7, axis=0) for name, rows in want.items()}
    fidelity = compare([want], [fewer], DETECTOR, "int8", classes=False)
    assert fidelity.by_output["boxes"].sqnr_db == pytest.approx(23, abs=5)
    none = {name: rows[:0] for name, rows in want.items()}
    assert not compare([want], [none], DETECTOR, "int8", classes=False).passed


def test_nothing_found_is_equal_to_nothing_found() -> None:
    none = {name: rows[:0] for name, rows in found(0).items()}
    assert passed(none, none)
    assert not passed(none, found(0))


def test_positions_count_where_the_data_does_not_decide() -> None:
    batch = TensorSpec("image", "float32", (Dim(1, 16), 3, 32, 32))
    fixed = Signature((PICTURE,), (TensorSpec("scores", "float32", (12, 4)),))
    free = Signature((batch,), (TensorSpec("scores", "float32", (Dim(name="s77"), 4)),))
    scores = {"scores": found(0)["boxes"]}
    for signature in (fixed, free):
        assert row_axes(signature) == {}
        assert not passed(scores, {"scores": scores["scores"][::-1]}, signature)


def test_sizes_that_data_decides_with_free_inputs() -> None:
    picture = TensorSpec("image", "float32", (1, 3, Dim(name="s1"), Dim(name="s2")))
    outputs = (TensorSpec("boxes", "float32", (1, Dim(name="u0"), 4)),)
    signature = Signature((picture,), outputs)
    assert row_axes(signature) == {"boxes": 1}
    want = {"boxes": found(0)["boxes"][None]}
    assert passed(want, {"boxes": want["boxes"][:, ::-1]}, signature)
