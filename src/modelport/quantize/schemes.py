"""The contract of a scheme: what is quantized, and how, as plain data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Part = Literal["depthwise"]


@dataclass(frozen=True)
class Scheme:
    """How a graph is quantized. JSON-able; finding scales and placing them is for the quantizer.

    Attributes:
        precision: of weights and activations: `int8`, or `fp8` for float8 (E4M3).
        bits: of weights and activations.
        weights: one scale to an output channel, or one to a tensor.
        activations: likewise. More than one scale helps depthwise convolutions, but only OpenVINO can
            run them in int8 then: ONNX Runtime computes such a layer in float, five times as slow.
        zero_point: `asymmetric` activations have one, `symmetric` ones do not.
        bias_correction: whether biases are shifted by the mean error that quantization causes.
        smooth: whether outliers of activations are spread over the weights that follow (SmoothQuant).
        keep_float: parts of the graph that stay in float.
        quantizer: which code applies it.
    """

    name: str
    summary: str
    precision: Literal["int8", "fp8"] = "int8"
    bits: int = 8
    weights: Literal["per_channel", "per_tensor"] = "per_channel"
    activations: Literal["per_channel", "per_tensor"] = "per_tensor"
    zero_point: Literal["symmetric", "asymmetric"] = "asymmetric"
    bias_correction: bool = True
    smooth: bool = True
    keep_float: tuple[Part, ...] = ()
    quantizer: Literal["nncf"] = "nncf"

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "keep_float": list(self.keep_float)}


INT8 = Scheme(name="int8", summary="every convolution and matrix product in int8")

INT8_MIXED = Scheme(
    name="int8-mixed",
    summary="int8, with depthwise convolutions in float: they do few of the multiplications, and "
    "with only a handful of weights to a channel lose most",
    keep_float=("depthwise",),
)

FP8 = Scheme(
    name="fp8",
    summary="every convolution and matrix product in float8 (E4M3), for GPUs from Ada and Hopper on",
    precision="fp8",
    zero_point="symmetric",
    bias_correction=False,  # what NNCF corrects is the error of int8
    smooth=False,  # weights are rounded from the originals, which it would change
)
