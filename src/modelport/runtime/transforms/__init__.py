"""Declared transforms: what turns a file into a tensor, exactly as in training.

A list of transforms is data. It is written in a `Source`, kept in the manifest, and compiled by
`pipeline` into as few passes over memory as it takes.

    [Decode(), Resize(256), CenterCrop(224), Normalize(mean=IMAGENET_MEAN, std=IMAGENET_STD), Layout()]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from modelport.errors import BundleFormatError, ModelportError
from modelport.registry import Registry
from modelport.runtime.transforms.base import Preprocessor, ReadFile, Transform

if TYPE_CHECKING:
    from modelport.runtime.transforms.clip import Frames
    from modelport.runtime.transforms.geometry import CenterCrop, Resize
    from modelport.runtime.transforms.image import Decode
    from modelport.runtime.transforms.letterbox import Letterbox
    from modelport.runtime.transforms.multiples import ResizeToMultiple
    from modelport.runtime.transforms.padding import Crop, Pad
    from modelport.runtime.transforms.resampling import Interpolation
    from modelport.runtime.transforms.sound import SoundLayout, Standardize, Waveform, Windows
    from modelport.runtime.transforms.spectrum import Mel, Spectrogram
    from modelport.runtime.transforms.tensor import Layout, Normalize
    from modelport.runtime.transforms.text import Tokenize
    from modelport.runtime.transforms.text_line import TextLine

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "TRANSFORMS",
    "CenterCrop",
    "Crop",
    "Decode",
    "Frames",
    "Layout",
    "Letterbox",
    "Mel",
    "Normalize",
    "Pad",
    "Resize",
    "ResizeToMultiple",
    "SoundLayout",
    "Spectrogram",
    "Standardize",
    "TextLine",
    "Tokenize",
    "Transform",
    "Waveform",
    "Windows",
    "dump",
    "imagenet",
    "parse",
    "preprocessor",
]

_WHERE = {
    "CenterCrop": "geometry",
    "Crop": "padding",
    "Decode": "image",
    "Frames": "clip",
    "Layout": "tensor",
    "Letterbox": "letterbox",
    "Mel": "spectrum",
    "Normalize": "tensor",
    "Pad": "padding",
    "Resize": "geometry",
    "ResizeToMultiple": "multiples",
    "SoundLayout": "sound",
    "Spectrogram": "spectrum",
    "Standardize": "sound",
    "TextLine": "text_line",
    "Tokenize": "text",
    "Waveform": "sound",
    "Windows": "sound",
}
"""Imported when somebody asks: a model needs few of them, and is loaded sooner without the rest."""


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found = getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


TRANSFORMS: Registry[type[Transform]] = Registry(
    "transform",
    {
        "decode": "modelport.runtime.transforms.image:Decode",
        "resize": "modelport.runtime.transforms.geometry:Resize",
        "center_crop": "modelport.runtime.transforms.geometry:CenterCrop",
        "crop": "modelport.runtime.transforms.padding:Crop",
        "pad": "modelport.runtime.transforms.padding:Pad",
        "resize_to_multiple": "modelport.runtime.transforms.multiples:ResizeToMultiple",
        "text_line": "modelport.runtime.transforms.text_line:TextLine",
        "letterbox": "modelport.runtime.transforms.letterbox:Letterbox",
        "normalize": "modelport.runtime.transforms.tensor:Normalize",
        "layout": "modelport.runtime.transforms.tensor:Layout",
        "frames": "modelport.runtime.transforms.clip:Frames",
        "tokenize": "modelport.runtime.transforms.text:Tokenize",
        "waveform": "modelport.runtime.transforms.sound:Waveform",
        "standardize": "modelport.runtime.transforms.sound:Standardize",
        "windows": "modelport.runtime.transforms.sound:Windows",
        "spectrogram": "modelport.runtime.transforms.spectrum:Spectrogram",
        "mel": "modelport.runtime.transforms.spectrum:Mel",
        "sound_layout": "modelport.runtime.transforms.sound:SoundLayout",
    },
    classes=True,
)

PREPROCESSORS: Registry[type[Preprocessor]] = Registry(
    "preprocessor",
    {
        "clip": "modelport.runtime.transforms.clip:ClipPreprocessor",
        "picture": "modelport.runtime.transforms.picture:PicturePreprocessor",
        "sound": "modelport.runtime.transforms.hearing:SoundPreprocessor",
        "text": "modelport.runtime.transforms.text:TextPreprocessor",
    },
    classes=True,
)
"""By the medium of their transforms."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def imagenet(
    *,
    resize: int = 256,
    crop: int = 224,
    interpolation: Interpolation = "pil.bilinear",
    draft: bool = False,
) -> list[Transform]:
    """The evaluation transforms of torchvision's ImageNet recipes, rounding included.

    `draft` lets large JPEGs be decoded at a fraction of their size; see `Decode`.
    """
    from modelport.runtime.transforms.geometry import CenterCrop, Resize
    from modelport.runtime.transforms.image import Decode
    from modelport.runtime.transforms.tensor import Layout, Normalize

    return [
        Decode(draft=draft),
        Resize(size=resize, interpolation=interpolation),
        CenterCrop(size=crop),
        Normalize(mean=IMAGENET_MEAN, std=IMAGENET_STD),
        Layout(order="nchw"),
    ]


def dump(transforms: Sequence[Transform]) -> tuple[dict[str, Any], ...]:
    """As JSON values, for a manifest."""
    return tuple(transform.model_dump(mode="json") for transform in transforms)


def parse(entries: Sequence[Mapping[str, Any]], read: ReadFile | None = None) -> list[Transform]:
    """From the JSON values of a manifest.

    Args:
        read: gives the files that transforms name; by default they are files of the disk.

    Raises:
        BundleFormatError: naming the entry and the field that is wrong.
    """
    found = [_parsed(index, entry) for index, entry in enumerate(entries)]
    return (
        found if read is None else [each.reading(read) if each.assets else each for each in found]
    )


def _parsed(index: int, entry: Mapping[str, Any]) -> Transform:
    kind = entry.get("kind")
    if kind is None:
        raise BundleFormatError(
            f"The transform at '{index}' has no kind", expected=f"one of {', '.join(TRANSFORMS)}"
        )
    try:
        return TRANSFORMS.get(str(kind)).model_validate(dict(entry))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in (index, kind, *first["loc"]))
        raise BundleFormatError(f"The transform at {where!r} is wrong: {first['msg']}") from error
    except ModelportError as error:
        raise BundleFormatError(
            f"The transform at '{index}' is wrong: {error.seen}",
            expected=error.expected,
            hint="Install the package that brings it, or a newer modelport",
        ) from error


def preprocessor(transforms: Sequence[Transform]) -> Preprocessor | None:
    """The transforms, compiled; None where there are none.

    Raises:
        UsageError: where the transforms cannot be meant in the order they are given.
    """
    if not transforms:
        return None
    return PREPROCESSORS.get(transforms[0].medium)(transforms)
