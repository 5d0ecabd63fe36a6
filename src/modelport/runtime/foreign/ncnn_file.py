"""What the pair of files of an ncnn network says of its inputs and outputs.

The text (`.param`) has a layer to a line; the weights (`.bin`) follow in the order of the layers. ncnn
knows no batch, so inputs and outputs have a first axis of one in front of what ncnn has. Sizes stand in
the text where whoever wrote it gave them, and count where a layer depends on them; of outputs there is at
most the number of channels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from modelport.engines.ncnn.least import least_bytes
from modelport.engines.ncnn.network import Layer, Network
from modelport.errors import BundleFormatError
from modelport.runtime.foreign.damage import reading
from modelport.runtime.foreign.folder import TEXT_LIMIT_BYTES
from modelport.runtime.foreign.ncnn_sizes import CONVOLUTIONS, KEEPS_SHAPE, takes_any_size
from modelport.types import Blob, Dim, Signature, TensorSpec

MOST_ENDS = 256
"""Inputs, or outputs."""

WIDTH, HEIGHT, DEPTH, CHANNELS = 0, 1, 11, 2
"""Parameters of an `Input`: sizes of its axes, the last one first; 0 where there is none."""


def read_ncnn(path: Path, weights: Path) -> Signature:
    """Inputs are the `Input` layers, outputs the blobs that nobody takes.

    Raises:
        BundleFormatError: where the text describes no network, or the weights are too short for it.
    """
    damage = (ValueError, ArithmeticError, LookupError)
    with reading(
        path, "ncnn network", "the .param file, in text form, that belongs to a .bin file", damage
    ):
        network = Network.parse(_text(path))
        signature = _signature(network)
        wanted, has = least_bytes(network, Blob(weights).view()), weights.stat().st_size
    if wanted > has:
        raise BundleFormatError(
            f"{weights} has {has} bytes, too few for the layers in {path.name}",
            expected=f"{wanted} bytes or more",
            hint="It was cut short, or belongs to another network: copy or convert both again",
        )
    return signature


def _text(path: Path) -> str:
    with open(path, "rb") as file:
        data = file.read(TEXT_LIMIT_BYTES + 1)
    if len(data) > TEXT_LIMIT_BYTES:
        raise ValueError("it is too large for a description")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError("it is no text") from error


def _signature(network: Network) -> Signature:
    taken = {blob for layer in network.layers for blob in layer.takes}
    givers = {blob: layer for layer in network.layers for blob in layer.gives}
    entries = [layer for layer in network.layers if layer.kind == "Input"]
    ends = [blob for blob in givers if blob not in taken and givers[blob].kind != "Input"]
    if not (0 < len(entries) <= MOST_ENDS and 0 < len(ends) <= MOST_ENDS):
        raise ValueError(f"it has {len(entries)} inputs and {len(ends)} outputs")
    return Signature(
        tuple(_input(layer, network) for layer in entries),
        tuple(_output(blob, givers) for blob in _in_order(ends)),
    )


def _in_order(blobs: list[str]) -> list[str]:
    """As they stand in the file; those of pnnx have numbers: out0, out1."""
    numbered = [re.fullmatch(r"out(\d{1,6})", blob) for blob in blobs]
    if not all(numbered):
        return blobs
    return sorted(blobs, key=lambda blob: int(blob.removeprefix("out")))


# --- shapes -------------------------------------------------------------------------------------


def _input(layer: Layer, network: Network) -> TensorSpec:
    """With the sizes that it says; else a picture of any size, with the channels that its readers want."""
    if len(layer.gives) != 1:
        raise ValueError(f"its input layer {layer.name[:40]!r} gives {len(layer.gives)} blobs")
    name = layer.gives[0]
    readers = list(network.readers(name))
    if any(reader.kind == "Embed" for reader in readers):
        raise ValueError(
            f"its input {name!r} is rows of a table, which bare networks are not fed here"
        )
    said = [layer.number(place) for place in (CHANNELS, DEPTH, HEIGHT, WIDTH)]
    sizes = [size if size > 0 else Dim() for size in said if size]
    if not sizes:
        channels = next(filter(None, map(_channels_taken, readers)), Dim())
        sizes = [channels, Dim(), Dim()]
    elif len(sizes) == 3 and takes_any_size(network):
        sizes[1:] = [Dim(), Dim()]
    return TensorSpec(name, "float32", (1, *sizes))


def _channels_taken(reader: Layer) -> int | None:
    """Of a convolution: its weights (6) are as many as channels given (0) times those taken of its groups
    (7), times the kernel (1 and 11).
    """
    if reader.kind not in CONVOLUTIONS:
        return None
    width = reader.number(1)
    window = reader.number(0) * width * reader.number(11, width)
    count = reader.number(6) * max(1, reader.number(7))
    return count // window if window > 0 and count % window == 0 else None


def _output(blob: str, givers: Mapping[str, Layer]) -> TensorSpec:
    """A picture of so many channels, or no shape at all where that cannot be told."""
    layer = givers[blob]
    while layer.kind in (*KEEPS_SHAPE, "Interp") and layer.takes:
        layer = givers[layer.takes[0]]
    channels = layer.number(0) if layer.kind in CONVOLUTIONS else 0
    return TensorSpec(blob, "float32", (1, channels, Dim(), Dim()) if channels > 0 else ())
