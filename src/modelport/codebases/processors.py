"""The image processors of transformers as declared transforms.

The reference is the processor's PIL backend, which every model was first published with. The other
backend resizes with torch, and differs from it by a few grey levels in tall pictures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from PIL import Image

from modelport.codebases.recipes import METHODS, Recipe, prove
from modelport.runtime.transforms import (
    CenterCrop,
    Decode,
    Layout,
    Letterbox,
    Normalize,
    Pad,
    Resize,
    ResizeToMultiple,
    Transform,
)

_METHODS = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
"""By the numbers that PIL gives them."""

_LARGE = 384
"""From this size on, ConvNeXt squashes pictures and crops nothing."""

_YOLOS = {"divisor": 16, "divisor_rounding": "floor"}
"""That class has a number of its own."""

_LONGEST = 1 << 13
_WHITE = 255


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
    method = METHODS[_METHODS[2 if number is None else int(number)]]
    for steps, normalize in product(_places(settings, method), list(_normalizations(settings))):
        for pad in _pads(settings, _nothing(normalize, colour.colour)):
            ends = [*([normalize] if normalize else []), Layout()]
            yield [colour, *steps, *([pad] if pad else []), *ends]


def _places(settings: Mapping[str, Any], method: str) -> Iterator[list[Transform]]:
    """Resizes and crops."""
    crop = _size(settings.get("crop_size")) if settings.get("do_center_crop") else None
    for size, own_crop in _resizes(settings):
        steps: list[Transform] = [] if size is None else [Resize(size, interpolation=method)]
        cut = own_crop or crop
        yield steps if cut is None else [*steps, CenterCrop(cut, rounding="floor")]
    if settings.get("do_resize"):
        yield from ([step] for step in _keeping_ratio(settings, method))
        yield from _as_page(settings, method)


def _keeping_ratio(settings: Mapping[str, Any], method: Any) -> Iterator[Transform]:
    """Resizes to sides that depend on the picture."""
    given = settings.get("size") or {}
    size = dict(given) if isinstance(given, Mapping) else {}
    short, long = size.get("shortest_edge"), size.get("longest_edge")
    step = settings.get("size_divisor")
    how: dict[str, Any] = {"interpolation": method}
    multiples = {"divisor": step, "divisor_rounding": "ceil"} if step else _YOLOS
    if long and long > _LONGEST:
        return  # an area, of which these classes make patches
    if short and long and short <= long:
        for more in ({}, multiples):
            yield Resize(short, limit=long, limit_rounding="half-even", **how, **more)
    elif long:
        yield Resize(long, edge="longer", by="factor", rounding="nearest", **how)
        yield Resize(long, edge="longer", **how)
    elif short and step:
        yield Resize(short, **how, **multiples)
    elif {"max_height", "max_width"} <= set(size):
        most = (size["max_height"], size["max_width"])
        yield Letterbox(most, rounding="floor", divisor=1, **how)
    elif step and not size:
        yield ResizeToMultiple(divisor=step, rounding="floor", **how)
    yield from _depth(settings, size, how)


def _depth(
    settings: Mapping[str, Any], size: Mapping[str, Any], how: Mapping[str, Any]
) -> Iterator[Transform]:
    """What DPT and Depth Anything do with a height and a width."""
    step = settings.get("ensure_multiple_of")
    if isinstance(step, int) and {"height", "width"} <= set(size):
        keeps = bool(settings.get("keep_aspect_ratio"))
        edges = (size["height"], size["width"])
        yield ResizeToMultiple(divisor=step, size=edges, keep_ratio=keeps, **how)


def _as_page(settings: Mapping[str, Any], method: Any) -> Iterator[list[Transform]]:
    """Donut's two resizes, and black around the page."""
    size = _size(settings.get("size"))
    if settings.get("do_thumbnail") and settings.get("do_pad") and isinstance(size, tuple):
        page = Letterbox(size, fill=0, upscale=False, rounding="floor", interpolation=method)
        yield [Resize(min(size), interpolation=method), page]


def _pads(settings: Mapping[str, Any], nothing: Any) -> Iterator[Pad | None]:
    """Padding, and none: most classes pad pictures of a batch to each other, and a single one not."""
    if settings.get("do_pad"):
        size, step = _size(settings.get("pad_size")), settings.get("size_divisor")
        if size is not None and nothing is not None:
            yield Pad(size=size, fill=nothing)
        if step and nothing is not None:
            yield Pad(divisor=step, anchor="center", fill=nothing)
            yield Pad(divisor=step, fill=nothing)
        if step:
            yield Pad(divisor=step, always=True, fill="symmetric")
    yield None


def _nothing(normalize: Normalize | None, colour: str) -> float | tuple[float, ...] | None:
    """The grey levels that are 0 once they are normalised; None where no pixel can have them."""
    if normalize is None:
        return 0
    found = tuple(mean / normalize.scale for mean in normalize.mean)
    if not all(0 <= level <= _WHITE for level in found):
        return None
    return found[::-1] if colour == "bgr" else found


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
