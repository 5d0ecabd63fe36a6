"""The transforms of `pipeline.json` in our words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from modelport.errors import BundleFormatError
from modelport.runtime.foreign.folder import Fields
from modelport.runtime.foreign.mmdeploy.values import (
    demand,
    interpolation_of,
    made,
    normalize_of,
    pad_value,
    size_of,
)
from modelport.runtime.foreign.networks import picture_input
from modelport.runtime.transforms import (
    CenterCrop,
    Decode,
    Layout,
    Letterbox,
    Normalize,
    Pad,
    Resize,
    TextLine,
    Transform,
)
from modelport.types import Signature

ROOM = 1.25
"""How much larger than its box the part is that a model of poses sees."""

MINI_PAD = 32
"""What `use_mini_pad` fills up to a multiple of."""


def transforms_of(task: Fields, signature: Signature, where: Path) -> tuple[list[Transform], str]:
    """Our transforms for those of the task, and the order of the colours that the network sees.

    Raises:
        BundleFormatError: naming the first that has no counterpart.
    """
    steps = _Steps()
    for entry in task.objects("transforms"):
        steps.add(entry)
    dtype = picture_input(signature, where).dtype
    return steps.transforms(dtype, where), steps.colour


class _Steps:
    """Collects what each step says, until a list of ours can be made of it."""

    def __init__(self) -> None:
        self.colour = "bgr"
        self._orientation = "exif"
        self._spatial: list[Transform] = []
        self._normalize: Normalize | None = None
        self._room = ROOM

    def add(self, entry: Fields) -> None:
        name = entry.text("type").rpartition(".")[2]  # some have a scope in front, as in mmdet.Pad
        if name in _NOTHING:
            return
        if name not in _STEPS:
            raise BundleFormatError(
                f"{entry.where}: the transform {name} has no counterpart in modelport",
                expected=f"some of {', '.join([*_STEPS, *_NOTHING])}",
                hint="Make a bundle of the model with modelport deploy and transforms of your own",
            )
        _STEPS[name](self, entry)

    def transforms(self, dtype: str, where: Path) -> list[Transform]:
        if dtype not in ("float32", "float16", "uint8"):
            raise BundleFormatError(
                f"{where}: the network takes pictures of {dtype}",
                expected="float32, float16 or uint8",
            )
        decode = Decode.model_validate({"colour": self.colour, "orientation": self._orientation})
        normalize = [self._normalize] if self._normalize else []
        layout = Layout.model_validate({"dtype": dtype})
        return [decode, *self._spatial, *normalize, layout]

    # --- one method for each of theirs ----------------------------------------------------------

    def load(self, entry: Fields) -> None:
        """`LoadImageFromFile`: OpenCV's reading, which turns pictures upright unless told not to."""
        kind = entry.text("color_type", "color")
        if kind.startswith(("grayscale", "unchanged")):
            demand(entry, "color_type", kind.startswith("grayscale"))
            self.colour = "grey"
        elif entry.text("channel_order", "bgr") == "rgb":
            self.colour = "rgb"
        if kind.endswith("ignore_orientation"):
            self._orientation = "ignore"

    def normalize(self, entry: Fields) -> None:
        """`Normalize`: for numbers from 0 to 255, after the colours are swapped."""
        demand(entry, "type", self._normalize is None)
        mean, std = entry.numbers("mean"), entry.numbers("std")
        if entry.flag("to_rgb", True):
            self.colour = {"bgr": "rgb", "rgb": "bgr"}.get(self.colour, self.colour)
        if entry.flag("to_float", True):
            self._normalize = normalize_of(entry, mean, std)

    def resize(self, entry: Fields) -> None:
        """`Resize`: sizes are (width, height); (edge, -1) is that of the shorter edge.

        With `keep_ratio`, a picture is as large as fits into the size or into the size turned.
        """
        self._before_numbers(entry)
        how = interpolation_of(entry)
        width, height = size_of(entry, "size" if "size" in entry else "scale")
        keeps = entry.flag("keep_ratio", False)
        if height == -1:
            step = made(entry, Resize, size=width, interpolation=how)
        elif keeps:
            step = made(
                entry,
                Resize,
                size=min(width, height),
                limit=max(width, height),
                by="factor",
                rounding="nearest",
                interpolation=how,
            )
        else:
            step = made(entry, Resize, size=(height, width), interpolation=how)
        self._spatial.append(step)

    def letter_resize(self, entry: Fields) -> None:
        """`LetterResize` of MMYOLO."""
        self._before_numbers(entry)
        width, height = size_of(entry, "scale")
        how = interpolation_of(entry)
        if entry.flag("stretch_only", False):
            self._spatial.append(made(entry, Resize, size=(height, width), interpolation=how))
            return
        self._spatial.append(
            made(
                entry,
                Letterbox,
                size=(height, width),
                fill=pad_value(entry),
                upscale=entry.flag("allow_scale_up", True),
                divisor=MINI_PAD if entry.flag("use_mini_pad", False) else None,
                interpolation=how,
            )
        )

    def pad(self, entry: Fields) -> None:
        """`Pad`: sizes are (width, height). After `Normalize`, its value is a normalised one."""
        demand(entry, "logical_or_val", not entry.whole("logical_or_val", 0))
        demand(entry, "orientation_agnostic", not entry.flag("orientation_agnostic", False))
        mode = entry.text("padding_mode", "constant")
        demand(entry, "padding_mode", mode in ("constant", "edge", "reflect", "symmetric"))
        fields: dict[str, Any] = {"fill": self._level(entry) if mode == "constant" else mode}
        divisor = entry.whole("size_divisor", 1)
        if entry.flag("pad_to_square", False):
            fields["square"] = True
        elif "size" in entry:
            fields["size"] = tuple(reversed(size_of(entry, "size")))
        elif divisor == 1:
            return
        else:
            fields["divisor"] = divisor
        self._spatial.append(made(entry, Pad, **fields))

    def rescale_to_height(self, entry: Fields) -> None:
        """`RescaleToHeight` of MMOCR: the width follows, and nothing is filled."""
        self._before_numbers(entry)
        height, least = entry.whole("height"), entry.whole("min_width", 1)
        if "max_width" not in entry:
            divisor = entry.whole("width_divisor", 1)
            self._spatial.append(made(entry, TextLine, height=height, least=least, divisor=divisor))
            return
        demand(entry, "max_width", entry.whole("max_width") == least)
        self._spatial.append(
            made(entry, Resize, size=(height, least), interpolation="opencv.linear")
        )

    def resize_ocr(self, entry: Fields) -> None:
        """`ResizeOCR`, its forerunner, which fills up to the largest width."""
        self._before_numbers(entry)
        demand(entry, "keep_aspect_ratio", entry.flag("keep_aspect_ratio", True))
        share = entry.number("width_downsample_ratio", 1 / 16)
        demand(entry, "width_downsample_ratio", 0 < share <= 1)
        self._spatial.append(
            made(
                entry,
                TextLine,
                height=entry.whole("height"),
                width=entry.whole("max_width") if "max_width" in entry else None,
                least=entry.whole("min_width", 1),
                divisor=int(1 / share),
                fill=entry.number("img_pad_value", 0.0),
            )
        )

    def box_of_person(self, entry: Fields) -> None:
        """`TopDownGetBboxCenterScale` says how much room a person gets."""
        self._room = entry.number("padding", ROOM)

    def top_down(self, entry: Fields) -> None:
        """`TopDownAffine`, with the whole picture as the box that it cuts out with room around it."""
        self._before_numbers(entry)
        width, height = size_of(entry, "image_size")
        inner = (round(height / self._room), round(width / self._room))
        self._spatial += [
            made(entry, Letterbox, size=inner, fill=0, rounding="nearest"),
            made(entry, Pad, size=(height, width), anchor="center"),
        ]

    def center_crop(self, entry: Fields) -> None:
        """`CenterCrop`, whose sizes are (width, height) in MMCV."""
        self._before_numbers(entry)
        width, height = size_of(entry, "crop_size")
        self._spatial.append(made(entry, CenterCrop, size=(height, width)))

    def _level(self, entry: Fields) -> float | tuple[float, ...]:
        """The grey level that becomes the value of the padding, one for red, green and blue each."""
        value = pad_value(entry)
        numbers = self._normalize
        if numbers is None:
            return value
        pairs = zip(numbers.mean, numbers.std, strict=True)
        found = [mean + value * std for mean, std in pairs]
        return tuple(reversed(found) if self.colour == "bgr" else found)

    def _before_numbers(self, entry: Fields) -> None:
        if self._normalize is not None:
            raise BundleFormatError(
                f"{entry.where}: {entry.text('type')} stands behind Normalize",
                expected="resizes and crops of pixels, then Normalize",
            )


_STEPS: dict[str, Callable[[_Steps, Fields], None]] = {
    "LoadImageFromFile": _Steps.load,
    "PrepareImage": _Steps.load,
    "Resize": _Steps.resize,
    "LetterResize": _Steps.letter_resize,
    "CenterCrop": _Steps.center_crop,
    "Pad": _Steps.pad,
    "TopDownGetBboxCenterScale": _Steps.box_of_person,
    "TopDownAffine": _Steps.top_down,
    "RescaleToHeight": _Steps.rescale_to_height,
    "ResizeOCR": _Steps.resize_ocr,
    "Normalize": _Steps.normalize,
}

_NOTHING = ("ImageToTensor", "DefaultFormatBundle", "Collect", "PackInputs")
"""What `Layout` does, and what leaves pixels as they are."""
