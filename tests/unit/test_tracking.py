"""Assignment, motion and the tracker, each against something independent."""

from __future__ import annotations

import json
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelport.errors import UsageError
from modelport.runtime.tasks.detection import Detection, Detections
from modelport.runtime.tasks.tensors import Tensors
from modelport.runtime.tracking import Tracker, Tracks
from modelport.runtime.tracking.assignment import assign, pairs_below
from modelport.runtime.tracking.motion import Motion, measures

Array = np.ndarray[Any, Any]


def cheapest(costs: Array) -> float:
    """Of all ways."""
    if costs.shape[0] > costs.shape[1]:
        costs = costs.T
    rows = range(costs.shape[0])
    ways = permutations(range(costs.shape[1]), costs.shape[0])
    return min(sum(costs[row, way[row]] for row in rows) for way in ways)


@settings(max_examples=30)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 10_000), st.booleans())
def test_assignment_is_the_best_of_all_ways(n: int, m: int, seed: int, ties: bool) -> None:
    costs = np.random.default_rng(seed).normal(0, 3, (n, m))
    costs = costs.round() if ties else costs
    rows, columns = assign(costs)
    assert len(rows) == min(n, m)
    assert len(set(rows.tolist())) == len(set(columns.tolist())) == min(n, m)
    assert rows.tolist() == sorted(rows.tolist())
    assert costs[rows, columns].sum() == pytest.approx(cheapest(costs))


@pytest.mark.parametrize("shape", [(30, 30), (20, 35), (35, 20), (1, 20)])
def test_assignment_costs_what_scipys_costs(shape: tuple[int, int]) -> None:
    optimize = pytest.importorskip("scipy.optimize", reason="scipy is not installed")
    costs = np.random.default_rng(shape[0]).random(shape)
    rows, columns = assign(costs)
    theirs = optimize.linear_sum_assignment(costs)
    assert costs[rows, columns].sum() == pytest.approx(costs[theirs].sum())


def test_pairs_that_cost_too_much_are_left_alone() -> None:
    costs = np.array([[0.1, 0.9], [0.2, 0.95], [0.99, 0.3]])
    assert pairs_below(costs, 0.5) == [(0, 0), (2, 1)]
    assert pairs_below(costs, 0.25) == [(0, 0)]
    assert pairs_below(np.zeros((0, 3)), 0.5) == []


def test_motion_is_the_filter_of_eight_numbers() -> None:
    """Kalman's equations with matrices, for one box at a time."""
    rng = np.random.default_rng(3)
    boxes = rng.random((5, 4)) * 50 + [0, 0, 60, 60]
    motion = Motion.begin(boxes)
    forward = np.eye(8) + np.eye(8, k=4)
    look = np.eye(4, 8)

    def deviations(height: float, place: float, ratio: float) -> list[float]:
        return [place * height, place * height, ratio, place * height]

    means, covariances = [], []
    for box in measures(boxes):
        means.append(np.concatenate([box, np.zeros(4)]))
        first = deviations(box[3], 2 / 20, 1e-2) + deviations(box[3], 10 / 160, 1e-5)
        covariances.append(np.diag(np.square(first)))
    for _ in range(6):
        boxes = boxes + rng.normal(2, 3, boxes.shape)
        motion = motion.step()
        for index, seen in enumerate(measures(boxes)):
            height = means[index][3]
            noise = deviations(height, 1 / 20, 1e-2) + deviations(height, 1 / 160, 1e-5)
            means[index] = forward @ means[index]
            covariances[index] = forward @ covariances[index] @ forward.T + np.diag(
                np.square(noise)
            )
            np.testing.assert_allclose(motion.place[index], means[index][:4])
            doubt = np.diag(np.square(deviations(means[index][3], 1 / 20, 1e-1)))
            total = look @ covariances[index] @ look.T + doubt
            gain = covariances[index] @ look.T @ np.linalg.inv(total)
            means[index] = means[index] + gain @ (seen - look @ means[index])
            covariances[index] = covariances[index] - gain @ total @ gain.T
        motion = motion.seen(boxes)
        np.testing.assert_allclose(
            np.concatenate([motion.place, motion.speed], 1), np.stack(means), rtol=1e-9
        )


def frame(*objects: tuple[float, float, float, int]) -> Detections:
    """Middle x and y, score, class; boxes of 40 x 60."""
    return Detections(
        tuple(
            Detection((x - 20, y - 30, x + 20, y + 30), f"class {index}", index, score)
            for x, y, score, index in objects
        )
    )


def ids(tracks: Tracks) -> list[int]:
    return [each.id for each in tracks.objects]


def test_two_that_pass_each_other_keep_their_ids() -> None:
    """They walk towards each other, twelve pixels a frame, and overlap half on their way."""
    rng = np.random.default_rng(0)
    tracker = Tracker()
    for step in range(30):
        shake = rng.normal(0, 1, 4).tolist()
        left = (50 + 12 * step + shake[0], 100 + shake[1], 0.9, 0)
        right = (410 - 12 * step + shake[2], 130 + shake[3], 0.8, 0)
        order = (left, right) if step == 0 or rng.random() < 0.5 else (right, left)
        tracks = tracker.update(frame(*order))
        assert ids(tracks) == [1, 2]
        assert tracks.objects[0].score == 0.9, f"frame {step}: they were mixed up"
        assert [each.age for each in tracks.objects] == [step, step]


def test_without_motion_a_fast_one_would_be_lost() -> None:
    """Thirty pixels a frame, and not seen for three frames: only its speed tells where it is."""
    tracker = Tracker()
    for step in range(20):
        hidden = 10 <= step < 13
        tracks = tracker.update(frame() if hidden else frame((50 + 18 * step, 100, 0.9, 0)))
        assert ids(tracks) == ([] if hidden else [1])


def test_a_hidden_object_goes_on_by_its_unsure_box() -> None:
    tracker = Tracker()
    scores = [0.9, 0.9, 0.3, 0.25, 0.9]
    found = [tracker.update(frame((100 + 3 * i, 100, s, 0))) for i, s in enumerate(scores)]
    assert [ids(tracks) for tracks in found] == [[1]] * 5
    alone = Tracker()
    assert ids(alone.update(frame((100, 100, 0.3, 0)))) == [], "an unsure box begins nothing"
    assert ids(alone.update(frame((100, 100, 0.05, 0)))) == []


def test_patience_ends() -> None:
    for gone, known in ((4, True), (5, False)):  # frames in which it is not seen
        tracker = Tracker(patience=4)
        for _ in range(3):
            tracker.update(frame((100, 100, 0.9, 0)))
        for _ in range(gone):
            tracker.update(frame())
        tracker.update(frame((100, 100, 0.9, 0)))
        again = tracker.update(frame((100, 100, 0.9, 0)))
        assert ids(again) == [1 if known else 2]


def test_what_flashes_once_gets_no_id() -> None:
    tracker = Tracker()
    tracker.update(frame((100, 100, 0.9, 0)))
    assert ids(tracker.update(frame((100, 100, 0.9, 0), (300, 300, 0.9, 0)))) == [1]
    assert ids(tracker.update(frame((100, 100, 0.9, 0)))) == [1]
    assert ids(tracker.update(frame((100, 100, 0.9, 0), (500, 300, 0.9, 0)))) == [1]
    assert ids(tracker.update(frame((100, 100, 0.9, 0), (502, 300, 0.9, 0)))) == [1, 2]


def test_classes_do_not_mix_unless_they_may() -> None:
    frames = [frame((100, 100, 0.9, 0)), frame((102, 100, 0.9, 1)), frame((104, 100, 0.9, 1))]
    strict, loose = Tracker(), Tracker(across_classes=True)
    assert [ids(strict.update(each)) for each in frames] == [[1], [], [2]]
    assert [ids(loose.update(each)) for each in frames] == [[1], [1], [1]]


def test_reset_forgets() -> None:
    tracker = Tracker()
    assert ids(tracker.update(frame((100, 100, 0.9, 0)))) == [1]
    tracker.reset()
    assert ids(tracker.update(frame((300, 300, 0.9, 0)))) == [1]


def test_tracks_describe_themselves() -> None:
    tracks = Tracker().update(frame((100, 100, 0.9, 2)))
    (told,) = json.loads(json.dumps(tracks.to_json()))["objects"]
    assert told["id"] == 1
    assert told["box"] == [80, 70, 120, 130]
    assert tracks.rows()[0] | {} == {
        "id": 1, "age": 0, "left": 80, "top": 70, "right": 120, "bottom": 130, "label": "class 2",
        "index": 2, "score": 0.9,
    }  # fmt: skip
    assert len(tracks) == 1


def test_a_result_without_objects_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        Tracker().update(Tensors({}))
    assert str(caught.value) == (
        "A tracker was given a Tensors. "
        "Expected a result with objects that have boxes, such as Detections."
    )
