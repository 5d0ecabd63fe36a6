"""How transforms are written in the graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import numpy as np

from modelport.endtoend import resampling
from modelport.endtoend.canvas import Canvas
from modelport.endtoend.counts import Count, Counts
from modelport.frontends.network import Tensor
from modelport.runtime.transforms import (
    CenterCrop,
    Decode,
    Layout,
    Letterbox,
    Normalize,
    Resize,
    Transform,
)
from modelport.runtime.transforms.frames import extent

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
    plane = net.cast(grey, "uint8")
    if decode.colour == "grey3":
        return canvas.with_pixels(net.concat([plane] * 3, axis=1))
    return canvas.with_pixels(plane, channels=1)


# --- sizes --------------------------------------------------------------------------------------


def _resize(canvas: Canvas, resize: Resize) -> Canvas:
    height, width = _target(canvas, resize)
    return resampling.resized(canvas, resize.interpolation, height, width)


def _target(canvas: Canvas, resize: Resize) -> tuple[Count, Count]:
    """Height and width after it, as the runtime's `Resize.target`."""
    if not isinstance(resize.size, int):
        return resize.size[0], resize.size[1]
    counts, high, wide = canvas.counts, canvas.down.size, canvas.across.size
    shorter = counts.least(high, wide) if resize.edge == "shorter" else counts.most(high, wide)
    other = counts.most(high, wide) if resize.edge == "shorter" else counts.least(high, wide)
    exact = counts.number(counts.times(other, resize.size)) / counts.number(shorter)
    length = counts.most(counts.rounded(exact, resize.rounding), 1)
    stands = (wide <= high) if resize.edge == "shorter" else (wide >= high)
    return (
        counts.chosen(stands, length, resize.size),
        counts.chosen(stands, resize.size, length),
    )


def _resize_refusal(resize: Resize) -> str | None:
    if resize.edge in ("height", "width"):
        return f"the transform resize of the {resize.edge} has no form in the graph yet"
    return resampling.unsupported(resize.interpolation)


def _fill_refusal(step: CenterCrop | Letterbox) -> str | None:
    if isinstance(step.fill, tuple) and len(set(step.fill)) > 1:
        return f"the transform {step.kind} with a colour to fill with has no form in the graph yet"
    return None


def _letterbox(canvas: Canvas, box: Letterbox) -> Canvas:
    net, counts = canvas.net, canvas.counts
    wide, high = extent(box.size)
    down, across = counts.number(canvas.down.size), counts.number(canvas.across.size)
    ratio = net.minimum(np.float64(high) / down, np.float64(wide) / across)
    if not box.upscale:
        ratio = net.minimum(ratio, np.float64(1))
    height = _edge(counts, down * ratio, box, high)
    width = _edge(counts, across * ratio, box, wide)
    canvas = resampling.resized(canvas, box.interpolation, height, width)
    top = left = cast(Count, 0)
    if box.anchor == "center":
        top = counts.halved(counts.minus(high, height), box.margin)
        left = counts.halved(counts.minus(wide, width), box.margin)
    return window(
        canvas, counts.minus(0, top), counts.minus(0, left), high, wide, fill=cast(float, box.fill)
    )


def _edge(counts: Counts, exact: Tensor, box: Letterbox, most: int) -> Count:
    return counts.least(counts.most(counts.rounded(exact, box.rounding), 1), most)


def _letterbox_refusal(box: Letterbox) -> str | None:
    return _fill_refusal(box) or resampling.unsupported(box.interpolation)


def _center_crop(canvas: Canvas, crop: CenterCrop) -> Canvas:
    wide, high = crop.extent()
    half_even = crop.rounding == "half-even"
    top = _margin(canvas, canvas.down.size, high, half_even=half_even)
    left = _margin(canvas, canvas.across.size, wide, half_even=half_even)
    return window(canvas, top, left, high, wide, fill=cast(float, crop.fill))


def _margin(canvas: Canvas, before: Count, after: int, *, half_even: bool) -> Count:
    """How far the crop's edge lies inside; negative where it lies outside."""
    counts = canvas.counts
    spare, lacking = counts.minus(before, after), counts.minus(after, before)
    inside = counts.over(counts.most(spare, 0), 2)
    if half_even:  # an odd margin's half is rounded to the even number
        up = counts.times(counts.odd(spare), counts.odd(inside))
        inside = counts.plus(inside, counts.chosen(_is_positive(spare), up, 0))
    lacking = counts.most(lacking, 0)
    outside = lacking if half_even else counts.plus(lacking, 1)  # `floor` goes further out
    return counts.minus(inside, counts.over(outside, 2))


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
    padded = net.op.Pad(part, pads, np.array(np.max(fill), canvas.pixels.dtype))
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
    "decode": Step(_decode, frozenset({"colour", "orientation", "draft", "background"})),
    "resize": Step(
        _resize,
        frozenset({"size", "edge", "interpolation", "rounding"}),
        _resize_refusal,
    ),
    "letterbox": Step(
        _letterbox,
        frozenset({"size", "fill", "anchor", "upscale", "interpolation", "rounding", "margin"}),
        _letterbox_refusal,
    ),
    "center_crop": Step(_center_crop, frozenset({"size", "rounding", "fill"}), _fill_refusal),
    "normalize": Step(_normalize, frozenset({"mean", "std", "scale"})),
    "layout": Step(_layout, frozenset({"order", "dtype"})),
}
