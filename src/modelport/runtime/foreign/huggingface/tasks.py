"""The task of a model, by the class that its `config.json` names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from modelport.errors import BundleFormatError
from modelport.runtime.foreign.folder import Fields
from modelport.types import Signature

SOFTMAX_DETECTORS = ("detr", "yolos", "table-transformer")
"""Their last class is no object; those of the other detectors are sigmoids."""

INVERSE_DEPTH = ("dpt", "depth_anything")


@dataclass(frozen=True)
class Found:
    """Attributes:
    task: `tensors` where nothing here fits, and the notes then say why.
    """

    task: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def task_of(config: Fields, signature: Signature) -> Found:
    """The task of ours for the model."""
    classes = [name for name in config.items("architectures", []) if isinstance(name, str)]
    name = classes[0] if classes else ""
    for ending, find in _ENDINGS.items():
        if name.removesuffix("WithTeacher").endswith(ending):
            return find(config, signature)
    said = f"its class is {name}" if name else "config.json names no class"
    return _tensors(f"{said}, for which modelport has no task")


def labels_of(config: Fields) -> list[str] | None:
    """The names of the classes in their order; None where they are not all there."""
    if "id2label" not in config:
        return None
    given = config.inner("id2label").plain()
    found = [given.get(str(index)) for index in range(len(given))]
    if not all(isinstance(label, str) for label in found):
        raise BundleFormatError(
            f"{config.where}: id2label has the keys {', '.join(list(given)[:4])}, ...",
            expected="a name for each number from 0 on",
        )
    return [str(label) for label in found] or None


def _tensors(reason: str) -> Found:
    return Found("tensors", notes=(f"{reason}, so the outputs come as tensors",))


def _named(signature: Signature, name: str) -> bool:
    return any(spec.name == name for spec in signature.outputs)


def _classification(config: Fields, signature: Signature) -> Found:
    problem = config.text("problem_type", "single_label_classification")
    if signature.outputs[0].name != "logits":
        return _tensors("its first output is no logits")
    if problem == "regression":
        return _tensors("the problem_type in config.json is regression")
    several = problem == "multi_label_classification"
    return Found("classification", {"scores": "logits", "multi_label": several})


def _detection(config: Fields, signature: Signature) -> Found:
    if not (_named(signature, "logits") and _named(signature, "pred_boxes")):
        return _tensors("it has no outputs logits and pred_boxes")
    softmax = config.text("model_type", "") in SOFTMAX_DETECTORS
    return Found("detection", {"preset": "detr" if softmax else "deformable_detr"})


def _segmentation(config: Fields, signature: Signature) -> Found:
    if not _named(signature, "logits"):
        return _tensors("it has no output logits")
    return Found("semantic_segmentation", {"output": "logits", "gives": "scores"})


def _depth(config: Fields, signature: Signature) -> Found:
    kind = config.text("model_type", "")
    metric = config.text("depth_estimation_type", "relative") == "metric"
    if kind not in INVERSE_DEPTH or not _named(signature, "predicted_depth"):
        return _tensors(f"modelport does not know what the depths of {kind or 'this model'} mean")
    if metric:
        return Found("depth", {"output": "predicted_depth", "kind": "distance", "unit": "m"})
    return Found("depth", {"output": "predicted_depth", "kind": "inverse"})


def _projection(config: Fields, signature: Signature) -> Found:
    for name in ("image_embeds", "text_embeds"):
        if _named(signature, name):
            return Found("embedding", {"output": name, "pooling": "as_is"})
    return _tensors("it has no output image_embeds or text_embeds")


_ENDINGS: Mapping[str, Callable[[Fields, Signature], Found]] = {
    "ForImageClassification": _classification,
    "ForSequenceClassification": _classification,
    "ForObjectDetection": _detection,
    "ForSemanticSegmentation": _segmentation,
    "ForDepthEstimation": _depth,
    "ModelWithProjection": _projection,
}

ENDINGS: Sequence[str] = tuple(_ENDINGS)
