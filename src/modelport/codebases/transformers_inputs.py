"""What the models of transformers are fed with, from their configuration."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

LENGTH = 16
"""Tokens of a text; the library leaves it to its user."""

SAMPLES = 16000
"""Of sound: one second, at the rate that most models want."""


def inputs_of(model: Any, config: Any, size: tuple[int, int]) -> dict[str, str] | None:
    """Specifications of one sample by name; None where the model takes something else."""
    taken = inspect.signature(model.forward).parameters
    main = model.main_input_name
    tokens = f"int64=1x{LENGTH}"
    shapes: dict[str, str] = {}
    if main == "pixel_values":
        shapes["pixel_values"] = f"=1x{_channels(config)}x{size[0]}x{size[1]}"
    elif main == "input_values":
        shapes["input_values"] = f"=1x{SAMPLES}"
    elif main == "input_features":
        shapes["input_features"] = _spectrum(config)
    if main == "input_ids" or _needs(taken, "input_ids"):
        shapes |= dict.fromkeys(("input_ids", "attention_mask"), f":{tokens}")
        if "pixel_values" in taken and hasattr(config, "vision_config"):
            shapes["pixel_values"] = f"=1x{_channels(config)}x{size[0]}x{size[1]}"
    if config.is_encoder_decoder:
        shapes["decoder_input_ids"] = f":{tokens}"
    found = {name: f"{name}{shapes[name]}" for name in taken if shapes.get(name)}
    return found or None


def picture_size(config: Any) -> tuple[int, int]:
    """Height and width by the configuration, else the usual 224."""
    for part in (config, getattr(config, "vision_config", None)):
        size = getattr(part, "image_size", None)
        if isinstance(size, int):
            return size, size
        if isinstance(size, Mapping):
            return int(size["height"]), int(size["width"])
        if isinstance(size, (list, tuple)) and len(size) == 2:
            return int(size[0]), int(size[1])
    return 224, 224


def _channels(config: Any) -> int:
    for part in (config, getattr(config, "vision_config", None)):
        count = getattr(part, "num_channels", None)
        if isinstance(count, int):
            return count
    return 3


def _spectrum(config: Any) -> str:
    """Mel bands by frames, as Whisper takes them; empty where the configuration does not tell."""
    bands = getattr(config, "num_mel_bins", None)
    frames = getattr(config, "max_source_positions", None)
    return f"=1x{bands}x{2 * frames}" if bands and frames else ""


def _needs(parameters: Mapping[str, inspect.Parameter], name: str) -> bool:
    """Text and pictures together, as CLIP takes them: the text comes first."""
    return name in parameters and next(iter(parameters)) == name
