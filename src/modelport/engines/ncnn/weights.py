"""The file of weights of a network of ncnn: blocks in the order of the layers, without an index.

A block is float32 numbers; in some places a tag in front of it says what they are. How long each is
follows from the parameters of its layer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from modelport.engines.ncnn.network import Layer, Network
from modelport.errors import EngineError
from modelport.types import Array

FLOATS, INTEGERS = 0, 0x000D4B38
"""Tags of 32 and of 8 bits."""

ALIGNMENT = 4


@dataclass(frozen=True)
class Block:
    values: Array
    tagged: bool

    def to_bytes(self) -> bytes:
        body = self.values.tobytes()
        body += bytes(-len(body) % ALIGNMENT)
        if not self.tagged:
            return body
        tag = INTEGERS if self.values.dtype == np.int8 else FLOATS
        return tag.to_bytes(4, "little") + body


Blocks = dict[str, list[Block]]
"""By name of layer."""


def read(path: Path, network: Network) -> Blocks:
    """Raises EngineError where the file is not laid out as the layers say."""
    data, end = path.read_bytes(), 0
    found: Blocks = {}
    for layer in network.layers:
        found[layer.name] = blocks = []
        for tagged, count in block_sizes(layer):
            if tagged and data[end : end + 4] != bytes(4):
                raise _unknown(layer)
            start = end + 4 * tagged
            end = start + 4 * count
            if end > len(data):
                raise _unknown(layer)
            blocks.append(Block(np.frombuffer(data, np.float32, count, start), tagged))
    if end != len(data) and any(found.values()):
        raise _unknown(network.layers[-1])
    return found


def write(path: Path, network: Network, blocks: Mapping[str, Sequence[Block]]) -> None:
    parts = [block.to_bytes() for layer in network.layers for block in blocks[layer.name]]
    path.write_bytes(b"".join(parts))


def _unknown(layer: Layer) -> EngineError:
    return EngineError(
        f"ncnn failed while compiling: the weights of {layer.kind} {layer.name} cannot be quantized, for "
        "they are not laid out as expected",
        hint="Deploy it at fp32 or fp16, or choose another engine with --engines",
    )


# --- how many numbers a layer has ---------------------------------------------------------------

CONVOLUTIONS = {
    f"{kind}{axes}"
    for kind in ("Convolution", "ConvolutionDepthWise", "Deconvolution", "DeconvolutionDepthWise")
    for axes in ("", "1D", "3D")
} | {"DeformableConv2D"}

GATES = {"LSTM": (4, 4), "GRU": (3, 4), "RNN": (1, 1)}
"""Rows of weights, and of biases, to a hidden number."""


def block_sizes(layer: Layer) -> Iterator[tuple[bool, int]]:
    """Whether a block has a tag, and how many numbers it has; nothing for layers that nobody lists here."""
    number = layer.number
    if layer.kind in CONVOLUTIONS and not number(19):
        yield from _product(number(6), number(0) * bool(number(5)))
    elif layer.kind == "InnerProduct":
        yield from _product(number(2), number(0) * bool(number(1)))
    elif layer.kind == "Embed":
        yield from _product(number(3), number(0) * bool(number(2)))
    elif layer.kind == "Gemm":
        yield from _gemm(layer)
    elif layer.kind == "MultiHeadAttention":
        yield from _attention(layer)
    elif layer.kind in GATES:
        yield from _recurrent(layer)
    elif layer.kind == "MemoryData":
        sizes = [size for size in (number(0), number(1), number(11), number(2)) if size]
        if sizes:
            yield number(21, 1) == 0, math.prod(sizes)
    else:
        yield from ((False, count) for count in _vectors(layer))


def _product(weights: int, biases: int) -> Iterator[tuple[bool, int]]:
    yield True, weights
    if biases:
        yield False, biases


def _gemm(layer: Layer) -> Iterator[tuple[bool, int]]:
    rows, columns, inner = layer.number(7), layer.number(8), layer.number(9)
    if layer.number(4):
        yield True, rows * inner
    if layer.number(5):
        yield True, columns * inner
    if layer.number(6) and layer.number(10) != -1:
        yield True, {0: 1, 1: rows, 2: rows, 3: rows * columns, 4: columns}[layer.number(10)]


def _attention(layer: Layer) -> Iterator[tuple[bool, int]]:
    inside = layer.number(0)
    queries = layer.number(2) // inside
    for taken in (queries, layer.number(3, inside), layer.number(4, inside)):
        yield from _product(inside * taken, inside)
    yield from _product(queries * inside, queries)


def _recurrent(layer: Layer) -> Iterator[tuple[bool, int]]:
    gates, biases = GATES[layer.kind]
    outside, ways = layer.number(0), 2 if layer.number(2) == 2 else 1
    inside = layer.number(3, outside) if layer.kind == "LSTM" else outside
    yield True, layer.number(1)
    yield True, inside * biases * ways
    yield True, outside * inside * gates * ways
    if inside != outside:
        yield True, inside * outside * ways


def _vectors(layer: Layer) -> list[int]:
    """Of layers that have a number to a channel, or a few."""
    first = layer.number(0) if layer.kind in VECTORS else 0
    match layer.kind:
        case "LayerNorm" | "InstanceNorm":
            return [first] * (2 * layer.number(2, 1))
        case "RMSNorm":
            return [first] * layer.number(2, 1)
        case "GroupNorm":
            return [layer.number(1)] * (2 * layer.number(3, 1))
        case "BatchNorm":
            return [first] * 4
        case "Scale":
            return [first] * (1 + layer.number(1)) if first > 0 else []
        case "Normalize":
            return [layer.number(3)]
        case "PReLU" | "Bias":
            return [first]
    return []


VECTORS = ("LayerNorm", "InstanceNorm", "RMSNorm", "BatchNorm", "Scale", "PReLU", "Bias")
