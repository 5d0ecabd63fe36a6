"""Heads of detectors: every code and arrangement against plain loops over the same numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from modelport.errors import EngineError, FeedsError, UsageError
from modelport.runtime.decoding import detection_presets as presets
from modelport.runtime.placement import Placement, scaling, shifting
from modelport.runtime.tasks import TASKS
from modelport.runtime.tasks.base import Context
from modelport.runtime.tasks.detection import Detection, Detections, DetectionTask

Array = np.ndarray[Any, Any]
LABELS = ("ant", "bee", "cat")
TASK = DetectionTask()


def decode(
    outputs: Mapping[str, Array] | Array,
    parameters: Mapping[str, Any],
    labels: Any = None,
    placement: Placement | None = None,
) -> Detections:
    named = outputs if isinstance(outputs, Mapping) else {"out": outputs}
    return TASK.decode(named, Context(TASK.parameters(parameters), labels, placement))


def assert_found(result: Detections, wanted: list[tuple[int, float, list[float]]]) -> None:
    """The same objects, best first."""
    wanted = sorted(wanted, key=lambda each: -each[1])
    assert len(wanted) >= 3, "so few objects prove little"
    assert [each.index for each in result.objects] == [index for index, _, _ in wanted]
    np.testing.assert_allclose(
        [each.score for each in result.objects], [score for _, score, _ in wanted], rtol=1e-5
    )
    np.testing.assert_allclose(
        result.boxes, np.array([box for _, _, box in wanted]), rtol=1e-4, atol=1e-3
    )


def sig(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def around(x: float, y: float, w: float, h: float) -> list[float]:
    return [x - w / 2, y - h / 2, x + w / 2, y + h / 2]


def cells(size: tuple[int, int], strides: tuple[int, ...]) -> list[tuple[int, int, int]]:
    """Column, row, stride of every cell."""
    return [
        (column, row, stride)
        for stride in strides
        for row in range(size[0] // stride)
        for column in range(size[1] // stride)
    ]


ALL = {"nms": None, "most": 1000}
"""Every box that passes the threshold."""
SIZE = (64, 96)


def test_yolox_grid() -> None:
    places = cells(SIZE, (8, 16, 32))
    rng = np.random.default_rng(0)
    raw = np.concatenate([rng.normal(0, 1, (len(places), 4)), rng.random((len(places), 4))], 1)
    raw = raw.astype(np.float32)
    wanted = []
    for numbers, (column, row, stride) in zip(raw.tolist(), places, strict=True):
        score = max(numbers[5:]) * numbers[4]
        if score > 0.5:
            sides = math.exp(numbers[2]) * stride, math.exp(numbers[3]) * stride
            box = around((numbers[0] + column) * stride, (numbers[1] + row) * stride, *sides)
            wanted.append((numbers[5:].index(max(numbers[5:])), score, box))
    given = {"preset": "yolox", "size": SIZE, "threshold": 0.5, **ALL}
    assert_found(decode(raw[None], given), wanted)


ANCHORS = (((10, 13), (16, 30)), ((59, 119), (156, 198)))


@pytest.mark.parametrize("version", ["yolov3", "yolov5_raw"])
def test_yolo_with_anchors(version: str) -> None:
    rng = np.random.default_rng(1)
    levels, wanted = [], []
    for stride, anchors in zip((8, 16), ANCHORS, strict=True):
        high, wide = SIZE[0] // stride, SIZE[1] // stride
        raw = rng.normal(0, 1.2, (len(anchors), high, wide, 5 + 3)).astype(np.float32)
        for place in np.ndindex(len(anchors), high, wide):
            tx, ty, tw, th, there, *classes = raw[place].tolist()
            anchor, row, column = anchors[place[0]], place[1], place[2]
            score = sig(there) * sig(max(classes))
            if score <= 0.6:
                continue
            if version == "yolov3":
                x, y = (sig(tx) + column) * stride, (sig(ty) + row) * stride
                w, h = math.exp(tw) * anchor[0], math.exp(th) * anchor[1]
            else:
                x, y = (2 * sig(tx) - 0.5 + column) * stride, (2 * sig(ty) - 0.5 + row) * stride
                w, h = (2 * sig(tw)) ** 2 * anchor[0], (2 * sig(th)) ** 2 * anchor[1]
            wanted.append((classes.index(max(classes)), score, around(x, y, w, h)))
        if version == "yolov3":
            levels.append(raw.transpose(0, 3, 1, 2).reshape(1, -1, high, wide))
        else:
            levels.append(raw[None])
    outputs = {f"level{index}": level for index, level in enumerate(levels)}
    given = {
        "preset": version, "strides": (8, 16), "anchors": ANCHORS, "outputs": (0, 1), "threshold": 0.6,
        **ALL,
    }  # fmt: skip
    assert_found(decode(outputs, given), wanted)


def test_yolov8_as_exported_and_as_its_head_gives_it() -> None:
    """The distribution's mean, its distances in strides, and the same after the model's decoding."""
    rng = np.random.default_rng(2)
    strides, bins, classes = (8, 16, 32), 4, 3
    places = cells(SIZE, strides)
    raw = rng.normal(0, 1.5, (len(places), 4 * bins + classes)).astype(np.float32)
    decoded, wanted = np.zeros((len(places), 4 + classes), np.float32), []
    for index, (column, row, stride) in enumerate(places):
        powers = np.exp(raw[index, : 4 * bins].astype(float)).reshape(4, bins)
        reach = (powers / powers.sum(1, keepdims=True)) @ np.arange(bins) * stride
        x, y = (column + 0.5) * stride, (row + 0.5) * stride
        box = [x - reach[0], y - reach[1], x + reach[2], y + reach[3]]
        scores = [sig(value) for value in raw[index, 4 * bins :].tolist()]
        middle = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        decoded[index] = [*middle, box[2] - box[0], box[3] - box[1], *scores]
        if max(scores) > 0.9:
            wanted.append((scores.index(max(scores)), max(scores), box))
    assert_found(decode(decoded.T[None], {"preset": "yolov8", "threshold": 0.9, **ALL}), wanted)
    cuts = np.cumsum([SIZE[0] // s * (SIZE[1] // s) for s in strides])[:-1]
    outputs = {
        str(stride): part.T.reshape(1, -1, SIZE[0] // stride, SIZE[1] // stride)
        for stride, part in zip(strides, np.split(raw, cuts), strict=True)
    }
    given = {"preset": "yolov8_raw", "bins": bins, "outputs": ("8", "16", "32"), "threshold": 0.9}
    assert_found(decode(outputs, {**given, **ALL}), wanted)


def test_rtmdet_of_two_levels() -> None:
    rng = np.random.default_rng(3)
    strides, scores, boxes, wanted = (8, 16), {}, {}, []
    for stride in strides:
        grid = SIZE[0] // stride, SIZE[1] // stride
        logits = rng.normal(-1, 2, (3, *grid)).astype(np.float32)
        reach = rng.uniform(1, 40, (4, *grid)).astype(np.float32)
        scores[f"score{stride}"], boxes[f"box{stride}"] = logits[None], reach[None]
        for row, column in np.ndindex(grid):
            left, top, right, bottom = reach[:, row, column].tolist()
            x, y = column * stride, row * stride
            wanted += [
                (index, sig(value), [x - left, y - top, x + right, y + bottom])
                for index, value in enumerate(logits[:, row, column].tolist())
                if sig(value) > 0.8
            ]
    given = {
        "preset": "rtmdet", "scores": ("score8", "score16"), "boxes": ("box8", "box16"),
        "strides": strides, "threshold": 0.8, **ALL,
    }  # fmt: skip
    assert_found(decode({**scores, **boxes}, given), wanted)


def test_nanodet_has_classes_before_distances() -> None:
    rng = np.random.default_rng(4)
    places, bins = cells(SIZE, (8, 16, 32)), 8
    raw = rng.normal(0, 1, (len(places), 2 + 4 * bins)).astype(np.float32)
    raw[:, :2] = rng.random((len(places), 2))
    wanted = []
    for numbers, (column, row, stride) in zip(raw, places, strict=True):
        powers = np.exp(numbers[2:].astype(float)).reshape(4, bins)
        left, top, right, bottom = (
            (powers / powers.sum(1, keepdims=True)) @ np.arange(bins) * stride
        )
        x, y = column * stride, row * stride
        wanted += [
            (index, float(numbers[index]), [x - left, y - top, x + right, y + bottom])
            for index in (0, 1)
            if numbers[index] > 0.9
        ]
    given = {
        "preset": "nanodet",
        "strides": (8, 16, 32),
        "classes": 2,
        "size": SIZE,
        "threshold": 0.9,
    }
    assert_found(decode(raw[None], {**given, **ALL}), wanted)


def test_centernet_takes_peaks_alone() -> None:
    rng = np.random.default_rng(5)
    grid = 9, 11
    heat = rng.normal(0, 2, (2, *grid)).astype(np.float32)
    size = rng.uniform(1, 6, (2, *grid)).astype(np.float32)
    offset = rng.random((2, *grid)).astype(np.float32)
    wanted = []
    for index, row, column in np.ndindex(heat.shape):
        value = heat[index, row, column]
        near = heat[index, max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
        if value == near.max() and sig(value) > 0.7:
            x, y = column + offset[0, row, column], row + offset[1, row, column]
            box = around(x * 4, y * 4, size[0, row, column] * 4, size[1, row, column] * 4)
            wanted.append((index, sig(value), [float(side) for side in box]))
    outputs = {"heat": heat[None], "size": size[None], "offset": offset[None]}
    assert_found(decode(outputs, {"preset": "centernet", "threshold": 0.7}), wanted)


@pytest.mark.parametrize("preset", ["detr", "deformable_detr"])
def test_queries(preset: str) -> None:
    rng = np.random.default_rng(6)
    logits = rng.normal(0, 2, (30, 4)).astype(np.float32)
    boxes = rng.uniform(0.2, 0.6, (30, 4)).astype(np.float32)
    wanted = []
    for row, box in zip(logits.tolist(), boxes.tolist(), strict=True):
        corners = around(*box)
        placed = [corners[0] * 96, corners[1] * 64, corners[2] * 96, corners[3] * 64]
        if preset == "detr":
            total = sum(math.exp(value) for value in row)
            shares = [math.exp(value) / total for value in row[:-1]]
            best = shares.index(max(shares))
            wanted += [(best, shares[best], placed)] if shares[best] > 0.5 else []
        else:
            shares = [sig(value) for value in row]
            wanted += [(i, share, placed) for i, share in enumerate(shares) if share > 0.5]
    outputs = {"logits": logits[None], "pred_boxes": boxes[None]}
    assert_found(decode(outputs, {"preset": preset, "size": SIZE}), wanted)


def finished(count: int = 12) -> tuple[Array, Array, Array]:
    rng = np.random.default_rng(count)
    corner = rng.random((count, 2)) * 40
    boxes = np.concatenate([corner, corner + rng.random((count, 2)) * 20], 1).astype(np.float32)
    return boxes, np.sort(rng.random(count).astype(np.float32))[::-1], rng.integers(0, 3, count)


FINISHED = {
    "torchvision": lambda b, s, c: {"boxes": b, "labels": c, "scores": s},
    "mmdeploy": lambda b, s, c: {
        "dets": np.concatenate([b, s[:, None]], 1)[None],
        "labels": c[None],
    },
    "end_to_end": lambda b, s, c: np.concatenate([b, s[:, None], c[:, None]], 1, dtype=np.float32)[
        None
    ],
    "paddle": lambda b, s, c: np.concatenate([c[:, None], s[:, None], b], 1, dtype=np.float32),
    "tensorrt_nms": lambda b, s, c: {
        "num_dets": np.array([[len(b)]], np.int32),
        "boxes": np.concatenate([b, b])[None],
        "scores": np.concatenate([s, s])[None],
        "classes": np.concatenate([c, c])[None].astype(np.int32),
    },
    "tensorflow": lambda b, s, c: {
        "detection_boxes": (b / [96, 64, 96, 64]).astype(np.float32)[None][..., [1, 0, 3, 2]],
        "detection_classes": c[None].astype(np.float32),
        "detection_scores": s[None],
        "num_detections": np.array([len(b)], np.float32),
    },
    "onnx_nms": lambda b, s, c: {
        "boxes": b[None],
        "scores": (np.eye(3, dtype=np.float32)[c] * s[:, None]).T[None],
        "selected": np.array([[0, c[i], i] for i in range(len(b))] + [[-1, -1, -1]], np.int64),
    },
}


@pytest.mark.parametrize("preset", FINISHED)
def test_models_that_did_the_nms(preset: str) -> None:
    boxes, scores, classes = finished()
    outputs = FINISHED[preset](boxes, scores, classes)
    wanted = [
        (int(i), float(s), b.tolist())
        for i, s, b in zip(classes, scores, boxes, strict=True)
        if s > 0.3
    ]
    result = decode(outputs, {"preset": preset, "threshold": 0.3, "size": SIZE}, LABELS)
    assert_found(result, wanted)
    assert {each.label for each in result.objects} <= set(LABELS)


def test_nothing_found_by_a_model_that_did_the_nms() -> None:
    none = np.empty(0, np.float32)
    outputs = {"boxes": none.reshape(0, 4), "labels": none.astype(np.int64), "scores": none}
    result = decode(outputs, {"preset": "torchvision"})
    assert result.objects == ()
    assert result.boxes.shape == (0, 4)
    assert TASK.describe(result) == "nothing"
    assert result.rows() == []


# --- one meaning, many ways to write it ---------------------------------------------------------


def as_arranged(rows: Array, arrangement: str, grid: tuple[int, int], anchors: int) -> Array:
    """Places x channels, in the order of rows, columns, anchors, as an output."""
    maps = rows.reshape(*grid, anchors, -1)
    found = {
        "rows": lambda: rows,
        "columns": lambda: rows.T,
        "maps": lambda: maps.transpose(2, 3, 0, 1).reshape(-1, *grid),
        "maps_last": lambda: maps.reshape(*grid, -1),
        "anchors_first": lambda: maps.transpose(2, 0, 1, 3),
    }[arrangement]()
    return np.ascontiguousarray(found)[None]


@settings(max_examples=30)
@given(st.integers(0, 1000), st.integers(1, 3), st.integers(1, 7), st.integers(1, 7))
def test_arrangements_mean_the_same(seed: int, anchors: int, high: int, wide: int) -> None:
    rows = np.random.default_rng(seed).normal(0, 1, (high * wide * anchors, 9)).astype(np.float32)
    given = {
        "boxes": {"count": 4}, "objectness": {"first": 4, "count": 1}, "scores": {"first": 5},
        "code": "deltas", "activation": "sigmoid", "objectness_activation": "sigmoid", "nms": {},
        "threshold": 0.3, "size": (high * 8, wide * 8),
        "priors": {"strides": [8], "anchors": [[(9 + k, 12 + 3 * k) for k in range(anchors)]]},
    }  # fmt: skip
    results = [
        decode(
            as_arranged(rows, arrangement, (high, wide), anchors),
            {**given, "arrangement": arrangement},
        )
        for arrangement in ("rows", "columns", "maps", "maps_last", "anchors_first")
    ]
    assert all(result == results[0] for result in results)


@pytest.mark.parametrize("dtype", ["float16", "float64", "uint8", "int8"])
def test_every_element_type(dtype: str) -> None:
    whole = np.array([[[10, 12, 8, 6, 1, 0], [30, 32, 8, 6, 0, 1]]], dtype)
    result = decode(whole, {"preset": "yolov5", "threshold": 0.5, "objectness": None,
                            "scores": {"first": 4}})  # fmt: skip
    assert [(each.index, each.box) for each in result.objects] == [
        (0, (6.0, 9.0, 14.0, 15.0)),
        (1, (26.0, 29.0, 34.0, 35.0)),
    ]


def test_outputs_are_left_alone() -> None:
    raw = np.random.default_rng(0).random((1, 126, 8)).astype(np.float32)
    before = raw.copy()
    decode(raw, {"preset": "yolox", "size": SIZE})
    np.testing.assert_array_equal(raw, before)


def test_a_preset_may_be_changed_and_is_then_data() -> None:
    given = {"preset": "yolox", "threshold": 0.4, "nms": {"iou": 0.6, "agnostic": True}}
    made = TASK.parameters(given)
    assert made == TASK.parameters(
        {**presets.yolox(), **{k: given[k] for k in ("threshold", "nms")}}
    )
    written = json.loads(json.dumps(made.model_dump(mode="json", exclude_unset=True)))
    assert "preset" not in written
    assert TASK.parameters(written) == made


@pytest.mark.parametrize("name", presets.PRESETS)
def test_presets_are_parameters(name: str) -> None:
    more = {"anchors": [[(0.1, 0.2)]], "strides": [8]} if name == "ssd" else {}
    told = presets.PRESETS[name](**more)
    words = {
        "masks": "instance_segmentation",
        "landmarks": "face_detection",
        "angle": "rotated_detection",
    }
    task = TASKS.get(next((words[key] for key in words if key in told), "detection"))
    made = task.parameters({"preset": name, **more})
    assert task.parameters(made.model_dump(mode="json")) == made
    assert presets.PRESETS[name].__doc__


def test_candidates_of_each_kind() -> None:
    """Two levels of two places, two classes each, scores falling."""
    scores = np.array([[0.9, 0.8], [0.7, 0.6], [0.5, 0.45], [0.4, 0.35]], np.float32)
    boxes = np.arange(16, dtype=np.float32).reshape(4, 4) * 100
    outputs = {"boxes": boxes[None], "scores": scores[None]}
    given = {
        "boxes": {"output": "boxes"}, "scores": {"output": "scores"}, "multi_label": True,
        "code": "xyxy", "candidates": 2, "threshold": 0.1,
    }  # fmt: skip
    grid = {"priors": {"strides": [8, 8], "grids": [(1, 2), (1, 2)]}, "size": (8, 16)}

    def chosen(**how: Any) -> list[float]:
        found = decode(outputs, {**given, **how}).objects
        return [round(each.score, 2) for each in found]

    assert chosen() == [0.9, 0.8]
    assert chosen(candidates_of="class") == [0.9, 0.8, 0.7, 0.6]
    assert chosen(candidates_of="level", **grid) == [0.9, 0.8, 0.5, 0.45]
    assert chosen(candidates=None, most=5) == [0.9, 0.8, 0.7, 0.6, 0.5]


# --- places -------------------------------------------------------------------------------------


def test_boxes_go_back_to_the_picture() -> None:
    """A picture of 200 x 100 in a tensor of 64 x 64, lying in the middle."""
    place = Placement.whole(200, 100).then(scaling((200, 100), (64, 32)), (64, 32))
    place = place.then(shifting(0, 16), (64, 64))
    rows = np.array([[[16, 24, 32, 40, 0.9, 0], [-10, 0, 90, 64, 0.8, 1]]], np.float32)
    result = decode(rows, {"preset": "end_to_end"}, LABELS, place)
    np.testing.assert_allclose(result.boxes, [[50, 25, 100, 75], [0, 0, 200, 100]])
    shares = rows.copy()
    shares[..., :4] /= 64
    given = {"preset": "end_to_end", "normalised": True}
    np.testing.assert_allclose(decode(shares, given, LABELS, place).boxes, result.boxes)


@pytest.mark.parametrize("shape", [(1, 3, 64, 96), (1, 64, 96, 3)])
def test_what_was_fed_tells_the_size_where_nobody_prepared_a_picture(
    shape: tuple[int, ...],
) -> None:
    """As in the report of a deployment, and after `infer`."""
    task = TASKS.get("detection")
    rows = np.random.default_rng(3).uniform(0.3, 1, (1, 126, 8)).astype(np.float32)
    fed = {"image": np.zeros(shape, np.float32)}
    found = task.decode({"y": rows}, Context(task.parameters({"preset": "yolox"}), feeds=fed))
    told = task.parameters({"preset": "yolox", "size": (64, 96)})
    assert len(found.objects) > 1
    np.testing.assert_array_equal(found.boxes, task.decode({"y": rows}, Context(told)).boxes)


# --- what cannot be decoded ---------------------------------------------------------------------

YOLOX = {"preset": "yolox", "size": (64, 64)}
WRONG: list[tuple[Any, dict[str, Any], str]] = [
    (
        np.zeros((1, 100, 8), np.float32),
        YOLOX,
        "The head has 100 boxes, and its priors are 84. Expected one prior for each box. "
        "Check strides, anchors and the size of the input in the parameters of the task.",
    ),
    (
        np.zeros((1, 84, 8), np.float32),
        {"preset": "yolox"},
        "Nothing tells the size of the tensor, and its priors lie in it. "
        "Expected the height and width of the model's input. "
        "Give the parameter `size`, or the feeds to `decode`.",
    ),
    (
        np.zeros((2, 84, 8), np.float32),
        YOLOX,
        "Output 0 has shape [2, 84, 8]. Expected 2 axes for the arrangement rows, after a batch of "
        "one. Give its arrangement in the parameters of the task.",
    ),
    (
        np.zeros((1, 84, 5), np.float32),
        YOLOX,
        "Output 0 has 5 channels for each place. Expected channels 5 to 5 among them. "
        "Compare `first` and `count` in the parameters with the shape of the output.",
    ),
    (
        np.zeros((1, 8, 84), np.float32),
        {**YOLOX, "scores": {"output": "cls"}},
        "The parameters speak of the output 'cls', and the model gives out. "
        "Expected names of outputs, or positions from 0 on.",
    ),
    (
        {"a": np.zeros((1, 84, 4), np.float32), "b": np.zeros((1, 80, 9), np.float32)},
        {**YOLOX, "scores": {"output": 1, "first": 5}, "objectness": None},
        "The head has 84 boxes and scores for 80. Expected as many boxes as rows of scores. "
        "Check the arrangement of both parts in the parameters of the task.",
    ),
    (
        np.zeros((1, 84, 8), np.float32),
        {**YOLOX, "boxes": {"count": 6}},
        "The head has 6 numbers for each box. Expected 4. "
        "Check `boxes` and `bins` in the parameters of the task.",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("outputs", "given", "said"), WRONG)
def test_outputs_that_are_no_such_head(outputs: Any, given: dict[str, Any], said: str) -> None:
    with pytest.raises(FeedsError) as caught:
        decode(outputs, given)
    assert str(caught.value) == said


@pytest.mark.parametrize("place", [(0, 3, 4), (0, 3, 6), (0, 3, 0)])
def test_nan_is_no_answer(place: tuple[int, int, int]) -> None:
    raw = np.full((1, 84, 8), 0.9, np.float32)
    raw[place] = np.nan
    with pytest.raises(EngineError, match=r"of the model hold a NaN\. Expected numbers"):
        decode(raw, YOLOX)


def test_sides_that_explode_are_cut_off() -> None:
    raw = np.zeros((1, 84, 8), np.float32)
    raw[0, 5] = [0, 0, 500, 500, 1, 1, 0, 0]
    (box,) = decode(raw, YOLOX, None, Placement.whole(64, 64)).boxes.tolist()
    assert box == [0, 0, 64, 64]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"preset": "yolo99"},
            "The parameters of the task detection are wrong: there is no preset 'yolo99', only blaze",
        ),
        ({"preset": "ssd"}, "the preset ssd wants anchors"),
        ({"preset": "yolov8", "code": "ltrb"}, "the code ltrb needs priors"),
        ({"preset": "yolov8", "threshold": 1.5}, "Input should be less than 1"),
        ({"preset": "yolov8", "iou": 0.5}, "The parameter 'iou' of the task detection is wrong"),
        ({"boxes": {}}, "The parameter 'scores' of the task detection is wrong: Field required"),
        ({"preset": "centernet", "peaks": 2}, "peaks is the odd side of a square"),
    ],
)
def test_parameters_that_cannot_be_meant(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        TASK.parameters(given)
    assert said in str(caught.value)


# --- the result ---------------------------------------------------------------------------------

RESULT = Detections(
    (
        Detection((10.0, 20.0, 60.0, 70.0), "ant", 0, 0.9),
        Detection((0.0, 0.0, 30.0, 30.0), "bee", 1, 0.456),
    )
)


def test_detections_describe_themselves() -> None:
    assert TASK.describe(RESULT) == "2 objects: ant 0.90, bee 0.46"
    assert TASK.describe(Detections(RESULT.objects[:1])) == "1 object: ant 0.90"
    assert TASK.describe(Detections(RESULT.objects * 3)).endswith("bee 0.46, ...")
    first = {"box": [10.0, 20.0, 60.0, 70.0], "label": "ant", "index": 0, "score": 0.9}
    assert json.loads(json.dumps(RESULT.to_json()))["objects"][0] == first
    assert RESULT.rows()[1] == {
        "left": 0.0, "top": 0.0, "right": 30.0, "bottom": 30.0, "label": "bee", "index": 1,
        "score": 0.456,
    }  # fmt: skip
    assert len(RESULT) == 2
    assert Detections(RESULT.objects, timing_ms={"result": 1.0}) == RESULT


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_drawing_frames_every_object(mode: str) -> None:
    image = Image.new(mode, (100, 100))
    drawn = TASK.draw(image, RESULT)
    assert drawn.size == image.size
    assert np.asarray(image).max() in (0, 255), "the picture itself stays"
    pixels = np.asarray(drawn).astype(int)
    assert pixels[45, 10].sum() > 0, "left side of the first box"
    assert pixels[70, 40].sum() > 0, "its lower side"
    assert pixels[50, 40].sum() == 0, "nothing inside"
    assert pixels[15, 30].sum() > 0, "right side of the second box"


def test_the_task_is_registered() -> None:
    assert TASKS.get("detection").summary == "objects with their boxes"
