"""What padding takes from a constant that is added before a convolution."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from modelport.passes.linear import (
    dilations_of,
    group_of,
    inputs_of,
    parameters_of,
    spatial_pads,
    strides_of,
)
from modelport.passes.matching import size_of
from modelport.types import Array

MAP_LIMIT = 1 << 15
"""Most numbers of a bias that has one for each position."""


def is_padded(conv: ir.Node) -> bool:
    """Whether a Conv may read beyond its input."""
    pads = _pads(conv, parameters_of(conv).weight.shape[2:])
    return pads is None or any(pads[0]) or any(pads[1])


def border_map(conv: ir.Node, shift: Array) -> Array | None:
    """What a Conv makes of a constant of each channel: shape (1, outputs, sizes...), float64.

    None where the sizes are not known, or where it would be larger than the input or the limit.
    """
    weight = parameters_of(conv).weight
    taps = weight.shape[2:]
    pads = _pads(conv, taps)
    sizes = [size_of(conv.inputs[0], axis + 2) for axis in range(len(taps))]
    known = [size for size in sizes if size is not None]
    if pads is None or len(known) < len(sizes):
        return None
    masks = [
        _reads(size, *numbers)
        for size, *numbers in zip(
            known,
            taps,
            strides_of(conv, len(taps)),
            dilations_of(conv, len(taps)),
            *pads,
            strict=True,
        )
    ]
    elements = weight.shape[0] * math.prod(len(mask) for mask in masks)
    if elements > min(MAP_LIMIT, inputs_of(conv) * math.prod(known)):
        return None
    return _summed(conv, weight, shift, masks)


def _summed(conv: ir.Node, weight: Array, shift: Array, masks: list[Array]) -> Array:
    """The masks applied to the sums over input channels."""
    group = group_of(conv)
    blocks = np.broadcast_to(shift, (inputs_of(conv),)).reshape(group, 1, -1)
    grouped = weight.reshape(group, weight.shape[0] // group, weight.shape[1], -1)
    total = (grouped * blocks[..., None]).sum(axis=2).reshape(weight.shape[0], *weight.shape[2:])
    for mask in masks:  # each takes the first axis of taps, and appends one of positions
        total = np.tensordot(total, mask, axes=(1, 1))
    return np.asarray(total[None])


def _pads(conv: ir.Node, taps: tuple[int, ...]) -> tuple[list[int], list[int]] | None:
    dilations = dilations_of(conv, len(taps))
    return spatial_pads(
        conv, tuple((n - 1) * step + 1 for n, step in zip(taps, dilations, strict=True))
    )


def _reads(size: int, taps: int, stride: int, dilation: int, begin: int, end: int) -> Array:
    """Which taps of each output lie inside the input, along one axis: (outputs, taps)."""
    outputs = (size + begin + end - (taps - 1) * dilation - 1) // stride + 1
    places = np.arange(outputs)[:, None] * stride - begin + np.arange(taps) * dilation
    return np.asarray((places >= 0) & (places < size), np.float64)
