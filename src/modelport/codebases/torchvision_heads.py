"""What the outputs of torchvision's models mean: tasks and their parameters."""

from __future__ import annotations

from typing import Any

from modelport.codebases.recipes import Recipe
from modelport.runtime.transforms import Decode, Layout, Letterbox, Normalize, Resize, Transform
from modelport.types import Array


def ssd_priors(model: Any) -> dict[str, Any]:
    """Arguments of the preset `ssd`, from the boxes that an SSD of torchvision makes.

    For models without `steps`, the maps are those that pictures of the model's own size have.
    """
    maker = model.anchor_generator
    levels = [_pairs(pairs.numpy(), maker.clip) for pairs in maker._wh_pairs]
    if maker.steps is not None:
        return {"anchors": levels, "strides": tuple(float(step) for step in maker.steps)}
    return {"anchors": levels, "grids": _grids(model)}


def _pairs(pairs: Array, clip: bool) -> tuple[tuple[float, float], ...]:
    if clip:
        pairs = pairs.clip(0, 1)
    return tuple((float(width), float(height)) for width, height in pairs)


def _grids(model: Any) -> tuple[tuple[int, int], ...]:
    import torch

    width, height = model.transform.fixed_size
    was = model.training
    with torch.inference_mode():
        features = model.eval().backbone(torch.zeros(1, 3, height, width))
    model.train(was)
    maps = features.values() if isinstance(features, dict) else [features]
    return tuple((int(each.shape[2]), int(each.shape[3])) for each in maps)


def meaning_of_detector(model: Any) -> tuple[str, dict[str, Any]]:
    """Task and parameters of a whole detector, whose graph ends after its NMS.

    Thresholds below the library's own change nothing: what it leaves out is not in the outputs.
    """
    heads: Any = getattr(model, "roi_heads", None)
    most: Any = getattr(heads or model, "detections_per_img", 300)
    limits = {"threshold": 0.05, "most": int(most)}
    if heads is not None and heads.has_keypoint():
        return "pose", {
            "form": "rows",
            "outputs": ["boxes", "scores", "labels", "keypoints"],
            "parts": ["box", "score", "class", "points"],
            "box": "corners",
            "rows_last": False,
            "iou": None,
            "score_threshold": limits["threshold"],
            "most": limits["most"],
        }
    if heads is not None and heads.has_mask():
        return "instance_segmentation", {"preset": "torchvision_masks", **limits}
    return "detection", {"preset": "torchvision", **limits}


def recipe_of_detector(model: Any, size: tuple[int, int]) -> Recipe:
    """What the detector's own transform does, as far as a graph of one size can have it.

    It normalises inside the model. A picture that it would keep the shape of is fitted into the upper
    left corner here, and what is left gets the colour that normalises to zero, as in its batches.
    """
    inside = model.transform
    steps: list[Transform] = [Decode()]
    notes: tuple[str, ...] = ()
    if inside.fixed_size is not None:
        steps.append(Resize(size, interpolation="opencv.linear"))
    else:
        grey = [round(255 * mean) for mean in inside.image_mean]
        fill = (grey[0], grey[1], grey[2])
        steps.append(Letterbox(size, fill=fill, anchor="top_left", rounding="floor"))
        notes = (
            f"pictures are fitted into {size[0]}x{size[1]}; torchvision itself brings the shorter "
            f"side to {size[0]}, whatever the other one becomes",
        )
    plain = Normalize(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    return Recipe((*steps, plain, Layout()), size, notes)
