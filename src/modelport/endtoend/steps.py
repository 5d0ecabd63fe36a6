"""How transforms are written in the graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import numpy as np

from modelport.endtoend import resampling
from modelport.endtoend.canvas import Canvas
from modelport.endtoend.counts import Count
from modelport.frontends.network import Tensor
from modelport.runtime.transforms import CenterCrop, Decode, Layout, Normalize, Resize, Transform

T = TypeVar("T", bound=Transform)


def _any(transform: Any) -> str | None:
    return None


@dataclass(frozen=True)
class Step:
    """Attributes:
    apply: what becomes of the canvas.
    refuses: why the transform cannot be written in the graph, or None.
    knows: its fields that `apply` reads; others must be as they are by default.
    """

    apply: Callable[[Canvas, Any], Canvas]
    knows: frozenset[str]
    refuses: Callable[[Any], str | None] = field(default=_any)


def refusal(transforms: Sequence[Transform]) -> str | None:
    """Why transforms cannot be written in the graph, or None."""
    return next((reason for each in transforms if (reason := _refusal(each))), None)


def _refusal(transform: Transform) -> str | None:
    kind = str(getattr(transform, "kind", type(transform).__name__))
    step = STEPS.get(kind)
    if step is None:
        return f"the transform {kind} has no form in the graph yet"
    for name, entry in type(transform).model_fields.items():
        known = name in step.knows or name == "kind"
        if not known and getattr(transform, name) != entry.default:
            return f"the transform {kind} with {name} set has no form in the graph yet"
    return step.refuses(transform)


def applied(canvas: Canvas, transforms: Sequence[Transform]) -> Canvas:
    """The canvas after all of them."""
    for transform in transforms:
        canvas = STEPS[str(transform.kind)].apply(canvas, transform)  # type: ignore[attr-defined]
    return canvas


# --- decode -------------------------------------------------------------------------------------

_GREY = (19595, 38470, 7471)
"""Weights of red, green and blue in PIL's grey, of 65536: those of ITU-R 601-2."""


def _decode(canvas: Canvas, decode: Decode) -> Canvas:
    """The caller has decoded and turned the picture already; what is left is the order of colours."""
    net = canvas.net
    if decode.colour == "rgb":
        return canvas
    if decode.colour == "bgr":
        return canvas.with_pixels(net.gather(canvas.pixels, np.array([2, 1, 0]), 1))
    weights = np.array(_GREY, np.int32).reshape(1, 3, 1, 1)
    weighted = net.cast(canvas.pixels, "int32") * weights
    total = net.sum(weighted, 1, keepdims=True) + np.int32(32768)
    grey = cast(Tensor, net.op.Div(total, np.int32(65536)))
    return canvas.with_pixels(net.cast(grey, "uint8"), channels=1)


# --- sizes --------------------------------------------------------------------------------------


def _resize(canvas: Canvas, resize: Resize) -> Canvas:
    height, width = _target(canvas, resize)
    return resampling.resized(canvas, resize.interpolation, height, width)


def _target(canvas: Canvas, resize: Resize) -> tuple[Count, Count]:
    """Height and width after it, in the integers that the runtime's division gives."""
    if not isinstance(resize.size, int):
        return resize.size[0], resize.size[1]
    counts, high, wide = canvas.counts, canvas.down.size, canvas.across.size
    short, long = counts.least(high, wide), counts.most(high, wide)
    if resize.rounding == "floor":
        other = counts.over(counts.times(long, resize.size), short)
    else:
        doubled = counts.plus(counts.times(long, 2 * resize.size), short)
        other = counts.over(doubled, counts.times(short, 2))
    other = counts.most(other, 1)
    stands = wide <= high
    return (
        counts.chosen(stands, other, resize.size),
        counts.chosen(stands, resize.size, other),
    )


def _center_crop(canvas: Canvas, crop: CenterCrop) -> Canvas:
    wide, high = crop.extent()
    half_even = crop.rounding == "half-even"
    top = _margin(canvas, canvas.down.size, high, half_even=half_even)
    left = _margin(canvas, canvas.across.size, wide, half_even=half_even)
    return window(canvas, top, left, high, wide, fill=0)


def _margin(canvas: Canvas, before: Count, after: int, *, half_even: bool) -> Count:
    """How far the crop's edge lies inside; negative where it lies outside."""
    counts = canvas.counts
    spare, lacking = counts.minus(before, after), counts.minus(after, before)
    inside = counts.over(counts.most(spare, 0), 2)
    if half_even:  # an odd margin's half is rounded to the even number
        up = counts.times(counts.odd(spare), counts.odd(inside))
        inside = counts.plus(inside, counts.chosen(_is_positive(spare), up, 0))
    return counts.minus(inside, counts.over(counts.most(lacking, 0), 2))


def _is_positive(count: Count) -> Any:
    return count > 0


def window(
    canvas: Canvas, top: Count, left: Count, height: Count, width: Count, *, fill: float
) -> Canvas:
    """The part of the picture from that corner on; what lies outside is filled."""
    net, counts = canvas.net, canvas.counts
    starts, ends, pads_before, pads_after = [], [], [], []
    pairs = ((top, height, canvas.down.size), (left, width, canvas.across.size))
    for start, size, before in pairs:
        end = counts.plus(start, size)
        starts.append(counts.most(start, 0))
        ends.append(counts.least(end, before))
        pads_before.append(counts.most(counts.minus(0, start), 0))
        pads_after.append(counts.most(counts.minus(end, before), 0))
    part = net.op.Slice(
        canvas.pixels, counts.row(*starts), counts.row(*ends), np.array([2, 3], np.int64)
    )
    # For all axes: ONNX Runtime moves transposes across a Pad as if it named none.
    pads = counts.row(0, 0, *pads_before, 0, 0, *pads_after)
    padded = net.op.Pad(part, pads, np.array(fill, canvas.pixels.dtype))
    pixels = cast(Tensor, padded)
    return canvas.moved(pixels, counts.minus(0, top), counts.minus(0, left), height, width)


# --- numbers ------------------------------------------------------------------------------------


def _normalize(canvas: Canvas, normalize: Normalize) -> Canvas:
    std = np.asarray(normalize.std, np.float64)
    factor = (normalize.scale / std).astype(np.float32).reshape(1, -1, 1, 1)
    shift = (-np.asarray(normalize.mean) / std).astype(np.float32).reshape(1, -1, 1, 1)
    pixels = canvas.net.cast(canvas.pixels, "float32") * factor + shift
    return canvas.with_pixels(pixels, normalized=True)


def _layout(canvas: Canvas, layout: Layout) -> Canvas:
    net, pixels = canvas.net, canvas.pixels
    if pixels.dtype != layout.dtype:
        pixels = net.cast(pixels, layout.dtype)
    if layout.order == "nhwc":
        pixels = net.transpose(pixels, (0, 2, 3, 1))
    return canvas.with_pixels(pixels, normalized=True)


STEPS: dict[str, Step] = {
    "decode": Step(_decode, frozenset({"colour", "orientation", "draft"})),
    "resize": Step(
        _resize,
        frozenset({"size", "interpolation", "rounding"}),
        lambda resize: resampling.unsupported(resize.interpolation),
    ),
    "center_crop": Step(_center_crop, frozenset({"size", "rounding"})),
    "normalize": Step(_normalize, frozenset({"mean", "std", "scale"})),
    "layout": Step(_layout, frozenset({"order", "dtype"})),
}
