"""Models of timm, with the evaluation transforms of their `pretrained_cfg`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from PIL import Image

from modelport.codebases.base import Codebase, first_parameter, pixels
from modelport.codebases.recipes import METHODS, Recipe, prove, resized_and_cropped
from modelport.frontends.source import Source
from modelport.runtime.transforms import (
    CenterCrop,
    Decode,
    Layout,
    Letterbox,
    Normalize,
    Transform,
)


class Timm(Codebase):
    name: ClassVar[str] = "timm"
    package: ClassVar[str] = "timm"
    summary: ClassVar[str] = "classifiers and backbones of timm"
    example: ClassVar[str] = "timm:resnet18"
    needs: ClassVar[tuple[str, ...]] = ("torchvision",)

    def names(self) -> list[str]:
        return list(self.library().list_models())

    def _check_name(self, name: str) -> None:
        # What follows a dot names weights; a name with a colon says where timm shall look.
        if ":" not in name:
            super()._check_name(name.partition(".")[0])

    def _build(self, name: str, options: Mapping[str, Any], pretrained: bool) -> Source:
        library = self.library()
        model = library.create_model(name, pretrained=pretrained, **options)
        config = _config(library, model, options)
        channels, height, width = config["input_size"]
        recipe = _recipe(library, config).fitting((height, width), f"timm's {name}")
        classes = int(getattr(model, "num_classes", 0) or 0)
        classifies = classes > 0 and not options.get("features_only", False)
        metadata = getattr(model, "pretrained_cfg", {})
        return Source(
            model=model,
            inputs=pixels(first_parameter(model), channels, (height, width)),
            transforms=recipe.transforms,
            task="classification" if classifies else "tensors",
            labels=_labels(library, metadata, classes) if classifies else None,
            licence=metadata.get("license") if pretrained else None,
            name=name,
            notes=recipe.notes,
        )


def _config(library: Any, model: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """What timm resolves, with the options that change the input."""
    size = options.get("img_size")
    asked = {"img_size": size} if isinstance(size, int) else {}
    config: dict[str, Any] = library.data.resolve_model_data_config(model, args=asked)
    channels, *edges = config["input_size"]
    if isinstance(size, (list, tuple)):
        edges = list(size)
    config["input_size"] = (options.get("in_chans", channels), *edges)
    return config


def proposals(config: Mapping[str, Any]) -> list[list[Transform]]:
    """Transforms for what `timm.data.resolve_data_config` gives."""
    channels, height, width = config["input_size"]
    if channels not in (1, 3):
        return []
    resize = tuple(math.floor(edge / config["crop_pct"]) for edge in (height, width))
    if config["crop_mode"] == "border":
        return [_bordered(config, (resize[0], resize[1]))]
    squash = config["crop_mode"] == "squash"
    return [
        resized_and_cropped(
            decode=Decode(colour="grey" if channels == 1 else "rgb"),
            resize=(resize[0], resize[1]) if squash else min(resize),
            crop=(height, width),
            interpolation=config["interpolation"],
            normalize=Normalize(mean=tuple(config["mean"]), std=tuple(config["std"])),
        )
    ]


def _bordered(config: Mapping[str, Any], resize: tuple[int, int]) -> list[Transform]:
    """All of the picture inside that height and width, the mean around it."""
    channels, height, width = config["input_size"]
    fill = tuple(round(255 * mean) for mean in config["mean"])
    return [
        Decode(colour="grey" if channels == 1 else "rgb"),
        Letterbox(resize, divisor=1, interpolation=METHODS[config["interpolation"]]),
        CenterCrop((height, width), fill=fill),
        Normalize(mean=tuple(config["mean"]), std=tuple(config["std"])),
        Layout(),
    ]


def _recipe(library: Any, config: Mapping[str, Any]) -> Recipe:
    if len(config["mean"]) != config["input_size"][0]:
        channels = config["input_size"][0]
        note = (
            f"timm normalises {len(config['mean'])} channels and this model takes {channels}, so no "
            "transforms were declared: declare your own, or feed tensors"
        )
        return Recipe(notes=(note,))
    transform = library.data.create_transform(**config, is_training=False)
    mode = "L" if config["input_size"][0] == 1 else "RGB"

    def theirs(picture: Image.Image) -> Any:
        return transform(picture.convert(mode)).numpy()

    return prove(proposals(config), theirs, "The preprocessing of this timm model")


def _labels(library: Any, metadata: Mapping[str, Any], classes: int) -> list[str] | None:
    """Names of the classes, where their number is that of the metadata or of an ImageNet."""
    own = metadata.get("label_names")
    if own and len(own) == classes:
        descriptions = metadata.get("label_descriptions") or {}
        return [str(descriptions.get(label, label)) for label in own]
    data = library.data
    subset = data.infer_imagenet_subset({"num_classes": classes})
    return None if subset is None else list(data.ImageNetInfo(subset).label_descriptions())
