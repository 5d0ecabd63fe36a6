"""Models of torchvision, with the transforms and categories of their weights."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from PIL import Image

from modelport.codebases.base import Codebase, first_parameter, pixels
from modelport.codebases.recipes import Recipe, prove, resized_and_cropped
from modelport.errors import UsageError
from modelport.frontends.source import Source
from modelport.runtime.transforms import Normalize, Transform

_PICTURES = ("ImageClassification", "SemanticSegmentation")
"""Presets that take one picture; those for videos and optical flow take several."""


_TASKS = {
    "NoneType": "classification",
    "ImageClassification": "classification",
    "SemanticSegmentation": "semantic_segmentation",
    "VideoClassification": "video_classification",
}
"""By the presets of weights."""


class Torchvision(Codebase):
    name: ClassVar[str] = "torchvision"
    package: ClassVar[str] = "torchvision"
    summary: ClassVar[str] = "classifiers, detectors and segmenters of torchvision"
    example: ClassVar[str] = "torchvision:resnet50"

    def names(self) -> list[str]:
        return list(self.library().models.list_models())

    def _build(self, name: str, options: Mapping[str, Any], pretrained: bool) -> Source:
        models = self.library().models
        config = dict(options)
        weights = _weights(models.get_model_weights(name), name, config.pop("weights", None))
        if pretrained and weights is None:
            raise ValueError(f"torchvision has no weights for {name}")
        builder = models.get_model_builder(name)
        config["weights"] = weights if pretrained else None
        if not pretrained and "weights_backbone" in inspect.signature(builder).parameters:
            config.setdefault("weights_backbone", None)
        model = builder(**config)
        return _source(name, model, weights, options, pretrained)


def _weights(known: Any, name: str, wanted: str | None) -> Any:
    """The weights of that name, by default torchvision's own choice; None where there are none."""
    if not list(known):
        return None
    if wanted is None or wanted == "DEFAULT":
        return known.DEFAULT
    if str(wanted) not in known.__members__:
        raise UsageError(
            f"torchvision has no weights {wanted!r} for {name}",
            expected=f"one of {', '.join(known.__members__)}",
        )
    return known[str(wanted)]


def _source(
    name: str, model: Any, weights: Any, options: Mapping[str, Any], pretrained: bool
) -> Source:
    preset = None if weights is None else weights.transforms()
    meta = {} if weights is None else weights.meta
    kind = type(preset).__name__
    recipe, inputs = _input(name, model, preset, meta, options)
    categories = meta.get("categories")
    if categories and options.get("num_classes", len(categories)) != len(categories):
        categories = None
    task, parameters = _meaning(model, kind, categories)
    notes = list(recipe.notes)
    if not pretrained and getattr(model, "transform_input", None) is False:
        notes.append(
            f"torchvision's own weights of {name} want the option transform_input=true as well"
        )
    return Source(
        model=model,
        inputs=inputs,
        transforms=recipe.transforms,
        task=task,
        parameters=parameters,
        labels=list(categories) if categories else None,
        licence=meta.get("license") if pretrained else None,
        name=name,
        notes=tuple(notes),
    )


def _meaning(model: Any, kind: str, categories: Sequence[str] | None) -> tuple[str, dict[str, Any]]:
    """Task, and its parameters."""
    from modelport.codebases.detection import is_detector
    from modelport.codebases.torchvision_heads import meaning_of_detector

    if is_detector(model):
        return meaning_of_detector(model)
    return _TASKS.get(kind, "tensors"), _parameters(kind, categories)


def _parameters(kind: str, categories: Sequence[str] | None) -> dict[str, Any]:
    """Of the task: a segmenter may have a second output, of use in training only."""
    if kind != "SemanticSegmentation":
        return {}
    hidden = [number for number, name in enumerate(categories or ()) if name == "__background__"]
    return {"output": "out", "hidden": hidden}


def _input(
    name: str, model: Any, preset: Any, meta: Mapping[str, Any], options: Mapping[str, Any]
) -> tuple[Recipe, Any]:
    """How pictures become the input, and its specification."""
    from modelport.codebases.detection import for_one_picture, is_detector, native_size
    from modelport.codebases.torchvision_heads import recipe_of_detector

    detects = is_detector(model)
    size = native_size(for_one_picture(model)) if detects else _size(preset, meta, options)
    kind = type(preset).__name__
    first = first_parameter(model)
    if detects:
        return recipe_of_detector(model, size), pixels(first, 3, size)
    if kind == "VideoClassification":
        frames = meta.get("min_temporal_size", 16)
        return _unsaid(name, "videos"), f"{first}=1x3x{frames}x{size[0]}x{size[1]}"
    if kind == "OpticalFlow":
        pair = list(inspect.signature(model.forward).parameters)[:2]
        return _unsaid(name, "pairs of pictures"), {each: pixels(each, 3, size) for each in pair}
    return _recipe(preset).fitting(size, f"torchvision's {name}"), pixels(first, 3, size)


def _size(preset: Any, meta: Mapping[str, Any], options: Mapping[str, Any]) -> tuple[int, int]:
    """Height and width of the input, from what knows best to a guess."""
    if isinstance(options.get("image_size"), int):
        return (options["image_size"],) * 2
    edges = getattr(preset, "crop_size", None) or getattr(preset, "resize_size", None)
    edges = edges or meta.get("min_size") or (224,)
    return int(edges[0]), int(edges[-1])


def _unsaid(name: str, what: str) -> Recipe:
    return Recipe(notes=(f"{name} takes {what}, for which there are no transforms: feed tensors",))


def _recipe(preset: Any) -> Recipe:
    if type(preset).__name__ not in _PICTURES:
        return Recipe()

    def theirs(picture: Image.Image) -> Any:
        return preset(picture).numpy()

    return prove([proposal(vars(preset))], theirs, "The preset of these torchvision weights")


def proposal(preset: Mapping[str, Any]) -> list[Transform]:
    """Transforms for the attributes of what `weights.transforms()` gives."""
    mean, std = preset.get("mean", (0.0,) * 3), preset.get("std", (1.0,) * 3)
    method = preset.get("interpolation")
    return resized_and_cropped(
        resize=_edge(preset.get("resize_size")),
        crop=_edge(preset.get("crop_size")),
        interpolation=getattr(method, "value", "bilinear"),
        normalize=Normalize(mean=tuple(mean), std=tuple(std)),
    )


def _edge(size: Any) -> int | tuple[int, int] | None:
    if not size:
        return None
    return int(size[0]) if len(size) == 1 else (int(size[0]), int(size[1]))
