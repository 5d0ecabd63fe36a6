"""Quantizes a network of ncnn to eight bits, as the package has no tool for it.

Weights get a scale to an output channel. What goes into a convolution or an inner product gets one
scale, that of the least squared error over the calibration feeds; what goes into a Gemm is scaled by
ncnn itself at each run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cached_property

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

LEAST_DB = 13.0
"""A hundredth of the power may be lost. In ResNets no layer loses that much. MobileNetV3 has feeds that
are quiet where others are loud: its last layers lost nearly all of them."""

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
        if layer in wanted and _is_heard(layer, ranges):
            layer, blocks[layer.name] = _quantized(layer, blocks[layer.name], ranges)
        layers.append(layer)
    network = Network(tuple(layers))
    network.write(model)
    weights.write(data, network, blocks)


def _is_heard(layer: Layer, ranges: Mapping[str, Range]) -> bool:
    """Whether one scale is fine enough for every feed; a layer for which it is not stays as it was."""
    return layer.kind not in SCALED or ranges[layer.takes[0]].worst_db >= LEAST_DB


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


# --- what layers take ---------------------------------------------------------------------------

STEPS, LOWEST, HIGHEST = 16, -40, 40
"""Bins to a power of two, and the powers between which numbers are told apart."""

CANDIDATES = 4 * STEPS
"""Ranges are tried down to a sixteenth of the largest number."""

BINS = np.arange((HIGHEST - LOWEST) * STEPS)
SIZES = 2.0 ** ((BINS + 0.5) / STEPS + LOWEST)
"""The size that stands for each bin."""


class Range:
    """Counts how large numbers are, on a logarithmic scale, which needs no range beforehand."""

    def __init__(self) -> None:
        self._feeds: list[tuple[int, Array]] = []

    def add(self, values: Array) -> None:
        """What one feed has there."""
        sizes = np.abs(values[values != 0])
        places = ((np.log2(sizes) - LOWEST) * STEPS).clip(0, len(BINS) - 1).astype(np.int64)
        first = int(places.min(initial=len(BINS)))
        self._feeds.append((first, np.bincount(places - first).astype(np.uint32)))

    @cached_property
    def top(self) -> float:
        """The range in whose steps the numbers lose least, of those beyond it what is cut off."""
        counts = np.zeros(len(BINS))
        for first, each in self._feeds:
            counts[first : first + len(each)] += each
        used = np.flatnonzero(counts)
        if not used.size:
            return 1.0
        tops = 2.0 ** ((used[-1] + 1 - np.arange(CANDIDATES)) / STEPS + LOWEST)
        return float(min(tops, key=lambda top: _lost(0, counts, top)))

    @property
    def worst_db(self) -> float:
        """How far the numbers of a feed stand out of what they lose, of the feed that loses most."""
        return min((self._heard_db(*feed) for feed in self._feeds if feed[1].size), default=np.inf)

    def _heard_db(self, first: int, counts: Array) -> float:
        power = (counts * SIZES[first : first + len(counts)] ** 2).sum()
        return float(10 * np.log10(power / _lost(first, counts, self.top)))


def _lost(first: int, counts: Array, top: float) -> float:
    """The squared error, by as many numbers as there are in the bins from the first on."""
    step, sizes = top / LARGEST, SIZES[first : first + len(counts)]
    rounded = np.minimum(step**2 / 12, sizes**2)
    return float((counts * np.where(sizes > top, (sizes - top) ** 2, rounded)).sum())


def _ranges(session: NcnnSession, blobs: Iterable[str], feeds: Iterable[Feeds]) -> dict[str, Range]:
    found = {blob: Range() for blob in blobs}
    for feed in feeds:
        session.signature.check(feed)
        for blob, values in session.look(feed, found):
            found[blob].add(values)
    return found
