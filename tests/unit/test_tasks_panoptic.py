"""Segments from queries, and from instances over a map of classes."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import interpolate

from modelport.errors import FeedsError
from modelport.runtime.decoding.rle import mask_from_rle
from modelport.runtime.placement import Placement, scaling, shifting
from modelport.runtime.tasks import TASKS
from modelport.runtime.tasks.base import Context
from modelport.runtime.tasks.panoptic_segmentation import Panoptic

Array = np.ndarray[Any, Any]
LABELS = ("person", "dog", "sky", "grass")


def decode(
    outputs: dict[str, Array], placement: Placement | None = None, **parameters: Any
) -> Panoptic:
    task = TASKS.get("panoptic_segmentation")
    found = task.decode(outputs, Context(task.parameters(parameters), LABELS, placement))
    assert isinstance(found, Panoptic)
    return found


def scenes(seed: int, queries: int = 12) -> dict[str, Array]:
    """Random class scores, and masks that are smooth hills, so that some survive and some do not."""
    generator = np.random.default_rng(seed)
    classes = generator.standard_normal((1, queries, 5)).astype(np.float32) * 3
    coarse = generator.standard_normal((1, queries, 4, 4)).astype(np.float32) * 6
    masks = interpolate(torch.from_numpy(coarse), (24, 32), mode="bicubic").numpy()
    return {"classes": classes, "masks": masks}


def by_pixels(
    outputs: dict[str, Array], size: tuple[int, int], stuff: tuple[int, ...], rule: str,
    threshold: float = 0.5, overlap: float = 0.8,
) -> tuple[Array, list[tuple[int, float]]]:  # fmt: skip
    """The published procedure, pixel by pixel, in float64."""
    logits = outputs["classes"][0].astype(np.float64)
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    keep = [q for q, row in enumerate(shares) if row.argmax() < 4 and row.max() > threshold]
    hills = 1 / (1 + np.exp(-outputs["masks"][0].astype(np.float64)))
    hills = interpolate(torch.from_numpy(hills)[None], size, mode="bilinear")[0].numpy()
    owners = np.full(size, -1)
    for y in range(size[0]):
        for x in range(size[1]):
            best = max(keep, key=lambda q: shares[q].max() * hills[q, y, x], default=-1)
            owners[y, x] = best
    found, segments, known = np.zeros(size, int), [], {}
    for q in keep:
        weight = shares[q].max() if rule == "transformers" else 1.0
        alone = weight * hills[q] >= 0.5
        own = owners == q
        if rule != "transformers":
            own = own & alone
        if not own.any() or not alone.any() or own.sum() / alone.sum() <= overlap:
            continue
        index = int(shares[q].argmax())
        if index not in known or index not in stuff:
            segments.append((index, float(shares[q].max())))
            known[index] = len(segments)
        elif shares[q].max() > segments[known[index] - 1][1]:
            segments[known[index] - 1] = (index, float(shares[q].max()))
        found[own] = known[index]
    return found, segments


@pytest.mark.parametrize("rule", ["transformers", "mask2former"])
@pytest.mark.parametrize("stuff", [(), (2, 3)])
def test_queries_become_segments_as_published(rule: str, stuff: tuple[int, ...]) -> None:
    placement = Placement((22, 14), (128, 96), scaling((22, 14), (128, 96)))
    merged = 0
    for seed in range(4):
        outputs = scenes(seed)
        expected, segments = by_pixels(outputs, (14, 22), stuff, rule, overlap=0.4)
        found = decode(outputs, placement, stuff=stuff, rule=rule, overlap=0.4)
        assert [each.index for each in found.segments] == [index for index, _ in segments]
        np.testing.assert_allclose(
            [each.score for each in found.segments], [score for _, score in segments], rtol=1e-5
        )
        assert (found.map == expected).mean() > 0.998
        merged += len(segments)
    assert merged > 4, "the scenes must have something in them"


def test_nothing_likely_leaves_an_empty_map() -> None:
    found = decode(scenes(0), threshold=1.0)
    assert found.segments == ()
    assert found.map.shape == (24, 32)
    assert not found.map.any()
    assert TASKS.get("panoptic_segmentation").describe(found) == "no segment"


def test_masks_may_pass_through_a_middle_size() -> None:
    outputs = scenes(3)
    found = decode(outputs, middle=(48, 64))
    larger = interpolate(torch.from_numpy(outputs["masks"]), (48, 64), mode="bilinear").numpy()
    placement = Placement((32, 24), (64, 48), scaling((32, 24), (64, 48)))
    # without a placement the picture is as large as the masks that are compared
    same = decode({**outputs, "masks": larger})
    np.testing.assert_array_equal(found.map, same.map)
    assert decode(outputs, placement, middle=(48, 64)).map.shape == (24, 32)


def test_what_the_model_did_not_see_has_no_segment() -> None:
    placement = Placement((40, 24), (32, 24), shifting(-4, 0))
    found = decode(scenes(1), placement, overlap=0.0)
    assert found.map[:, 4:36].any()
    assert not found.map[:, :4].any()
    assert not found.map[:, 36:].any()


def instances() -> dict[str, Array]:
    masks = np.zeros((1, 3, 12, 16), np.float32)
    masks[0, 0, 2:8, 2:8] = 0.9
    masks[0, 1, 2:8, 6:14] = 0.8  # 12 of its 48 pixels are those of the first
    masks[0, 2, 3:7, 3:7] = 0.7  # all inside the first
    semantic = np.zeros((1, 12, 16), np.int64)
    semantic[:, :6] = 2
    semantic[:, 6:] = 3
    return {
        "labels": np.array([[0, 1, 1]]),
        "masks": masks,
        "scores": np.array([[0.9, 0.8, 0.7]], np.float32),
        "semantic": semantic,
    }


def test_things_go_over_stuff() -> None:
    found = decode(instances(), form="semantic_instances", stuff=(2, 3), overlap=0.5, stuff_area=10)
    told = [(each.label, each.is_thing, each.pixels) for each in found.segments]
    assert told == [
        ("person", True, 36),
        ("dog", True, 36),
        ("sky", False, 48),
        ("grass", False, 72),
    ]
    expected = np.where(np.arange(12)[:, None] < 6, 3, 4).repeat(16, 1)
    expected[2:8, 2:8] = 1
    expected[2:8, 8:14] = 2
    np.testing.assert_array_equal(found.map, expected)
    assert TASKS.get("panoptic_segmentation").describe(found) == "person, dog, sky, grass"


def test_small_stuff_and_unsure_things_are_left_out() -> None:
    found = decode(
        instances(), form="semantic_instances", stuff=(2, 3), overlap=0.8, stuff_area=70,
        threshold=0.85,
    )  # fmt: skip
    assert [each.label for each in found.segments] == ["person", "sky", "grass"]
    found = decode(
        instances(), form="semantic_instances", stuff=(2, 3), overlap=0.8, stuff_area=85,
        threshold=0.85,
    )  # fmt: skip
    assert [each.label for each in found.segments] == ["person"]
    assert (found.map == 0).sum() == 12 * 16 - 36


def test_class_numbers_of_both_outputs_are_brought_together() -> None:
    outputs = instances()
    scores = np.zeros((1, 2, 12, 16), np.float32)
    scores[0, 0, :6], scores[0, 1, 6:] = 1, 1
    found = decode(
        {**outputs, "semantic": scores}, form="semantic_instances", stuff=(2, 3), overlap=0.5,
        stuff_area=1, semantic_offset=2, thing_classes=(1, 0),
    )  # fmt: skip
    assert [each.label for each in found.segments] == ["dog", "person", "sky", "grass"]


def test_results_have_a_json_form_and_a_drawing() -> None:
    found = decode(instances(), form="semantic_instances", stuff=(2, 3), stuff_area=1, overlap=0.5)
    told = json.loads(json.dumps(found.to_json()))
    assert told["size"] == [12, 16]
    for segment in told["segments"]:
        np.testing.assert_array_equal(mask_from_rle(segment["rle"]), found.mask(segment["id"]))
    assert [row["id"] for row in found.rows()] == [1, 2, 3, 4]
    drawn = TASKS.get("panoptic_segmentation").draw(Image.new("RGB", (160, 120)), found)
    assert drawn.size == (160, 120)
    assert len(set(drawn.get_flattened_data())) > 4


def test_outputs_of_another_shape_are_refused() -> None:
    with pytest.raises(
        FeedsError, match=r"An output has shape \[1, 12, 5\]. Expected masks: 1 x q"
    ):
        decode({"classes": np.zeros((1, 12, 5)), "masks": np.zeros((1, 12, 5))})
    with pytest.raises(FeedsError, match="Expected 2 of them, by the parameters of the task"):
        decode({"classes": np.zeros((1, 12, 5))})
