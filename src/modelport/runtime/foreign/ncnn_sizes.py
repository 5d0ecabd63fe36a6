"""Whether a network of ncnn takes pictures of any size.

Files that came from Caffe always name one size, the one that somebody tried; ncnn itself does not look at
it. Where no layer depends on the size, the network of a file takes any.
"""

from __future__ import annotations

from modelport.engines.ncnn.network import Layer, Network

CONVOLUTIONS = ("Convolution", "ConvolutionDepthWise", "Deconvolution", "DeconvolutionDepthWise")

KEEPS_SHAPE = (
    "AbsVal", "BNLL", "BatchNorm", "Bias", "Clip", "Dropout", "ELU", "GELU", "HardSigmoid", "HardSwish",
    "Mish", "Noop", "PReLU", "Power", "ReLU", "SELU", "Scale", "Sigmoid", "Split", "Swish", "TanH",
    "UnaryOp",
)  # fmt: skip
"""Layers whose output has the axes and sizes of the first that they take."""

ANY_SIZE = frozenset(
    {"Input", "BinaryOp", "Concat", "Eltwise", "Padding", "PixelShuffle", "Pooling", *CONVOLUTIONS,
     *KEEPS_SHAPE}
)  # fmt: skip
"""Layers that do the same at any height and width."""

GLOBAL = 4
"""Parameter of `Pooling` that says that it is over all of a picture."""


def takes_any_size(network: Network) -> bool:
    """Whether each layer does the same at any size, or sees only what a pooling of all pixels gives."""
    vectors: set[str] = set()
    for layer in network.layers:
        pooled = layer.kind == "Pooling" and layer.number(GLOBAL) == 1
        if pooled or (layer.takes and vectors.issuperset(layer.takes)):
            vectors.update(layer.gives)
        elif not _any_size(layer):
            return False
    return True


def _any_size(layer: Layer) -> bool:
    """A crop like another blob, or an enlargement by a factor, is for any size too."""
    if layer.kind == "Crop":
        return len(layer.takes) == 2
    if layer.kind == "Interp":
        return layer.number(3) == 0 == layer.number(4)
    return layer.kind in ANY_SIZE
