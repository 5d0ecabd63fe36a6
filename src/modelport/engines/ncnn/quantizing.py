"""Quantizes a network of ncnn to eight bits, as the package has no tool for it.

Weights get a scale to an output channel. What goes into a convolution or an inner product gets one
scale, that of the least squared error over the calibration feeds; what goes into a Gemm is scaled by
ncnn itself at each run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from modelport.engines.conversion import Conversion, Converted
from modelport.engines.ncnn import weights
from modelport.engines.ncnn.network import Layer, Network
from modelport.engines.ncnn.ranges import LARGEST, Range
from modelport.engines.ncnn.session import NcnnSession
from modelport.engines.ncnn.trial import artifact_of
from modelport.engines.ncnn.weights import Block
from modelport.errors import EngineError
from modelport.types import Array, Feeds

LEAST_DB = 13.0
"""A twentieth of the power may be lost. In ResNets no layer loses that much. MobileNetV3 has feeds that
are quiet where others are loud: its last layers lost nearly all of them."""

SCALED = ("Convolution", "InnerProduct")
"""Layers that get a scale for what they take. Convolutions of channels one by one were no faster in eight
bits, and cost a MobileNetV3 5 dB: they stay as they were."""


def quantize(job: Conversion, made: Converted) -> None:
    """In place, in the directory of the job."""
    feeds = job.calibration()
    if not feeds:
        raise EngineError(
            "ncnn failed while compiling: int8 needs calibration data",
            hint="Point --calibration at a folder of real inputs",
        )
    model, data = (job.directory / made.files[role] for role in ("model", "weights"))
    network = Network.read(model)
    blocks = weights.read(data, network)
    found = [layer for layer in network.layers if _can_be_quantized(layer)]
    session = NcnnSession(artifact_of(job, made), threads=0)
    with session:
        ranges = _ranges(session, {each.takes[0] for each in found if each.kind in SCALED}, feeds)
    chosen = {each.name for each in found if _is_heard(each, ranges)}
    if not chosen:
        raise EngineError(
            f"ncnn failed while compiling: of {len(found)} layers that could be quantized, eight bits "
            "are enough for none",
            hint="Deploy it at fp32 or fp16",
        )
    layers = []
    for layer in network.layers:
        if layer.name in chosen:
            layer, blocks[layer.name] = _quantized(layer, blocks[layer.name], ranges)
        layers.append(layer)
    network = Network(tuple(layers))
    network.write(model)
    weights.write(data, network, blocks)


def _can_be_quantized(layer: Layer) -> bool:
    if layer.kind == "Gemm":  # a constant on the right, transposed
        return (layer.number(4), layer.number(5), layer.number(3)) == (0, 1, 1)
    return layer.kind in SCALED and not layer.number(19)


def _is_heard(layer: Layer, ranges: Mapping[str, Range]) -> bool:
    """Whether one scale is fine enough for every feed; a layer for which it is not stays as it was."""
    return layer.kind not in SCALED or ranges[layer.takes[0]].worst_db >= LEAST_DB


def _quantized(
    layer: Layer, blocks: list[Block], ranges: Mapping[str, Range]
) -> tuple[Layer, list[Block]]:
    if layer.kind == "Gemm":
        scales, integers = _in_rows(blocks[0].values, 1)
        return _told(layer, 18, 2), [integers, *blocks[1:], Block(scales, False)]
    scales, integers = _in_rows(blocks[0].values, layer.number(0))
    taken = np.array([LARGEST / ranges[layer.takes[0]].top], np.float32)
    return _told(layer, 8, 1), [integers, *blocks[1:], Block(scales, False), Block(taken, False)]


def _told(layer: Layer, parameter: int, value: int) -> Layer:
    return replace(layer, parameters={**layer.parameters, str(parameter): str(value)})


def _in_rows(values: Array, rows: int) -> tuple[Array, Block]:
    """A scale for each row, and the rows in eight bits."""
    table = values.reshape(rows, -1)
    largest = np.abs(table).max(axis=1)
    scales = (LARGEST / np.where(largest == 0, LARGEST, largest)).astype(np.float32)
    integers = np.rint(table * scales[:, None]).clip(-LARGEST, LARGEST).astype(np.int8)
    return scales, Block(integers.reshape(-1), True)


def _ranges(session: NcnnSession, blobs: Iterable[str], feeds: Iterable[Feeds]) -> dict[str, Range]:
    found = {blob: Range() for blob in blobs}
    for feed in feeds:
        session.signature.check(feed)
        for blob, values in session.look(feed, found):
            found[blob].add(values)
    return found
