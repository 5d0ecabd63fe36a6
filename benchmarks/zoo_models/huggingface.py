"""Every vision architecture of transformers that a config alone can build, with random weights.

One model for each entry of the automatic mappings: the one with the most demanding head. Depth is cut
to two layers where that leaves the rest as it is, and pictures are small; widths are those of the
published default, so that every branch on a width goes the usual way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from zoo_models.case import Case, Inputs, Shape, floats, ints, pictures
from zoo_models.torchvision_shim import prepare

TASKS = (
    "OBJECT_DETECTION",
    "SEMANTIC_SEGMENTATION",
    "INSTANCE_SEGMENTATION",
    "UNIVERSAL_SEGMENTATION",
    "DEPTH_ESTIMATION",
    "IMAGE_CLASSIFICATION",
    "MASKED_IMAGE_MODELING",
    "ZERO_SHOT_IMAGE_CLASSIFICATION",
    "ZERO_SHOT_OBJECT_DETECTION",
    "KEYPOINT_DETECTION",
    "KEYPOINT_MATCHING",
    "IMAGE_TO_IMAGE",
    "IMAGE_MATTING",
    "VIDEO_CLASSIFICATION",
    "MASK_GENERATION",
    "NORMAL_ESTIMATION",
    "POSE_ESTIMATION",
    "POINTMAP_ESTIMATION",
    "TEXT_RECOGNITION",
    "TABLE_RECOGNITION",
    "BACKBONE",
    "IMAGE",
)
"""Mappings, those with heads first: of a model type that is in several, the first one counts."""

LEFT_OUT: dict[str, str] = {
    **dict.fromkeys(
        (
            "blip-2",
            "depth_pro",
            "llama4",
            "mllama",
            "omdet-turbo",
            "pp_ocrv5_server_det",
            "pp_ocrv6_medium_det",
            "pp_ocrv6_small_det",
            "pp_ocrv6_small_rec",
            "pp_ocrv6_tiny_rec",
        ),
        "its default config does not run on small pictures; a config for it is still to be written",
    ),
    "cohere2_vision": "a language model behind a SigLIP encoder, which is here by itself",
    "dinat": "needs the package natten",
    "edgetam": "its default config does not fit its default backbone",
    "edgetam_video": "its default config does not fit its default backbone",
    "sam2_video": "the same class as sam2",
    "sam3_video": "the same class as sam3_tracker",
    "sapiens2": "its default config has no head",
    "shieldgemma2": "a language model of 4 billion parameters behind a small vision encoder",
    "timm_backbone": "a wrapper around models of timm, which are here by themselves",
    "vit_mae": "masks at random, also in inference mode: no two calls are alike",
    "vitmatte": "its default config does not build",
}
"""Model types that cannot be had here, each with the reason."""

LAYERS = ("num_hidden_layers", "encoder_layers", "decoder_layers", "decoder_num_layers")
QUERIES = 10

FOUR = {"num_hidden_layers": 4}
SETTINGS: dict[str, dict[str, Any]] = {
    "beit": {**FOUR, "out_indices": [1, 2, 3, 4]},
    "data2vec-vision": {**FOUR, "out_indices": [0, 1, 2, 3]},
    "dpt": {**FOUR, "backbone_out_indices": [0, 1, 2, 3]},
    "efficientnet": {"width_coefficient": 1.0, "depth_coefficient": 1.0, "hidden_dim": 1280},
    "eomt": {**FOUR, "num_blocks": 2, "hidden_size": 384, "num_attention_heads": 6},
    "eomt_dinov3": {**FOUR, "num_blocks": 2, "hidden_size": 384, "num_attention_heads": 6},
    "lw_detr": {"projector_scale_factors": [1.0]},
    "pp_doclayout_v2": {"class_thresholds": [0.5, 0.5], "class_order": [1, 0]},
    "swin2sr": {"depths": [2, 2], "num_heads": [2, 2], "embed_dim": 60},
    "slanet": {"max_text_length": 5},
    "slanext": {"max_text_length": 5},
    "perceiver": {"num_self_attends_per_block": 2, "d_latents": 256, "num_latents": 32},
}
"""What the constructor of a config is given, where cutting its defaults down is not enough."""

SIDES: dict[str, int] = {
    "donut-swin": 224,
    "mobilevit": 128,
    "mobilevitv2": 128,
    "perceiver": 32,
    **dict.fromkeys(("pp_ocrv5_mobile_rec", "pp_ocrv6_small_rec", "pp_ocrv6_tiny_rec"), 96),
    "rf_detr": 56,
    "sam3_tracker": 56,
    "swin": 224,
}
"""Height and width of the pictures, where 64 or four patches will not do."""


def cases() -> list[Case]:
    return [case_of(kind, name) for kind, name in architectures().items() if kind not in LEFT_OUT]


def architectures() -> dict[str, str]:
    """Model types with the name of their class."""
    prepare()
    from transformers.models.auto import modeling_auto

    found: dict[str, str] = {}
    for task in TASKS:
        mapping: Mapping[str, Any] = getattr(modeling_auto, f"MODEL_FOR_{task}_MAPPING_NAMES", {})
        for kind, name in mapping.items():
            found.setdefault(kind, name if isinstance(name, str) else name[0])
    return found


def case_of(kind: str, name: str) -> Case:
    return Case(
        name=f"{kind} {name}",
        build=lambda: build(kind, name),
        inputs=inputs_of(kind),
        compare="rows" if "Detection" in name else "tensors",
        liven=True,
        picky=kind in PICKY,
    )


PICKY = ("siglip2",)
"""Grids of patches must fit the number of patches."""


def build(kind: str, name: str) -> nn.Module:
    import transformers

    return getattr(transformers, name)(small_config(kind, name))


def small_config(kind: str, name: str) -> Any:
    import transformers

    settings = {
        key: make() if callable(make) else make for key, make in SETTINGS.get(kind, {}).items()
    }
    config = getattr(transformers, name).config_class(**settings)
    _cut_down(config, side_of(kind), settings)
    config.return_dict = True
    return config


def _cut_down(config: Any, side: int, given: Mapping[str, Any]) -> None:
    from transformers import PretrainedConfig

    for key, value in list(vars(config).items()):
        if key in given:
            continue
        if isinstance(value, PretrainedConfig):
            _cut_down(value, side, {})
        elif key == "image_size":
            setattr(config, key, _like(value, side))
        elif key in GRIDS:
            setattr(config, key, GRIDS[key](_patches_across(side)))
        elif key == "num_queries":
            setattr(config, key, min(value, QUERIES))
        elif key in LAYERS and isinstance(value, int) and not hasattr(config, "stage_names"):
            setattr(config, key, min(value, 2))


GRIDS: dict[str, Any] = {
    "image_embedding_size": lambda across: across,
    "backbone_feature_sizes": lambda across: [[4 * across] * 2, [2 * across] * 2, [across] * 2],
}
"""Sizes of feature maps that a config repeats: those of SAM and its successors."""


def _patches_across(side: int) -> int:
    return side // (14 if side % 14 == 0 else 16)


def _like(value: Any, side: int) -> Any:
    return type(value)([side] * len(value)) if isinstance(value, (list, tuple)) else side


def side_of(kind: str) -> int:
    return SIDES.get(kind, 64)


def inputs_of(kind: str) -> Inputs:
    make = INPUTS.get(kind, _pixels)
    return make(side_of(kind))


def _batches(*shape: int) -> tuple[Shape, Shape]:
    return (2, *shape), (3, *shape)


def _pixels(side: int) -> Inputs:
    return {"pixel_values": pictures(*_batches(3, side, side))}


def _with_text(side: int) -> Inputs:
    return {"input_ids": ints(100, *_batches(8), low=3), **_pixels(side)}


def _text_after(side: int) -> Inputs:
    return {**_pixels(side), "input_ids": ints(100, *_batches(8), low=3)}


def _frames(count: int) -> Any:
    return lambda side: {"pixel_values": pictures(*_batches(count, 3, side, side))}


def _videos(count: int) -> Any:
    return lambda side: {"pixel_values_videos": pictures(*_batches(count, 3, side, side))}


def _points(side: int) -> Inputs:
    return {**_pixels(side), "input_points": floats(*_batches(1, 3, 2))}


def _with_task(side: int) -> Inputs:
    return {**_pixels(side), "task_inputs": ints(100, *_batches(77))}


def _patches(side: int) -> Inputs:
    """SigLIP 2 takes patches with the grid that they come from; some rows are padded."""
    return {
        "pixel_values": floats(*_batches(16, 768)),
        "pixel_attention_mask": ints(2, *_batches(16), low=1),
        "spatial_shapes": ints(5, *_batches(2), low=2),
    }


def _tokens(side: int) -> Inputs:
    return {"input_ids": ints(500, *_batches(32))}


INPUTS: dict[str, Any] = {
    **dict.fromkeys(("align", "altclip", "blip", "chinese_clip", "clipseg"), _with_text),
    **dict.fromkeys(("tipsv2", "owlv2", "owlvit"), _with_text),
    **dict.fromkeys(("grounding-dino", "mm-grounding-dino"), _text_after),
    **dict.fromkeys(("sam", "sam_hq", "sam2", "sam3_tracker"), _points),
    **dict.fromkeys(("efficientloftr", "lightglue", "superglue"), _frames(2)),
    "imagegpt": _tokens,
    "oneformer": _with_task,
    "siglip2": _patches,
    "timesformer": _frames(8),
    "videomae": _frames(16),
    "vivit": _frames(32),
    "vjepa2": _videos(4),
    "videomt": _videos(2),
    "videoprism": lambda side: {**_videos(16)(side), "input_ids": ints(100, *_batches(8), low=3)},
    "videoprism_vision_model": _videos(16),
}
