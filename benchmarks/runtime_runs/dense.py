"""Decoding alone, on dense outputs: 8400 rows, of which a thousand come over the threshold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from harness import in_turn

ROWS, CLASSES, CANDIDATES, THRESHOLD, OVERLAP = 8400, 80, 1000, 0.25, 0.65


def dense_outputs(seed: int = 0) -> np.ndarray[Any, Any]:
    """1 x 8400 x 85 in pixels of a 640x640 tensor: boxes in heaps, an objectness, scores of classes."""
    generator = np.random.default_rng(seed)
    raw = np.zeros((1, ROWS, 5 + CLASSES), np.float32)
    heaps = generator.uniform(40, 600, (60, 2))
    middles = heaps[generator.integers(0, 60, ROWS)] + generator.normal(0, 12, (ROWS, 2))
    raw[0, :, :2] = middles
    raw[0, :, 2:4] = generator.uniform(20, 160, (ROWS, 2))
    raw[0, :, 4] = 0.02
    sure = generator.choice(ROWS, CANDIDATES, replace=False)
    raw[0, sure, 4] = generator.uniform(0.6, 1, CANDIDATES)
    raw[0, :, 5:] = generator.uniform(0, 0.3, (ROWS, CLASSES))
    raw[0, sure, 5 + generator.integers(0, CLASSES, CANDIDATES)] = generator.uniform(
        0.6, 1, CANDIDATES
    )
    return raw


def _ours(raw: np.ndarray[Any, Any]) -> Callable[[], list[tuple[int, float]]]:
    from modelport.runtime.tasks import TASKS
    from modelport.runtime.tasks.base import Context

    task = TASKS.get("detection")
    parameters = task.parameters(
        {
            "preset": "yolov5",
            "threshold": THRESHOLD,
            "nms": {"iou": OVERLAP},
            "candidates": None,
            "most": 300,
        }
    )
    context: Any = Context(parameters)

    def decode() -> list[tuple[int, float]]:
        found = task.decode({"rows": raw}, context)
        return [(each.index, each.score) for each in found.objects]

    return decode


def _by_hand(raw: np.ndarray[Any, Any]) -> Callable[[], list[tuple[int, float]]]:
    import cv2

    def decode() -> list[tuple[int, float]]:
        rows = raw[0]
        scores = rows[:, 5:] * rows[:, 4:5]
        classes = scores.argmax(1)
        best = scores[np.arange(ROWS), classes]
        sure = best > THRESHOLD
        boxes, best, classes = rows[sure, :4].copy(), best[sure], classes[sure]
        boxes[:, :2] -= boxes[:, 2:] / 2
        kept = cv2.dnn.NMSBoxesBatched(
            boxes.tolist(), best.tolist(), classes.tolist(), THRESHOLD, OVERLAP
        )[:300]
        return sorted(((int(classes[i]), float(best[i])) for i in kept), key=lambda e: -e[1])

    return decode


def boxes(rounds: int) -> tuple[dict[str, list[float]], int]:
    """Milliseconds of decoding such outputs, ours and numpy with OpenCV's NMS; and how many are kept."""
    raw = dense_outputs()
    calls = {"modelport": _ours(raw), "numpy + OpenCV's NMS": _by_hand(raw)}
    kept, others = (call() for call in calls.values())
    close = len(kept) == len(others) and np.allclose(
        [score for _, score in kept], [score for _, score in others], atol=1e-4
    )
    if not close:
        raise SystemExit(f"decoded {len(kept)} objects, and by hand {len(others)}")
    return in_turn(calls, rounds=rounds, warm=2, counted=5, pause_s=0), len(kept)
