"""A class for every pixel: decoded, counted, drawn."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import interpolate

from modelport.errors import EngineError, FeedsError, UsageError
from modelport.runtime.decoding.regions import spot_in, tinted
from modelport.runtime.decoding.rle import mask_from_rle
from modelport.runtime.placement import Placement, scaling, shifting
from modelport.runtime.tasks import TASKS
from modelport.runtime.tasks.base import Context
from modelport.runtime.tasks.semantic_segmentation import Segmentation

Array = np.ndarray[Any, Any]
LABELS = ("sky", "road", "car", "tree")


def decode(
    given: Array, placement: Placement | None = None, labels: Any = LABELS, **parameters: Any
) -> Segmentation:
    task = TASKS.get("semantic_segmentation")
    context = Context(task.parameters(parameters), labels, placement)
    found = task.decode({"out": given}, context)
    assert isinstance(found, Segmentation)
    return found


def noise(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def resized(planes: Array, size: tuple[int, int]) -> Array:
    return interpolate(torch.from_numpy(planes), size, mode="bilinear").numpy()


def test_scores_are_resized_before_the_best_is_chosen() -> None:
    scores = noise(1, 4, 8, 8)
    placement = Placement((40, 24), (32, 32), scaling((40, 24), (32, 32)))
    found = decode(scores, placement)
    expected = resized(scores, (24, 40))[0].argmax(0)
    assert (found.labels == expected).mean() > 0.999
    assert found.labels.dtype == np.uint8
    assert (decode(scores, placement, resize="labels").labels != expected).mean() > 0.05


def test_without_a_placement_the_map_is_that_of_the_output() -> None:
    scores = noise(1, 4, 6, 5)
    found = decode(scores)
    np.testing.assert_array_equal(found.labels, scores[0].argmax(0))
    np.testing.assert_array_equal(
        decode(scores.transpose(0, 2, 3, 1), layout="nhwc").labels, found.labels
    )


def test_shares_are_those_of_the_picture() -> None:
    labels = np.array([[[0, 0, 1, 1], [0, 0, 0, 3]]])
    found = decode(labels, gives="labels")
    assert [(each.label, each.pixels, each.share) for each in found.classes] == [
        ("sky", 5, 0.625),
        ("road", 2, 0.25),
        ("tree", 1, 0.125),
    ]
    assert TASKS.get("semantic_segmentation").describe(found) == "sky 62%, road 25%, tree 12%"
    np.testing.assert_array_equal(found.mask("sky"), labels[0] == 0)
    np.testing.assert_array_equal(found.mask(3), labels[0] == 3)
    assert not found.mask("car").any()


def test_json_has_run_lengths_and_no_map() -> None:
    found = decode(np.array([[[0, 0, 1], [2, 1, 1]]]), gives="labels", hidden=[0])
    told = json.loads(json.dumps(found.to_json()))
    assert told["size"] == [2, 3]
    assert [each["label"] for each in told["classes"]] == ["road", "sky", "car"]
    assert "rle" not in told["classes"][1]
    np.testing.assert_array_equal(mask_from_rle(told["classes"][0]["rle"]), found.labels == 1)
    assert [row["label"] for row in found.rows()] == ["road", "sky", "car"]


def test_what_the_model_did_not_see_has_no_class() -> None:
    placement = Placement((8, 6), (4, 4), shifting(-2, -1))
    found = decode(noise(1, 3, 4, 4), placement)
    assert found.void == 255
    outside = np.ones((6, 8), bool)
    outside[1:5, 2:6] = False
    np.testing.assert_array_equal(found.labels == 255, outside)
    assert sum(each.pixels for each in found.classes) == 16
    assert sum(each.share for each in found.classes) == pytest.approx(1 / 3)


def test_many_classes_take_wider_numbers() -> None:
    found = decode(np.array([[[0, 255], [300, 7]]]), gives="labels", labels=None)
    assert (found.labels.dtype, found.void) == (np.int32, -1)
    assert {each.index for each in found.classes} == {0, 7, 255, 300}


def test_a_number_may_stand_for_no_class() -> None:
    found = decode(np.array([[[0, 255], [1, 255]]], np.uint8), gives="labels", void=255)
    assert (found.labels.dtype, found.void) == (np.uint8, 255)
    assert [each.index for each in found.classes] == [0, 1]
    assert sum(each.share for each in found.classes) == 0.5


@pytest.mark.parametrize("shape", [(1, 2, 3), (2, 3), (1, 1, 2, 3), (1, 2, 3, 1)])
def test_labels_of_any_shape_that_is_one_plane(shape: tuple[int, ...]) -> None:
    plane = np.array([[0, 1, 2], [3, 2, 1]], np.int64)
    found = decode(plane.reshape(shape), gives="labels")
    np.testing.assert_array_equal(found.labels, plane)


@pytest.mark.parametrize("scores", ["logits", "probabilities"])
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 1.0])
def test_one_plane_is_compared_with_the_threshold(scores: str, threshold: float) -> None:
    plane = noise(1, 1, 5, 6)
    shares = 1 / (1 + np.exp(-plane))
    given = plane if scores == "logits" else shares
    placement = Placement((12, 10), (6, 5), scaling((12, 10), (6, 5)))
    found = decode(given, placement, ("no", "yes"), scores=scores, threshold=threshold)
    raw = resized(given, (10, 12))[0, 0]
    chance = 1 / (1 + np.exp(-raw)) if scores == "logits" else raw
    np.testing.assert_array_equal(found.labels, chance > threshold)


def test_scores_that_are_not_finite_are_no_answer() -> None:
    scores = noise(1, 3, 4, 4)
    scores[0, 1, 2, 2] = np.nan
    with pytest.raises(EngineError, match="The output with scores holds a NaN or an infinity"):
        decode(scores)


def test_outputs_that_are_no_planes_are_refused() -> None:
    with pytest.raises(FeedsError) as caught:
        decode(np.zeros((2, 3, 4, 4), np.float32))
    assert str(caught.value) == (
        "An output has shape [2, 3, 4, 4]. Expected scores: 1 x channels x height x width, with a "
        "batch of one. Deploy the model with --task tensors to have the outputs as they are."
    )
    with pytest.raises(FeedsError, match="The output has fractions, and the parameters say"):
        decode(np.full((1, 4, 4), 0.5), gives="labels")
    with pytest.raises(FeedsError, match=r"The outputs are out\. Expected output 'logits'"):
        decode(np.zeros((1, 3, 4, 4)), output="logits")


def test_parameters_are_checked() -> None:
    with pytest.raises(UsageError, match="'threshold' of the task semantic_segmentation is wrong"):
        decode(np.zeros((1, 1, 4, 4)), threshold=2)
    with pytest.raises(UsageError, match=r"'palette\.0\.2'"):
        decode(np.zeros((1, 1, 4, 4)), palette=[[1, 2, 300]])


def test_drawing_tints_what_is_not_hidden() -> None:
    labels = np.zeros((60, 80), np.int64)
    labels[20:50, 30:70] = 2
    palette = [(0, 0, 0), (0, 0, 0), (200, 0, 0)]
    found = decode(labels[None], gives="labels", hidden=[0], palette=palette)
    image = Image.new("RGB", (80, 60), (100, 100, 100))
    drawn = np.asarray(TASKS.get("semantic_segmentation").draw(image, found))
    assert (drawn[:15] == 100).all(), "the hidden class stays as it is"
    np.testing.assert_array_equal(drawn[47, 35], [150, 50, 50])
    np.testing.assert_array_equal(drawn[20, 40], [200, 0, 0])  # its border is not see-through
    assert image.getpixel((40, 30)) == (100, 100, 100)


def test_drawing_takes_a_picture_of_another_size() -> None:
    found = decode(noise(1, 3, 6, 8))
    for mode, size in (("L", (80, 60)), ("RGBA", (4, 3)), ("CMYK", (1, 1))):
        drawn = TASKS.get("semantic_segmentation").draw(Image.new(mode, size), found)
        assert (drawn.mode, drawn.size) == ("RGB", size)


def test_no_regions_change_nothing() -> None:
    image = Image.new("RGB", (9, 7), (1, 2, 3))
    assert tinted(image, np.zeros((7, 9), int), {}, {}).tobytes() == image.tobytes()


def test_names_stand_inside_their_region() -> None:
    ring = np.zeros((21, 21), bool)
    ring[3:18, 3:18] = True
    ring[6:15, 6:15] = False
    x, y = spot_in(ring)
    assert ring[y, x]
