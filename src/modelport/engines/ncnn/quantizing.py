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
from modelport.engines.ncnn.session import NcnnSession
from modelport.engines.ncnn.trial import artifact_of
from modelport.engines.ncnn.weights import Block
from modelport.errors import EngineError
from modelport.types import Array, Feeds

LARGEST = 127

SCALED = ("Convolution", "ConvolutionDepthWise", "InnerProduct")
"""Layers that ncnn computes in eight bits with a scale for what they take."""


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
    wanted = [layer for layer in network.layers if _can_be_quantized(layer)]
    if not wanted:
        raise EngineError(
            "ncnn failed while compiling: no layer of this network can be quantized, as it has no "
            "convolution and no product with weights",
            hint="Deploy it at fp32 or fp16",
        )
    blocks = weights.read(data, network)
    session = NcnnSession(artifact_of(job, made), threads=0)
    with session:
        ranges = _ranges(
            session, {layer.takes[0] for layer in wanted if layer.kind in SCALED}, feeds
        )
    layers = []
    for layer in network.layers:
        if layer in wanted:
            layer, blocks[layer.name] = _quantized(layer, blocks[layer.name], ranges)
        layers.append(layer)
    network = Network(tuple(layers))
    network.write(model)
    weights.write(data, network, blocks)


def _can_be_quantized(layer: Layer) -> bool:
    if layer.kind == "Gemm":  # a constant on the right, transposed
        return (layer.number(4), layer.number(5), layer.number(3)) == (0, 1, 1)
    return layer.kind in SCALED and not layer.number(19)


# --- weights ------------------------------------------------------------------------------------


def _quantized(
    layer: Layer, blocks: list[Block], ranges: Mapping[str, Range]
) -> tuple[Layer, list[Block]]:
    if layer.kind == "Gemm":
        scales, integers = _in_rows(blocks[0].values, 1)
        return _told(layer, 18, 2), [integers, *blocks[1:], Block(scales, False)]
    rows = layer.number(7, 1) if layer.kind == "ConvolutionDepthWise" else layer.number(0)
    scales, integers = _in_rows(blocks[0].values, rows)
    taken = np.array([LARGEST / ranges[layer.takes[0]].best()], np.float32)
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


# --- what layers take ---------------------------------------------------------------------------

STEPS, LOWEST, HIGHEST = 16, -40, 40
"""Bins to a power of two, and the powers between which numbers are told apart."""

CANDIDATES = 4 * STEPS
"""Ranges are tried down to a sixteenth of the largest number."""


class Range:
    """Counts how large numbers are, on a logarithmic scale, which needs no range beforehand."""

    def __init__(self) -> None:
        self._counts = np.zeros((HIGHEST - LOWEST) * STEPS, np.int64)

    def add(self, values: Array) -> None:
        sizes = np.abs(values[values != 0])
        places = ((np.log2(sizes) - LOWEST) * STEPS).clip(0, len(self._counts) - 1)
        self._counts += np.bincount(places.astype(np.int64), minlength=len(self._counts))

    def best(self) -> float:
        """The range in whose steps the numbers lose least, of those beyond it what is cut off."""
        used = np.flatnonzero(self._counts)
        if not used.size:
            return 1.0
        counts = self._counts[used]
        sizes = 2.0 ** ((used + 0.5) / STEPS + LOWEST)
        tops = 2.0 ** ((used[-1] + 1 - np.arange(CANDIDATES)) / STEPS + LOWEST)
        losses = [_loss(counts, sizes, top) for top in tops]
        return float(tops[int(np.argmin(losses))])


def _loss(counts: Array, sizes: Array, top: float) -> float:
    step = top / LARGEST
    rounded = np.minimum(step**2 / 12, sizes**2)
    return float((counts * np.where(sizes > top, (sizes - top) ** 2, rounded)).sum())


def _ranges(session: NcnnSession, blobs: Iterable[str], feeds: Iterable[Feeds]) -> dict[str, Range]:
    found = {blob: Range() for blob in blobs}
    for feed in feeds:
        session.signature.check(feed)
        for blob, values in session.look(feed, found):
            found[blob].add(values)
    return found
