"""Overlaps and suppression, against definitions written out and against torchvision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelport.codebases.torchvision_operators import import_torchvision
from modelport.runtime.decoding.boxes import (
    centres_of_corners,
    corners_of_centres,
    corners_of_sides,
    overlaps,
)
from modelport.runtime.decoding.nms import Nms, nms, soft_nms

Array = np.ndarray[Any, Any]


def overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """From the definition, in Python's numbers."""
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(0.0, wide) * max(0.0, high)
    joint = sum((b[2] - b[0]) * (b[3] - b[1]) for b in (one, other)) - shared
    return shared / joint if joint else 0.0


def naive(boxes: Array, scores: Array, iou: float, classes: Array | None) -> list[int]:
    """One box after the other, best first."""
    kept: list[int] = []
    rows = boxes.tolist()
    for index in np.argsort(-scores, kind="stable").tolist():
        rivals = [k for k in kept if classes is None or classes[k] == classes[index]]
        if all(overlap(rows[index], rows[k]) <= iou for k in rivals):
            kept.append(index)
    return kept


def scattered(count: int, seed: int, spread: float, classes: int) -> tuple[Array, Array, Array]:
    """Boxes on a grid of eighths, whose areas float32 holds exactly."""
    rng = np.random.default_rng(seed)
    corner = np.round(rng.random((count, 2)) * spread * 8) / 8
    sides = np.round((rng.random((count, 2)) * 30 + 1) * 8) / 8
    boxes = np.concatenate([corner, corner + sides], 1).astype(np.float32)
    return boxes, rng.random(count).astype(np.float32), rng.integers(0, classes, count)


cases = st.tuples(
    st.integers(0, 100), st.integers(0, 2**32 - 1), st.sampled_from([5.0, 60.0, 500.0]), st.integers(1, 6)
)  # fmt: skip


@settings(max_examples=30)
@given(cases, st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.7, 1.0]), st.booleans())
def test_nms_is_that_of_the_definition(case: Any, iou: float, agnostic: bool) -> None:
    boxes, scores, classes = scattered(*case)
    groups = None if agnostic else classes
    assert nms(boxes, scores, iou, classes=groups).tolist() == naive(boxes, scores, iou, groups)


def share_of_smaller(one: Sequence[float], other: Sequence[float]) -> float:
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    return (
        max(0.0, wide) * max(0.0, high) / min((b[2] - b[0]) * (b[3] - b[1]) for b in (one, other))
    )


@settings(max_examples=30)
@given(cases, st.sampled_from([0.1, 0.3, 0.5, 0.7, 0.999]))
def test_nms_over_the_smaller_box(case: Any, iou: float) -> None:
    """Boxes of many sizes, so that many lie inside others; by single boxes and by blocks of them."""
    boxes, scores, classes = scattered(*case)
    kept: list[int] = []
    for index in np.argsort(-scores, kind="stable").tolist():
        rivals = [boxes[k] for k in kept if classes[k] == classes[index]]
        if all(share_of_smaller(boxes[index], rival) <= iou for rival in rivals):
            kept.append(index)
    how = Nms(iou=iou, over="smaller")
    found, values = how.keep(boxes, scores, classes, None, 0.0)
    assert found.tolist() == kept
    np.testing.assert_array_equal(values, scores[kept])


def test_a_box_inside_another_goes_over_the_smaller() -> None:
    boxes = np.array([[0, 0, 40, 40], [10, 10, 20, 20], [38, 0, 48, 10]], np.float32)
    scores = np.array([0.9, 0.8, 0.7], np.float32)
    classes = np.zeros(3, np.intp)
    assert Nms(iou=0.5).keep(boxes, scores, classes, None, 0.0)[0].tolist() == [0, 1, 2]
    inside = Nms(iou=0.5, over="smaller")
    assert inside.keep(boxes, scores, classes, None, 0.0)[0].tolist() == [0, 2]
    soft = inside.model_copy(update={"soft": "linear"})
    kept, values = soft.keep(boxes, scores, classes, None, 0.0)
    assert kept.tolist() == [0, 2]
    np.testing.assert_allclose(values, [0.9, 0.7])


@settings(max_examples=30)
@given(cases, st.integers(0, 40))
def test_nms_of_the_first_few_is_the_start_of_all(case: Any, most: int) -> None:
    boxes, scores, classes = scattered(*case)
    everything = nms(boxes, scores, 0.4, classes=classes)
    np.testing.assert_array_equal(
        nms(boxes, scores, 0.4, classes=classes, most=most), everything[:most]
    )


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 1500])
@pytest.mark.parametrize("spread", [20.0, 200.0, 3000.0])
def test_nms_is_that_of_torchvision(count: int, spread: float) -> None:
    torchvision = import_torchvision()
    if torchvision is None:
        pytest.skip("torchvision is not installed")
    import torch

    boxes, scores, classes = scattered(count, count, spread, 7)
    tensors = torch.from_numpy(boxes), torch.from_numpy(scores)
    ops = torchvision.ops
    assert nms(boxes, scores, 0.45).tolist() == ops.nms(*tensors, 0.45).tolist()
    theirs = ops.batched_nms(*tensors, torch.from_numpy(classes), 0.45)
    assert nms(boxes, scores, 0.45, classes=classes).tolist() == theirs.tolist()


def test_equal_scores_go_to_the_lower_index() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [0, 0, 10, 10]], np.float32)
    assert nms(boxes, np.full(3, 0.5, np.float32), 0.5).tolist() == [0]


def test_a_threshold_between_two_numbers_of_float32() -> None:
    """1 of 10 shared: 0.1 of float32 is more than 0.1, so the worse box goes."""
    boxes = np.array([[0, 0, 11, 1], [9, 0, 18, 1]], np.float32)
    boxes[1] = [10, 0, 11 - 1e-9, 1]  # one unit of eleven
    exact = float(overlaps(boxes[:1], boxes[1:])[0, 0])
    below, above = np.nextafter(exact, 0), np.nextafter(exact, 1)
    scores = np.array([0.9, 0.8], np.float32)
    assert nms(boxes, scores, exact).tolist() == [0, 1]
    assert nms(boxes, scores, below).tolist() == [0]
    assert nms(boxes, scores, above).tolist() == [0, 1]


def test_boxes_without_area_stay() -> None:
    boxes = np.array([[3, 3, 3, 3], [3, 3, 3, 3], [5, 5, 4, 4]], np.float32)
    assert nms(boxes, np.array([0.3, 0.2, 0.1], np.float32), 0.5).tolist() == [0, 1, 2]


@settings(max_examples=30)
@given(cases)
def test_overlaps_are_those_of_the_definition(case: Any) -> None:
    boxes, _, _ = scattered(*case)
    some, others = boxes[:10], boxes[5:20]
    wanted = [[overlap(one, other) for other in others.tolist()] for one in some.tolist()]
    np.testing.assert_allclose(
        overlaps(some, others), np.reshape(wanted, (len(some), len(others))), rtol=1e-6
    )


@settings(max_examples=30)
@given(cases)
def test_ways_to_write_a_box(case: Any) -> None:
    boxes, _, _ = scattered(*case)
    np.testing.assert_array_equal(corners_of_centres(centres_of_corners(boxes)), boxes)
    sides = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1)
    np.testing.assert_array_equal(corners_of_sides(sides), boxes)


def gentle(
    boxes: Array, scores: Array, iou: float, sigma: float | None, least: float
) -> list[tuple[int, float]]:
    """Soft-NMS as the paper's figure has it, one number at a time."""
    left = {index: float(score) for index, score in enumerate(scores)}
    found, rows = [], boxes.tolist()
    while left:
        best = max(left, key=lambda i: (left[i], -i))
        score = left.pop(best)
        if score <= least:
            break
        found.append((best, score))
        for index in left:
            shared = overlap(rows[best], rows[index])
            if sigma is not None:
                left[index] *= float(np.exp(-(shared**2) / sigma))
            elif shared > iou:
                left[index] *= 1 - shared
    return found


@settings(max_examples=30)
@given(cases, st.sampled_from([None, 0.3, 0.5]))
def test_soft_nms_is_that_of_the_paper(case: Any, sigma: float | None) -> None:
    boxes, scores, _ = scattered(min(case[0], 40), *case[1:])
    kept, values = soft_nms(boxes, scores, 0.3, sigma=sigma, threshold=0.05)
    wanted = gentle(boxes, scores, 0.3, sigma, 0.05)
    assert kept.tolist() == [index for index, _ in wanted]
    np.testing.assert_allclose(values, [value for _, value in wanted], rtol=1e-5)


def test_soft_nms_leaves_other_classes_alone() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 10], [1, 0, 11, 10]], np.float32)
    scores, classes = np.array([0.9, 0.8, 0.7], np.float32), np.array([0, 1, 0])
    how = Nms(iou=0.3, soft="linear")
    kept, values = how.keep(boxes, scores, classes, None, 0.0)
    assert kept.tolist() == [0, 1, 2]
    np.testing.assert_allclose(values, [0.9, 0.8, 0.7 * (1 - 9 / 11)], rtol=1e-6)
    kept, _ = how.model_copy(update={"agnostic": True}).keep(boxes, scores, classes, 2, 0.0)
    assert kept.tolist() == [0, 2]
