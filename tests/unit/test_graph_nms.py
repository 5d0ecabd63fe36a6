"""Non-maximum suppression put behind raw outputs finds what the textbook finds, and comes off again."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from helpers import by_onnxruntime, graph

from modelport.errors import GraphError, ModelportError, UsageError
from modelport.graph import recipe
from modelport.graph.query import signature_of

BOXES, CLASSES = 60, 3


def detector(boxes: str = "1,60,4", scores: str = "1,60,3") -> ir.Model:
    return graph(
        "boxes = Relu (b)\nscores = Sigmoid (s)\nextra = Neg (s)",
        takes=f"float[{boxes}] b, float[{scores}] s",
        gives=f"float[{boxes}] boxes, float[{scores}] scores, float[{scores}] extra",
    )


def done(model: ir.Model, *edits: tuple[str, str]) -> ir.Model:
    return recipe.apply(model, [recipe.parse(*each) for each in edits])


def drawn(seed: int, *, first: bool = False, format: str = "xyxy") -> dict[str, Any]:
    random = np.random.default_rng(seed)
    corner, size = random.uniform(10, 60, (1, BOXES, 2)), random.uniform(8, 30, (1, BOXES, 2))
    parts = [corner, corner + size] if format == "xyxy" else [corner + size / 2, size]
    shape = (1, CLASSES, BOXES) if first else (1, BOXES, CLASSES)
    return {
        "b": np.concatenate(parts, axis=2).astype(np.float32),
        "s": random.normal(-1, 2, shape).astype(np.float32),
    }


def textbook(feeds: dict[str, Any], iou: float, score: float, most: int, format: str) -> list[Any]:
    """Greedy suppression, class by class, in plain Python."""
    boxes, chances = feeds["b"][0].astype(float), 1 / (1 + np.exp(-feeds["s"][0].astype(float)))
    if chances.shape[0] == CLASSES:
        chances = chances.T
    if format == "cxcywh":
        boxes = np.concatenate(
            [boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], 1
        )
    kept: list[tuple[float, int, Any]] = []
    for label in range(CLASSES):
        mine: list[int] = []
        for index in np.argsort(-chances[:, label]):
            if chances[index, label] <= score or len(mine) == most:
                continue
            if all(overlap(boxes[index], boxes[other]) <= iou for other in mine):
                mine.append(int(index))
        kept += [(chances[index, label], label, boxes[index]) for index in mine]
    return sorted(kept, key=lambda item: -item[0])[:most]


def overlap(one: Any, other: Any) -> float:
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    shared = float(np.prod(np.maximum(high - low, 0)))
    return shared / (float(np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2])) - shared)


@pytest.mark.parametrize("most", [5, 100])
@pytest.mark.parametrize("format", ["xyxy", "cxcywh"])
@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("seed", [1, 2])
def test_as_in_the_textbook(first: bool, format: str, seed: int, most: int) -> None:
    model = detector(scores="1,3,60" if first else "1,60,3")
    text = f"boxes scores iou=0.4 score=0.3 most={most} format={format}"
    made = done(model, ("attach_nms", text))
    names = [spec.name for spec in signature_of(made).outputs]
    assert names == ["extra", "detected_boxes", "detected_scores", "detected_labels"]
    feeds = drawn(seed, first=first, format=format)
    got = by_onnxruntime(made, feeds)
    want = textbook(feeds, 0.4, 0.3, most, format)
    assert len(want) == 5 if most == 5 else len(want) > 12
    np.testing.assert_allclose(got["detected_scores"], [item[0] for item in want], rtol=1e-5)
    assert got["detected_labels"].tolist() == [item[1] for item in want]
    np.testing.assert_allclose(got["detected_boxes"], [item[2] for item in want], rtol=1e-4)


def test_nothing_found() -> None:
    made = done(detector(), ("attach_nms", "boxes scores score=1"))
    got = by_onnxruntime(made, drawn(1))
    assert got["detected_boxes"].shape == (0, 4)
    assert got["detected_labels"].shape == (0,)


def test_cut_off_again() -> None:
    attached = done(detector(), ("attach_nms", "boxes scores"))
    made = done(attached, ("cut_nms", "op:NonMaxSuppression"))
    feeds = drawn(1)
    got, want = by_onnxruntime(made, feeds), by_onnxruntime(detector(), feeds)
    assert {"detected_boxes", "NonMaxSuppression"}.isdisjoint(got)
    np.testing.assert_array_equal(got["extra"], want["extra"])
    np.testing.assert_array_equal(got["boxes"], want["boxes"])
    (scores,) = (array for name, array in got.items() if name not in ("boxes", "extra"))
    np.testing.assert_array_equal(scores, want["scores"].transpose(0, 2, 1))
    assert len(made.graph) == 4, "what only the suppression needed is gone"


@pytest.mark.parametrize(
    ("model", "edit", "kind", "text"),
    [
        (detector(), ("attach_nms", "boxes scores iou=2"), UsageError, "iou is 2"),
        (detector(), ("attach_nms", "boxes scores most=0"), UsageError, "most is 0"),
        (detector(), ("attach_nms", "boxes scores format=yx"), UsageError, "'yx' are unknown"),
        (detector("2,60,4", "2,60,3"), ("attach_nms", "boxes scores"), GraphError, "2 x 60 x 4"),
        (detector("1,60,5"), ("attach_nms", "boxes scores"), GraphError, "1 x 60 x 5"),
        (detector("1,N,4", "1,M,3"), ("attach_nms", "boxes scores"), GraphError, "1 x M x 3"),
        (detector(), ("cut_nms", "op:Relu"), UsageError, "means 1 nodes (Relu)"),
    ],
)
def test_refusals(
    model: ir.Model, edit: tuple[str, str], kind: type[ModelportError], text: str
) -> None:
    with pytest.raises(kind) as caught:
        done(model, edit)
    assert text in str(caught.value)
