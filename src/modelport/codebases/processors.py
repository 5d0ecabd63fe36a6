"""The image processors of transformers as declared transforms.

The reference is the processor's PIL backend, which every model was first published with. The other
backend resizes with torch, and differs from it by a few grey levels in tall pictures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from PIL import Image

from modelport.codebases.recipes import Recipe, prove, resized_and_cropped
from modelport.runtime.transforms import Decode, Normalize, Transform

_METHODS = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
"""By the numbers that PIL gives them."""

_LARGE = 384
"""From this size on, ConvNeXt squashes pictures and crops nothing."""


def recipe_of(processor: Any) -> Recipe:
    """Transforms that do what the processor does, where there are any."""
    name = type(processor).__name__.removesuffix("Pil")

    def theirs(picture: Image.Image) -> Any:
        return processor(images=picture, return_tensors="np")["pixel_values"]

    return prove(proposals(processor.to_dict()), theirs, f"The {name} of transformers")


def proposals(settings: Mapping[str, Any]) -> Iterator[list[Transform]]:
    """Transforms for the settings of a `preprocessor_config.json`, the likeliest first.

    Classes read the same settings in different ways, so there are several.
    """
    colour = Decode(colour="bgr" if settings.get("do_flip_channel_order") else "rgb")
    number = settings.get("resample")
    crop = _size(settings.get("crop_size")) if settings.get("do_center_crop") else None
    for resize, own_crop in _resizes(settings):
        for normalize in _normalizations(settings):
            yield resized_and_cropped(
                decode=colour,
                resize=resize,
                crop=own_crop or crop,
                interpolation=_METHODS[2 if number is None else int(number)],
                normalize=normalize,
                floor=True,
            )


Resizing = tuple[int | tuple[int, int] | None, int | None]
"""The size to resize to, and that of a crop which belongs to the resize."""


def _resizes(settings: Mapping[str, Any]) -> Iterator[Resizing]:
    if not settings.get("do_resize"):
        yield None, None
        return
    size = _size(settings.get("size"))
    share = settings.get("crop_pct")
    if size is None:
        return
    edge = size if isinstance(size, int) else size[0]
    if share:
        larger = int(edge / share)
        # ConvNeXt crops by itself; PoolFormer has its crop in other settings.
        yield from ((larger, edge), (larger, None))
        if edge >= _LARGE:
            yield (edge, edge), None
    yield size, None
    yield int((256 / 224) * edge), None  # LeViT


def _size(value: Any) -> int | tuple[int, int] | None:
    """A size as `Resize` and `CenterCrop` take it; None where they know no such size."""
    if isinstance(value, int):
        return value, value
    if not isinstance(value, Mapping):
        return None
    value = {key: edge for key, edge in value.items() if edge is not None}
    if set(value) == {"shortest_edge"}:
        return int(value["shortest_edge"])
    if set(value) == {"height", "width"}:
        return int(value["height"]), int(value["width"])
    return None


def _normalizations(settings: Mapping[str, Any]) -> Iterator[Normalize | None]:
    scale = float(settings.get("rescale_factor") or 1.0) if settings.get("do_rescale") else 1.0
    mean, std = [0.0] * 3, [1.0] * 3
    if settings.get("do_normalize"):
        mean = _each(settings.get("image_mean"), 0.0)
        std = _each(settings.get("image_std"), 1.0)
    if settings.get("rescale_offset"):
        mean = [value + 1 for value in mean]  # EfficientNet takes one off before it normalises
    if settings.get("include_top"):
        twice = [value * value for value in std]  # EfficientNet divides once more
        yield Normalize(mean=tuple(mean), std=tuple(twice), scale=scale)
    plain = (scale, mean, std) == (1.0, [0.0] * 3, [1.0] * 3)
    yield None if plain else Normalize(mean=tuple(mean), std=tuple(std), scale=scale)


def _each(value: Any, default: float) -> list[float]:
    if value is None:
        return [default] * 3
    numbers: Sequence[Any] = value if isinstance(value, (list, tuple)) else [value] * 3
    return [float(number) for number in numbers]
