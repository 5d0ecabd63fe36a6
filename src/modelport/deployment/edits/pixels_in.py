"""Takes normalisation and layout into the graph: pixels go in as they were decoded.

Before:
    transforms: decode, resize, crop, normalize, layout (nchw, float32)
    main (float[N,3,H,W] image)

After:
    transforms: decode, resize, crop, layout (nhwc, uint8)
    main (uint8[N,H,W,3] image) {
        planes = Transpose <perm = [0, 3, 1, 2]> (image)
        numbers = Cast <to = float> (planes)
        scaled = Mul (numbers, factor)          # scale / std, one to a channel
        normal = Add (scaled, shift)            # -mean / std
        ...
    }

A quarter of the bytes goes in, and the predictor copies pixels only. The passes fold factor and shift
into the first convolution where that is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from modelport.deployment.edits.base import Draft, Edit, Edited
from modelport.graph.query import RANGE
from modelport.runtime.transforms import Layout, Normalize, Transform
from modelport.runtime.transforms.tensor import write_tensor
from modelport.types import Array, Feeds

_TO_NCHW = (0, 3, 1, 2)
_PICTURE_RANK = 4


class PixelsIn(Edit):
    name: ClassVar[str] = "pixels_in"
    summary: ClassVar[str] = (
        "normalisation and layout move into the graph, which takes uint8 pixels"
    )

    def refuses(self, draft: Draft) -> str | None:
        if _last(draft.source.transforms, Normalize) is None:
            return "the transforms have no normalize"
        if not draft.model.graph.inputs:
            return "the graph has no input"
        first = draft.model.graph.inputs[0]
        if first.shape is None or len(first.shape) != _PICTURE_RANK:
            return f"the input {first.name!r} is no batch of pictures"
        if first.dtype != ir.DataType.FLOAT:
            return f"the input {first.name!r} is {first.dtype}, and only float32 is normalised"
        return None

    def apply(self, draft: Draft) -> Edited:
        transforms = draft.source.transforms
        normalize, layout = _last(transforms, Normalize), _last(transforms, Layout) or Layout()
        assert isinstance(normalize, Normalize)
        assert isinstance(layout, Layout)
        first = draft.model.graph.inputs[0]
        _take_pixels(draft.model.graph, first, normalize, layout)
        kept = [step for step in transforms if not isinstance(step, (Normalize, Layout))]
        pixels = Layout(order="nhwc", dtype="uint8")
        name = first.name or ""

        def normalised(feeds: Feeds) -> Feeds:
            return {**feeds, name: _normalised(feeds[name], normalize, layout)}

        source = replace(draft.source, transforms=[*kept, pixels])
        return Edited(Draft(draft.model, source), feeds=normalised)


def _last(transforms: Sequence[Transform], kind: type[Transform]) -> Transform | None:
    return next((step for step in reversed(transforms) if isinstance(step, kind)), None)


def _take_pixels(graph: ir.Graph, before: ir.Value, normalize: Normalize, layout: Layout) -> None:
    """Puts an input of pixels in the place of the old one, under its name."""
    name = before.name or ""
    planar = layout.order == "nchw"
    pixels = ir.Value(
        name=name, type=ir.TensorType(ir.DataType.UINT8), shape=_pixel_shape(before, planar)
    )
    if RANGE in before.metadata_props:
        pixels.metadata_props[RANGE] = _moved_range(before.metadata_props[RANGE], planar)
    along = (1, -1, 1, 1) if planar else (1, 1, 1, -1)
    std = np.asarray(normalize.std, np.float64)
    factor = _constant(graph, normalize.scale / std, along, f"{name}.factor")
    shift = _constant(graph, -np.asarray(normalize.mean) / std, along, f"{name}.shift")
    nodes = []
    value = pixels
    if planar:
        nodes.append(ir.node("Transpose", [value], attributes={"perm": list(_TO_NCHW)}))
        value = nodes[-1].outputs[0]
    nodes.append(ir.node("Cast", [value], attributes={"to": ir.DataType.FLOAT.value}))
    nodes.append(ir.node("Mul", [nodes[-1].outputs[0], factor]))
    nodes.append(ir.node("Add", [nodes[-1].outputs[0], shift]))
    for node in nodes:
        node.outputs[0].name = f"{name}.{node.op_type.lower()}"
        node.name = f"{name}/{node.op_type}"
    normal = nodes[-1].outputs[0]
    normal.type, normal.shape = before.type, before.shape
    before.replace_all_uses_with(normal, replace_graph_outputs=True)
    graph.inputs[0] = pixels
    graph.insert_before(graph[0], nodes)


def _constant(graph: ir.Graph, numbers: Array, along: tuple[int, ...], name: str) -> ir.Value:
    tensor = ir.tensor(numbers.astype(np.float32).reshape(along), name=name)
    value = ir.Value(
        name=name,
        type=ir.TensorType(tensor.dtype),
        shape=ir.Shape(tensor.numpy().shape),
        const_value=tensor,
    )
    graph.register_initializer(value)
    return value


def _pixel_shape(before: ir.Value, planar: bool) -> ir.Shape:
    assert before.shape is not None
    sizes = list(before.shape.dims)
    return ir.Shape([sizes[0], *sizes[2:], sizes[1]] if planar else sizes)


def _moved_range(text: str, planar: bool) -> str:
    """The bounds of free sizes, under the axes where these are now."""
    if not planar:
        return text
    items = (item.partition(":") for item in text.split())
    return " ".join(f"{_TO_NCHW.index(int(axis))}:{_sizes}" for axis, _, _sizes in items)


def _normalised(pixels: Array, normalize: Normalize, layout: Layout) -> Array:
    """What the transforms made of the pixels before."""
    batch, height, width, channels = pixels.shape
    planes = (channels, height, width) if layout.order == "nchw" else (height, width, channels)
    out = np.empty((batch, *planes), np.float32)
    for picture, place in zip(pixels, out, strict=True):
        write_tensor(picture, normalize, layout, place)
    return out
