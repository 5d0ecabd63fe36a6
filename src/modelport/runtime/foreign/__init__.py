"""What other toolkits write, opened as if it were a bundle: one file for each toolkit."""

from __future__ import annotations

from pathlib import Path

from modelport.registry import Registry
from modelport.runtime.foreign.base import ForeignBundle, Opener

FOREIGN: Registry[Opener] = Registry(
    "opener",
    {
        "mmdeploy": "modelport.runtime.foreign.mmdeploy:MmdeployOpener",
        "ultralytics": "modelport.runtime.foreign.ultralytics:UltralyticsOpener",
        "huggingface": "modelport.runtime.foreign.huggingface:HuggingFaceOpener",
        "tflite": "modelport.runtime.foreign.tflite:TfliteOpener",
        "ncnn": "modelport.runtime.foreign.plain_ncnn:NcnnOpener",
        "onnx": "modelport.runtime.foreign.plain_onnx:OnnxOpener",
    },
)
"""Asked in this order; the last takes every ONNX file."""


def opener_of(path: Path) -> Opener | None:
    """Who opens it; None where nobody knows it."""
    return next((each for each in map(FOREIGN.get, FOREIGN) if each.claims(path)), None)


__all__ = ["FOREIGN", "ForeignBundle", "Opener", "opener_of"]
