"""Masks of objects in a picture, against torch's own samplers and loops."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from modelport.codebases.torchvision_operators import import_torchvision
from modelport.errors import FeedsError, UsageError
from modelport.runtime.decoding.rle import mask_from_rle
from modelport.runtime.placement import Placement, scaling, shifting
from modelport.runtime.tasks.base import Context
from modelport.runtime.tasks.instance_segmentation import Instances, InstanceSegmentationTask

Array = np.ndarray[Any, Any]
TASK = InstanceSegmentationTask()
WIDE, HIGH = 90, 70


def decode(outputs: dict[str, Array], placement: Any = None, **parameters: Any) -> Instances:
    return TASK.decode(outputs, Context(TASK.parameters(parameters), ("ant", "bee"), placement))


def box_outputs(seed: int, size: int = 28) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    corner = rng.random((6, 2)) * [WIDE, HIGH] - 10
    boxes = np.concatenate([corner, corner + rng.random((6, 2)) * 50 + 3], 1)
    smooth = functional.interpolate(
        torch.from_numpy(rng.normal(0, 3, (6, 1, 5, 5))), size=(size, size), mode="bicubic"
    )
    scores = np.linspace(0.9, 0.5, 6)[:, None]
    return {
        "dets": np.concatenate([boxes, scores], 1)[None].astype(np.float32),
        "labels": rng.integers(0, 2, (1, 6)),
        "masks": torch.sigmoid(smooth)[:, 0].numpy()[None].astype(np.float32),
    }


def grid_sampled(masks: Array, boxes: Array, wide: int, high: int) -> Array:
    """What MMDetection and Detectron2 define: a bilinear sample at the middle of each pixel."""
    x = (np.arange(wide) + 0.5 - boxes[:, :1]) / (boxes[:, 2:3] - boxes[:, :1]) * 2 - 1
    y = (np.arange(high) + 0.5 - boxes[:, 1:2]) / (boxes[:, 3:] - boxes[:, 1:2]) * 2 - 1
    grid = np.stack(
        [np.broadcast_to(x[:, None], (len(x), high, wide)),
         np.broadcast_to(y[:, :, None], (len(x), high, wide))], -1,
    )  # fmt: skip
    found = functional.grid_sample(
        torch.from_numpy(masks[:, None]).double(),
        torch.from_numpy(grid).double(),
        align_corners=False,
    )
    return found[:, 0].numpy()


def inside(boxes: Array) -> Array:
    """Pixels that a box touches: beyond them nothing is drawn."""
    x, y = np.arange(WIDE), np.arange(HIGH)
    across = (x + 1 > boxes[:, :1]) & (x < boxes[:, 2:3])
    down = (y + 1 > boxes[:, 1:2]) & (y < boxes[:, 3:])
    return down[:, :, None] & across[:, None]


@pytest.mark.parametrize("seed", range(4))
def test_masks_fill_their_boxes(seed: int) -> None:
    outputs = box_outputs(seed)
    result = decode(outputs, preset="mmdeploy_masks", size=(HIGH, WIDE))
    boxes, values = outputs["dets"][0, :, :4].astype(float), outputs["masks"][0]
    wanted = grid_sampled(values, boxes, WIDE, HIGH)
    found = np.stack([each.mask for each in result.objects])
    sure = (np.abs(wanted - 0.5) > 1e-5) & inside(boxes)
    assert (found == (wanted > 0.5))[sure].all()
    assert not found[~inside(boxes)].any()
    assert 0 < found.mean() < 0.5


@pytest.mark.parametrize("seed", range(4))
def test_masks_are_within_a_pixel_of_torchvisions(seed: int) -> None:
    """Discs, whose edge is one line: torchvision brings boxes to whole pixels first."""
    if import_torchvision() is None:
        pytest.skip("torchvision is not installed")
    from torchvision.models.detection.roi_heads import paste_masks_in_image

    outputs = box_outputs(seed)
    x = np.linspace(-1, 1, 28)
    disc = 1 / (1 + np.exp(8 * (x**2 + x[:, None] ** 2 - 0.6)))
    outputs["masks"] = np.broadcast_to(disc.astype(np.float32), (1, 6, 28, 28)).copy()
    boxes, values = outputs["dets"][0, :, :4], outputs["masks"][0]
    boxes[:] = boxes.clip(0, [WIDE, HIGH, WIDE, HIGH])  # as torchvision's detectors do
    pasted = paste_masks_in_image(
        torch.from_numpy(values[:, None]), torch.from_numpy(boxes), (HIGH, WIDE)
    )
    theirs = (pasted[:, 0] > 0.5).numpy()
    result = decode(outputs, preset="mmdeploy_masks", size=(HIGH, WIDE))
    for each, other in zip(result.objects, theirs, strict=True):
        if min(each.box[2] - each.box[0], each.box[3] - each.box[1]) < 8:
            continue  # of so few pixels, whole ones make a quarter more
        tensor = torch.from_numpy(other[None].astype(np.float32))
        grown = functional.max_pool2d(tensor, 3, 1, 1)[0].numpy() > 0
        shrunk = -functional.max_pool2d(-tensor, 3, 1, 1)[0].numpy() > 0
        mask = each.mask
        assert not (mask & ~grown).any()
        assert not (shrunk & ~mask).any()


def placed() -> Placement:
    """A picture of 180 x 100 in a tensor of 90 x 70, ten rows above it."""
    whole = Placement.whole(180, 100).then(scaling((180, 100), (90, 50)), (90, 50))
    return whole.then(shifting(0, 10), (WIDE, HIGH))


def at_pixels(maps: Array, placement: Placement) -> Array:
    """Maps over the tensor at the middle of every pixel of the picture, by torch."""
    width, height = placement.picture
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    points = placement.points_to_tensor(np.stack([x, y], -1))
    grid = torch.from_numpy(points / [WIDE, HIGH] * 2 - 1)[None]
    sampled = functional.grid_sample(
        torch.from_numpy(maps[None]).double(), grid, align_corners=False, padding_mode="border"
    )
    return sampled[0].numpy()


@pytest.mark.parametrize("turn", [False, True])
@pytest.mark.parametrize("kind", ["full", "prototypes"])
def test_masks_over_the_tensor(kind: str, turn: bool) -> None:
    rng = np.random.default_rng(7)
    maps = rng.normal(0, 2, (8, 14, 18)).astype(np.float32)
    mixes = np.eye(8, dtype=np.float32)[:3] + 0.25 * (kind == "prototypes")
    boxes = np.array([[5, 12, 60, 50], [30, 15, 85, 58], [0, 0, 90, 70]], np.float32)
    rows = np.zeros((1, 3, 6 + 8), np.float32)
    rows[0, :, :4], rows[0, :, 4], rows[0, :, 6:] = boxes, [0.9, 0.8, 0.7], mixes
    placement = placed()
    if turn:
        angle = 0.1
        matrix = np.array([[np.cos(angle), -np.sin(angle), 3], [np.sin(angle), np.cos(angle), -5]])
        placement = placement.then(np.vstack([matrix, [0, 0, 1]]), (WIDE, HIGH))
    masks: dict[str, Any] = {"output": 1, "kind": kind, "threshold": 0.0}
    if kind == "prototypes":
        masks["coefficients"] = {"output": 0, "first": 6}
    outputs = {"rows": rows, "maps": maps[None]}
    result = decode(outputs, placement, preset="end_to_end", masks=masks)
    values = at_pixels(
        np.tensordot(mixes, maps, 1) if kind == "prototypes" else maps[:3], placement
    )
    for each, wanted in zip(result.objects, values, strict=True):
        left, top, right, bottom = each.box
        x, y = np.arange(180) + 0.5, np.arange(100) + 0.5
        here = ((y >= top) & (y < bottom))[:, None] & (x >= left) & (x < right)
        sure = here & (np.abs(wanted) > 1e-4)
        assert (each.mask == (wanted > 0))[sure].all()
        assert each.mask.shape == (100, 180)
        assert 200 < each.area < here.sum()
        if kind == "prototypes":
            assert not each.mask[~here].any(), "cut off at the box"


def test_activations_before_resizing() -> None:
    """A sigmoid bends the lines between cells, so it is not the same before as after."""
    outputs = box_outputs(3, 4)
    logits = np.log(outputs["masks"] / (1 - outputs["masks"]))
    given = {"preset": "mmdeploy_masks", "size": (HIGH, WIDE)}
    first = decode(outputs, **given)
    masks = {"output": "masks", "activation": "sigmoid"}
    second = decode({**outputs, "masks": logits}, **given | {"masks": masks})
    plain = decode(
        {**outputs, "masks": logits}, **given | {"masks": {"output": "masks", "threshold": 0}}
    )
    different = sum(a.mask != b.mask for a, b in zip(first.objects, plain.objects, strict=True))
    for one, other in zip(first.objects, second.objects, strict=True):
        assert np.count_nonzero(one.mask != other.mask) <= 2
    assert np.count_nonzero(different) > 5


def test_to_json_has_run_lengths() -> None:
    result = decode(box_outputs(1), preset="mmdeploy_masks", size=(HIGH, WIDE))
    told = json.loads(json.dumps(result.to_json()))["objects"]
    for each, entry in zip(result.objects, told, strict=True):
        np.testing.assert_array_equal(mask_from_rle(entry["mask"]), each.mask)
        assert entry["label"] == each.label
    assert [row["area"] for row in result.rows()] == [each.mask.sum() for each in result.objects]


def test_boxes_beyond_the_picture_have_empty_masks() -> None:
    outputs = box_outputs(0)
    outputs["dets"][0, 0, :4] = [-50, -50, -20, -20]
    outputs["dets"][0, 1, :4] = [5, 5, 5, 5]
    result = decode(outputs, Placement.whole(WIDE, HIGH), preset="mmdeploy_masks")
    assert result.objects[0].area == result.objects[1].area == 0
    assert result.objects[0].mask.shape == (HIGH, WIDE)


def test_nothing_found_has_no_masks() -> None:
    outputs = {
        "dets": np.zeros((1, 0, 5)),
        "labels": np.zeros((1, 0), int),
        "masks": np.zeros((1, 0, 28, 28)),
    }
    result = decode(outputs, preset="mmdeploy_masks", size=(9, 9))
    assert len(result) == 0
    assert TASK.describe(result) == "nothing"


def test_drawing_tints_masks() -> None:
    result = decode(box_outputs(2), preset="mmdeploy_masks", size=(HIGH, WIDE))
    drawn = TASK.draw(Image.new("L", (WIDE, HIGH)), result)
    assert drawn.size == (WIDE, HIGH)
    changed = np.asarray(drawn).sum(-1) > 0
    for each in result.objects:
        assert changed[each.mask].mean() > 0.9


def test_mistakes() -> None:
    outputs = box_outputs(0)
    with pytest.raises(
        FeedsError, match=r"shape \[1, 2, 28, 28\], and 6 objects were found\. Expected objects x"
    ):
        decode({**outputs, "masks": outputs["masks"][:, :2]}, preset="mmdeploy_masks", size=(9, 9))
    with pytest.raises(FeedsError, match="Nothing tells the size of the tensor, and masks"):
        decode(outputs, preset="mmdeploy_masks")
    with pytest.raises(UsageError, match="'masks' of the task instance_segmentation is wrong"):
        TASK.parameters({"preset": "mmdeploy"})
    with pytest.raises(FeedsError, match="nothing says with which coefficients"):
        decode(
            outputs, preset="mmdeploy", size=(9, 9), masks={"output": "masks", "kind": "prototypes"}
        )
