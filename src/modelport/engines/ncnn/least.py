"""How long a file of weights must be at least, which tells one that was cut short.

What numbers are stored as stands in front of their block, so the file is walked from tag to tag: see
`ModelBinFromDataReader` of ncnn. Past a layer whose blocks are not known by size, every number counts
as the one byte that the tightest way of storing it takes.
"""

from __future__ import annotations

from modelport.engines.ncnn.network import Layer, Network
from modelport.engines.ncnn.weights import ALIGNMENT, FLOATS, INTEGERS, block_sizes

BYTES_OF = {FLOATS: 4, 0x01306B47: 2, INTEGERS: 1}
"""Bytes to a number, by tag; the second is of float16."""

TAG_BYTES = 4

SCALES = ("Quantize", "Dequantize", "Requantize")
"""Layers that are nothing but scales."""

INT8_TERMS = {"MultiHeadAttention": 18, "Gemm": 18, "Embed": 18}
"""The parameter that says there are scales of int8; elsewhere it is the eighth."""


def least_bytes(network: Network, data: memoryview) -> int:
    """What the layers take of the file; it may be more than the file has."""
    end, sure = 0, True
    for layer in network.layers:
        sure = sure and not _has_scales(layer)
        for tagged, count in block_sizes(layer):
            each = 4
            if tagged:
                tag = int.from_bytes(data[end : end + TAG_BYTES], "little")
                sure = sure and tag in BYTES_OF
                each = BYTES_OF[tag] if sure else 1
                end += TAG_BYTES
            end += -(-max(count, 0) * each // ALIGNMENT) * ALIGNMENT
    return end


def _has_scales(layer: Layer) -> bool:
    return layer.kind in SCALES or bool(
        list(block_sizes(layer)) and layer.number(INT8_TERMS.get(layer.kind, 8))
    )
