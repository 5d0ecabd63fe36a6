"""Models of segmentation_models_pytorch, with the numbers their encoders were trained with."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from modelport.codebases.base import Codebase, first_parameter, pixels
from modelport.codebases.recipes import Recipe, prove
from modelport.frontends.source import Source
from modelport.runtime.transforms import Decode, Layout, Normalize, Transform

SIZE = (256, 256)
"""The library leaves the size to its user; encoders want multiples of 32."""


class SegmentationModelsPytorch(Codebase):
    name: ClassVar[str] = "segmentation_models_pytorch"
    package: ClassVar[str] = "segmentation-models-pytorch"
    summary: ClassVar[str] = "segmenters: an architecture around an encoder"
    example: ClassVar[str] = "segmentation_models_pytorch:Unet?encoder_name=resnet18&classes=3"
    needs: ClassVar[tuple[str, ...]] = ("timm", "torchvision")

    def names(self) -> list[str]:
        return [kind.__name__ for kind in self.library().MODEL_ARCHITECTURES_MAPPING.values()]

    def _build(self, name: str, options: Mapping[str, Any], pretrained: bool) -> Source:
        library = self.library()
        known = self._options(name)
        encoder = str(options.get("encoder_name", known["encoder_name"].default))
        # Encoders of timm, written `tu-NAME`, take arguments of their own.
        surplus = [key for key in options if key not in known]
        if surplus and not encoder.startswith("tu-"):
            raise self.unknown_option(name, surplus[0], list(known))
        config = dict(options)
        weights = config.get("encoder_weights", _default_weights(encoder))
        config["encoder_weights"] = weights if pretrained else None
        model = library.create_model(name, **config)
        channels = int(options.get("in_channels", 3))
        size = _size(options)
        recipe = self._recipe(encoder, weights, channels, pretrained)
        notes = [*recipe.fitting(size, "segmentation_models_pytorch").notes]
        if pretrained and weights:
            notes.append(
                f"the weights are those of the encoder {encoder}; the decoder's are random until "
                "--weights loads others"
            )
        return Source(
            model=model,
            inputs=pixels(first_parameter(model), channels, size),
            transforms=recipe.transforms,
            **_meaning(options, known),
            name=f"{name}_{encoder}",
            notes=tuple(notes),
        )

    def _options(self, name: str) -> Mapping[str, inspect.Parameter]:
        """What the architecture's constructor takes by name."""
        kind = self.library().MODEL_ARCHITECTURES_MAPPING[name.lower()]
        found = inspect.signature(kind.__init__).parameters
        return {
            key: value
            for key, value in found.items()
            if value.kind is not value.VAR_KEYWORD and key != "self"
        }

    def _recipe(self, encoder: str, weights: Any, channels: int, pretrained: bool) -> Recipe:
        encoders = self.library().encoders
        if channels != 3:
            note = f"pictures have 3 channels and this input {channels}, so no transforms were declared"
            return Recipe(notes=(note,))
        if not (pretrained or self._has_numbers(encoder, weights)):
            return Recipe(notes=(_UNKNOWN.format(encoder),))
        try:
            numbers = encoders.get_preprocessing_params(encoder, pretrained=weights or "imagenet")
        except Exception:  # not to be had without a network, or there are none
            return Recipe(notes=(_UNKNOWN.format(encoder),))
        return proved(numbers, encoders.preprocess_input)

    def _has_numbers(self, encoder: str, weights: Any) -> bool:
        """Whether the library knows how to normalise without asking its hub.

        A question without a network costs half a minute of retries.
        """
        if encoder.startswith("tu-"):
            return True
        from huggingface_hub import try_to_load_from_cache

        known = self.library().encoders.encoders.get(encoder, {})
        where = known.get("pretrained_settings", {}).get(weights or "imagenet")
        if where is None:
            return False
        found = try_to_load_from_cache(where["repo_id"], "config.json", revision=where["revision"])
        return isinstance(found, str)


_UNKNOWN = (
    "how {} normalises is on the library's hub and was not downloaded, so no transforms were "
    "declared: most encoders want transforms.Normalize with IMAGENET_MEAN and IMAGENET_STD"
)


def _meaning(options: Mapping[str, Any], known: Mapping[str, inspect.Parameter]) -> dict[str, Any]:
    """The task and its parameters, where the last activation leaves no doubt."""
    default = known["classes"].default if "classes" in known else 1
    classes, last = int(options.get("classes", default)), options.get("activation")
    doubtful = classes > 1 and last == "sigmoid"  # several labels may be at one pixel
    if doubtful or not isinstance(last, (str, type(None))) or options.get("aux_params"):
        return {}
    scores = "probabilities" if last == "sigmoid" else "logits"
    return {"task": "semantic_segmentation", "parameters": {"scores": scores}}


def _default_weights(encoder: str) -> Any:
    """`tu-` encoders have the weights that their own name says, and take a flag."""
    return True if encoder.startswith("tu-") else "imagenet"


def _size(options: Mapping[str, Any]) -> tuple[int, int]:
    size = options.get("img_size")
    return (size, size) if isinstance(size, int) else SIZE


def proposal(numbers: Mapping[str, Any]) -> list[Transform]:
    """Transforms for what `get_preprocessing_params` gives; the size of pictures stays as it is."""
    scale = 1 / 255 if numbers["input_range"][1] == 1 else 1.0
    return [
        Decode(colour="bgr" if numbers["input_space"] == "BGR" else "rgb"),
        Normalize(mean=tuple(numbers["mean"]), std=tuple(numbers["std"]), scale=scale),
        Layout(),
    ]


def proved(numbers: Mapping[str, Any], preprocess: Any) -> Recipe:
    def theirs(picture: Image.Image) -> Any:
        return preprocess(np.asarray(picture), **numbers).transpose(2, 0, 1)

    return prove([proposal(numbers)], theirs, "The preprocessing of this encoder")
