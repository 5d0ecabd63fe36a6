"""Declared transforms: what turns a file into a tensor, exactly as in training.

A list of transforms is data. It is written in a `Source`, kept in the manifest, and compiled by
`pipeline` into as few passes over memory as it takes.

    [Decode(), Resize(256), CenterCrop(224), Normalize(mean=IMAGENET_MEAN, std=IMAGENET_STD), Layout()]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeAlias

from pydantic import Field, TypeAdapter, ValidationError

from modelport.errors import BundleFormatError
from modelport.runtime.transforms.geometry import CenterCrop, Interpolation, Resize
from modelport.runtime.transforms.image import Decode
from modelport.runtime.transforms.tensor import Layout, Normalize

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "CenterCrop",
    "Decode",
    "Layout",
    "Normalize",
    "Resize",
    "Transform",
    "dump",
    "imagenet",
    "parse",
]

Transform: TypeAlias = Decode | Resize | CenterCrop | Normalize | Layout

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_LIST: TypeAdapter[list[Transform]] = TypeAdapter(
    list[Annotated[Transform, Field(discriminator="kind")]]
)


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


def parse(entries: Sequence[Mapping[str, Any]]) -> list[Transform]:
    """From the JSON values of a manifest.

    Raises:
        BundleFormatError: naming the entry and the field that is wrong.
    """
    try:
        return _LIST.validate_python([dict(entry) for entry in entries])
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BundleFormatError(f"The transform at {where!r} is wrong: {first['msg']}") from error
