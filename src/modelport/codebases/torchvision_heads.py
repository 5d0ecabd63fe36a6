"""What the outputs of torchvision's models mean: tasks and their parameters."""

from __future__ import annotations

from typing import Any

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
