"""What the outputs of transformers' models mean, where their class tells."""

from __future__ import annotations

from typing import Any

_VECTORS = {
    "CLIPVisionModelWithProjection": "image_embeds",
    "Dinov2Model": "pooler_output",
    "Dinov2WithRegistersModel": "pooler_output",
    "SiglipVisionModel": "pooler_output",
}
"""Encoders of pictures, and the output that stands for the whole picture."""

_CLASSIFIERS = ("ForImageClassification", "ForSequenceClassification")

_VITPOSE = {
    "form": "heatmaps",
    "outputs": ["heatmaps"],
    "refine": "dark_udp",
    "udp": True,
    "blur_sigma": 0.8,
    "blur_edge": "mirror",
}
"""As the library's own processing of its heatmaps, for the crop of one person."""

_PERSON_KEYPOINTS = 17

_QUERIES = ("DetrFor", "TableTransformerFor", "YolosFor")
"""Detectors of a softmax over each query's classes, the last of which is none."""

_PAIRS = ("RTDetrFor", "RTDetrV2For", "DFineFor")
"""Detectors of sigmoids, of which as many pairs of query and class are taken as there are queries."""

_HUNDRED_PAIRS = ("ConditionalDetrFor", "DabDetrFor", "DeformableDetrFor")
"""The same, but the best hundred."""

Meaning = tuple[str, dict[str, Any]]
"""A task and its parameters."""


def meaning_of(model: Any, config: Any) -> Meaning:
    """The task of a model, `tensors` where its class does not tell."""
    kind = type(model).__name__
    if any(word in kind for word in _CLASSIFIERS) and config.num_labels > 1:
        return "classification", _scores(config)
    if kind.endswith("ForSemanticSegmentation"):
        return "semantic_segmentation", {"output": "logits"}
    if kind in _VECTORS:
        return "embedding", {"output": _VECTORS[kind]}
    if kind == "VitPoseForPoseEstimation" and config.num_labels == _PERSON_KEYPOINTS:
        return "pose", dict(_VITPOSE)
    return _depth(kind, config) or _detection(kind, config) or ("tensors", {})


def _detection(kind: str, config: Any) -> Meaning | None:
    """As the library's own processing of outputs does it."""
    if not kind.endswith("ObjectDetection"):
        return None
    queries: Any = getattr(config, "num_queries", None)
    most = int(queries or getattr(config, "num_detection_tokens", 100))
    if kind.startswith(_QUERIES):
        return "detection", {"preset": "detr", "most": most}
    if kind.startswith(_PAIRS):
        return "detection", {"preset": "deformable_detr", "most": most}
    if kind.startswith(_HUNDRED_PAIRS):
        return "detection", {"preset": "deformable_detr", "most": 100}
    return None


def _scores(config: Any) -> dict[str, Any]:
    several = getattr(config, "problem_type", None) == "multi_label_classification"
    return {"multi_label": True} if several else {}


def _depth(kind: str, config: Any) -> Meaning | None:
    """Only of those whose own processing is one bicubic resize."""
    if kind not in ("DPTForDepthEstimation", "DepthAnythingForDepthEstimation"):
        return None
    metric = getattr(config, "depth_estimation_type", "relative") == "metric"
    meant = {"kind": "distance", "unit": "m"} if metric else {"kind": "inverse"}
    return "depth", {"output": "predicted_depth", **meant}
