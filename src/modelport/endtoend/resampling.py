"""The resizes of PIL and OpenCV in a graph, equal to the runtime's within a grey level.

ONNX's own Resize differs from PIL by up to 20 grey levels at the borders of a picture that shrinks (as
ONNX Runtime 1.31 computes it, with antialias), so PIL's filters are written out: along each axis a
resize is a product with a matrix, one row of weights to a new pixel. The weights follow from the two
sizes and are computed in the graph, as PIL computes them: filters widen by the factor of a shrink, reach
over the pixels whose middle lies within, and sum to one; after each axis the numbers are rounded to 8
bits. OpenCV's linear and cubic do not widen, and there Resize does the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import numpy as np

from modelport.endtoend.canvas import Canvas
from modelport.endtoend.counts import Count, Counts
from modelport.frontends.network import Network, Tensor

_GREATEST = 255.0


def resized(canvas: Canvas, interpolation: str, height: Count, width: Count) -> Canvas:
    """The whole picture at that height and width, uint8 still."""
    library, _, method = interpolation.partition(".")
    if method == "nearest":
        pixels = _nearest(canvas, height, width, middle=library == "pil")
    elif library == "pil":
        pixels = _filtered(canvas, method, height, width)
    else:
        pixels = _resize(canvas, method, height, width)
    return canvas.resized(pixels, height, width)


def unsupported(interpolation: str) -> str | None:
    """Why a resize cannot be written in the graph, or None."""
    library, _, method = interpolation.partition(".")
    known = _FILTERS if library == "pil" else _OPENCV
    if method == "nearest" or (library in ("pil", "opencv") and method in known):
        return None
    return f"{interpolation} has no form in the graph yet"


def _filtered(canvas: Canvas, method: str, height: Count, width: Count) -> Tensor:
    """Across first, then down, as PIL does."""
    net = canvas.net
    across = _weights(canvas.counts, method, canvas.across.size, width)
    down = _weights(canvas.counts, method, canvas.down.size, height)
    flat = net.cast(canvas.pixels, "float32") @ net.transpose(across, (1, 0))
    return _rounded(net, down @ net.cast(_rounded(net, flat), "float32"))


def _weights(counts: Counts, method: str, before: Count, after: Count) -> Tensor:
    """float32, new size x old size; see Pillow's documentation of its filters, and `Resample.c`'s facts:
    the middle of new pixel i lies at (i + 0.5) * scale, and pixels whose index rounds into the reach
    take part."""
    net = counts.net
    reach, formula = _FILTERS[method]
    old, new = counts.number(before), counts.number(after)
    scale = old / new
    widening = net.maximum(scale, np.float64(1))
    middles = net.unsqueeze((_range(counts, after) + 0.5) * scale, 1)
    places = net.unsqueeze(_range(counts, before), 0)
    support = widening * reach
    first = cast(Tensor, net.op.Floor(net.maximum(middles - support + 0.5, np.float64(0))))
    last = cast(Tensor, net.op.Floor(net.minimum(middles + support + 0.5, old)))
    inside = (places >= first) & (places < last)
    values = formula(net, (places - middles + 0.5) / widening)
    kept = net.where(inside, values, np.float64(0))
    return net.cast(kept / net.sum(kept, 1, keepdims=True), "float32")


def _range(counts: Counts, count: Count) -> Tensor:
    """0, 1, ... as float64."""
    net = counts.net
    scalar = net.squeeze(counts.tensor(count), 0)
    whole = net.op.Range(np.int64(0), scalar, np.int64(1))
    return net.cast(cast(Tensor, whole), "float64")


def _triangle(net: Network, x: Tensor) -> Tensor:
    return net.maximum(1.0 - abs(x), np.float64(0))


def _box(net: Network, x: Tensor) -> Tensor:
    inside = (x > -0.5) & (x <= 0.5)
    return net.cast(inside, "float64")


def _cubic(net: Network, x: Tensor) -> Tensor:
    """Keys' kernel with a = -0.5."""
    a, x = -0.5, abs(x)
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    far = ((x - 5.0) * x + 8.0) * x * a - 4.0 * a
    return net.where(x < 1.0, near, net.where(x < 2.0, far, np.float64(0)))


def _sinc(net: Network, x: Tensor) -> Tensor:
    """sin(pi x) / (pi x); the sine as a product, for graphs have none of float64 everywhere."""
    turn = x * math.pi
    safe = net.where(abs(turn) < 1e-9, np.float64(1), turn)
    sine = net.cast(cast(Tensor, net.op.Sin(net.cast(safe, "float32"))), "float64")
    return net.where(abs(turn) < 1e-9, np.float64(1), sine / safe)


def _lanczos(net: Network, x: Tensor) -> Tensor:
    return net.where(abs(x) < 3.0, _sinc(net, x) * _sinc(net, x / 3.0), np.float64(0))


def _hamming(net: Network, x: Tensor) -> Tensor:
    cosine = net.cast(cast(Tensor, net.op.Cos(net.cast(x * math.pi, "float32"))), "float64")
    return net.where(abs(x) < 1.0, _sinc(net, x) * (0.54 + 0.46 * cosine), np.float64(0))


_FILTERS: dict[str, tuple[float, Callable[[Network, Tensor], Tensor]]] = {
    "box": (0.5, _box),
    "bilinear": (1.0, _triangle),
    "hamming": (1.0, _hamming),
    "bicubic": (2.0, _cubic),
    "lanczos": (3.0, _lanczos),
}
"""How far each reaches, and its value at a distance."""

_OPENCV = {"linear": "linear", "cubic": "cubic"}


def _resize(canvas: Canvas, method: str, height: Count, width: Count) -> Tensor:
    net = canvas.net
    found = net.op.Resize(
        net.cast(canvas.pixels, "float32"),
        None,
        None,
        canvas.counts.row(1, canvas.channels, height, width),
        mode=_OPENCV[method],
        coordinate_transformation_mode="half_pixel",
        cubic_coeff_a=-0.75,
    )
    return _rounded(net, cast(Tensor, found))


def _nearest(canvas: Canvas, height: Count, width: Count, *, middle: bool) -> Tensor:
    """PIL takes the pixel under the middle of the new one, OpenCV the one under its corner."""
    net, counts, pixels = canvas.net, canvas.counts, canvas.pixels
    for axis, before, after in ((2, canvas.down.size, height), (3, canvas.across.size, width)):
        old, new = counts.number(before), counts.number(after)
        places = (
            _middles(counts, after, old / new) if middle else _range(counts, after) * (old / new)
        )
        index = net.minimum(cast(Tensor, net.op.Floor(places)), old - 1.0)
        pixels = net.gather(pixels, net.cast(index, "int64"), axis)
    return pixels


def _middles(counts: Counts, count: Count, scale: Tensor) -> Tensor:
    """Added up one by one, as PIL does: its rounding decides where a middle falls on a border."""
    net = counts.net
    steps = net.where(_range(counts, count) < 0.5, scale * 0.5, scale)
    return cast(Tensor, net.op.CumSum(steps, np.int64(0)))


def _rounded(net: Network, numbers: Tensor) -> Tensor:
    """To 8 bits, halves upwards as PIL and OpenCV do."""
    whole = cast(Tensor, net.op.Floor(numbers + 0.5))
    return net.cast(net.clip(whole, 0.0, _GREATEST), "uint8")
