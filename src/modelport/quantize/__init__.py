"""Quantization: a scheme says what becomes int8 or float8, and how; a quantizer applies it to a graph."""

from modelport.quantize.schemes import Scheme
from modelport.registry import Registry

SCHEMES: Registry[Scheme] = Registry(
    "scheme",
    {
        "int8": "modelport.quantize.schemes:INT8",
        "int8-mixed": "modelport.quantize.schemes:INT8_MIXED",
        "fp8": "modelport.quantize.schemes:FP8",
    },
)
