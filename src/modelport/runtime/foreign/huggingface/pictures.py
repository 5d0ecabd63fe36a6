"""The settings of an image processor (`preprocessor_config.json`) as transforms.

The classes of transformers read the same settings in different ways, and each has defaults for those that
a file leaves out. The reference is their PIL backend, which every model was first published with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from modelport.errors import BundleFormatError
from modelport.runtime.foreign.folder import Fields
from modelport.runtime.transforms import CenterCrop, Decode, Layout, Normalize, Resize, Transform

METHODS = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
"""By the numbers that PIL gives them."""

HALF = [0.5] * 3
IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
CLIP = ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711])

LARGE = 384
"""From this size on, ConvNeXt squashes pictures and crops nothing."""

Size = int | tuple[int, int]
"""Of the shorter edge; or height and width."""

Sizes = tuple[Size, int | None]
"""What to resize to, and the square crop that belongs to the resize."""


@dataclass(frozen=True)
class Family:
    """How a class reads its settings.

    Attributes:
        size: where the file has none.
        square: whether one number is a height and a width, not the shorter edge.
        crop: the crop where the file has none; None where nothing is cropped unless it says so.
        resample: PIL's number of the method.
        mean, std: where the file has none; None where it normalises only if the file says so.
        sizes: what becomes of the size.
        flips: whether the colours are swapped unless the file says otherwise.
    """

    size: Size
    square: bool = True
    crop: int | None = None
    resample: int = 3
    normal: tuple[list[float], list[float]] | None = (HALF, HALF)
    sizes: Callable[[Size, Fields], Sizes] = lambda size, settings: (size, None)
    flips: bool = False


def _convnext(size: Size, settings: Fields) -> Sizes:
    if not isinstance(size, int):
        raise _unsaid(settings, "size", "the shortest edge")
    if size >= LARGE:
        return (size, size), None
    return int(size / settings.number("crop_pct", 224 / 256)), size


def _poolformer(size: Size, settings: Fields) -> Sizes:
    edge = size if isinstance(size, int) else size[0]
    if not isinstance(size, int) and size[0] != size[1]:
        raise _unsaid(settings, "size", "the shortest edge, or a square")
    share = 0.9 if "crop_pct" not in settings else settings.number("crop_pct")
    return int(edge / share), None


def _levit(size: Size, settings: Fields) -> Sizes:
    return (int((256 / 224) * size), None) if isinstance(size, int) else (size, None)


def _by_edge(size: int, crop: int, resample: int, normal: Any) -> Family:
    return Family(size, square=False, crop=crop, resample=resample, normal=normal)


FAMILIES: dict[str, Family] = {
    "ViT": Family((224, 224), resample=2),
    "Beit": Family((224, 224)),
    "DeiT": Family((256, 256), crop=224),
    "Siglip": Family((224, 224)),
    "BiT": _by_edge(224, 224, 3, CLIP),
    "Bit": _by_edge(224, 224, 3, CLIP),
    "CLIP": _by_edge(224, 224, 3, CLIP),
    "MobileNetV1": _by_edge(256, 224, 2, (HALF, HALF)),
    "MobileNetV2": _by_edge(256, 224, 2, (HALF, HALF)),
    "MobileViT": Family(224, square=False, crop=256, normal=None, flips=True),
    "ConvNext": Family(384, square=False, sizes=_convnext, normal=(HALF, HALF)),
    "LeViT": Family(224, square=False, crop=224, sizes=_levit, normal=IMAGENET),
    "Levit": Family(224, square=False, crop=224, sizes=_levit, normal=IMAGENET),
    "PoolFormer": Family(224, square=False, crop=224, sizes=_poolformer, normal=IMAGENET),
    "EfficientNet": Family((346, 346)),
    "Segformer": Family((512, 512), resample=2, normal=IMAGENET),
    "DPT": Family((384, 384)),
    "RTDetr": Family((640, 640), resample=2, normal=None),
}
"""By the beginning of the name of the class, which `ImageProcessor` or `FeatureExtractor` ends."""

_ENDINGS = ("ImageProcessorFast", "ImageProcessorPil", "ImageProcessor", "FeatureExtractor")


def family_of(settings: Fields) -> str:
    """The beginning of the name of the class that wrote the settings; empty where it is not said."""
    name = settings.text("image_processor_type", settings.text("feature_extractor_type", ""))
    ending = next((each for each in _ENDINGS if name.endswith(each)), "")
    return name.removesuffix(ending)


def transforms_of(settings: Fields, dtype: str = "float32") -> list[Transform]:
    """The transforms that the settings mean.

    Raises:
        BundleFormatError: where the class is none whose rules are known here, or a setting has no
            counterpart.
    """
    name = family_of(settings)
    if name not in FAMILIES:
        raise BundleFormatError(
            f"{settings.where}: the image processor {name or '?'} has no counterpart in modelport",
            expected=f"that of one of {', '.join(FAMILIES)}",
        )
    _demand_plain(settings)
    family = FAMILIES[name]
    flips = settings.flag("do_flip_channel_order", family.flips)
    decode = Decode(colour="bgr" if flips else "rgb", orientation="exif")
    normalize = _normalize(settings, family, twice=name == "EfficientNet")
    steps = [
        decode,
        *_spatial(settings, family),
        normalize,
        Layout.model_validate({"dtype": dtype}),
    ]
    return [step for step in steps if step is not None]


def _spatial(settings: Fields, family: Family) -> list[Transform]:
    found: list[Transform] = []
    if settings.flag("do_resize", True):
        size, crop = family.sizes(_size(settings, "size", family), settings)
        number = settings.whole("resample", family.resample)
        if not 0 <= number < len(METHODS):
            raise _unsaid(settings, "resample", f"a number up to {len(METHODS) - 1}")
        found.append(
            Resize.model_validate({"size": size, "interpolation": f"pil.{METHODS[number]}"})
        )
        if crop is not None:
            found.append(CenterCrop(size=crop, rounding="floor"))
    if settings.flag("do_center_crop", family.crop is not None):
        edges = _size(settings, "crop_size", Family(family.crop or 224))
        if isinstance(edges, int):
            edges = (edges, edges)
        found.append(CenterCrop(size=edges, rounding="floor"))
    return found


def _demand_plain(settings: Fields) -> None:
    """What no transform of ours does."""
    for key in ("do_pad", "do_reduce_labels_of_inputs", "keep_aspect_ratio", "do_thumbnail"):
        if key in settings and settings.flag(key):
            raise _unsaid(settings, key, "false")
    if "ensure_multiple_of" in settings and settings.whole("ensure_multiple_of") != 1:
        raise _unsaid(settings, "ensure_multiple_of", "1")


def _size(settings: Fields, key: str, family: Family) -> Size:
    """A size in any of the forms that the settings had over the years."""
    value = settings.raw(key)
    if value is None:
        return family.size
    if isinstance(value, dict):
        fields = settings.inner(key)
        named = {name for name in fields.plain() if name in fields}
        if named == {"shortest_edge"}:
            return _edge(settings, key, fields.whole("shortest_edge"))
        if named == {"height", "width"}:
            return (
                _edge(settings, key, fields.whole("height")),
                _edge(settings, key, fields.whole("width")),
            )
        raise _unsaid(settings, key, "shortest_edge alone, or height and width")
    if isinstance(value, list) and len(value) == 2:
        height, width = settings.numbers(key)
        return _edge(settings, key, int(height)), _edge(settings, key, int(width))
    edge = _edge(settings, key, settings.whole(key))
    return (edge, edge) if family.square else edge


def _edge(settings: Fields, key: str, edge: int) -> int:
    if not 0 < edge < 1 << 15:
        raise _unsaid(settings, key, "edges of 1 to 32767 pixels")
    return edge


def _normalize(settings: Fields, family: Family, twice: bool) -> Normalize | None:
    rescales = settings.flag("do_rescale", True)
    scale = settings.number("rescale_factor", 1 / 255) if rescales else 1.0
    mean, std = [0.0] * 3, [1.0] * 3
    if settings.flag("do_normalize", family.normal is not None):
        usual = family.normal or (mean, std)
        mean = _each(settings, "image_mean", usual[0])
        std = _each(settings, "image_std", usual[1])
    if twice and settings.flag("rescale_offset", False):
        mean = [value + 1 for value in mean]  # it takes one off before it normalises
    if twice and settings.flag("include_top", True):
        std = [value * value for value in std]  # it divides once more
    if (scale, mean, std) == (1.0, [0.0] * 3, [1.0] * 3):
        return None
    try:
        return Normalize(mean=tuple(mean), std=tuple(std), scale=scale)
    except ValueError as error:
        raise _unsaid(settings, "image_std", "numbers above zero") from error


def _each(settings: Fields, key: str, default: list[float]) -> list[float]:
    value = settings.raw(key)
    if value is None:
        return default
    found = settings.numbers(key) if isinstance(value, list) else [settings.number(key)] * 3
    if len(found) != 3:
        raise _unsaid(settings, key, "one number, or three")
    return found


def _unsaid(settings: Fields, key: str, expected: str) -> BundleFormatError:
    return BundleFormatError(
        f"{settings.where}: {key} is {settings.raw(key)!r:.80}, which has no counterpart in modelport",
        expected=expected,
        hint="Make a bundle of the model with modelport deploy and transforms of your own",
    )
