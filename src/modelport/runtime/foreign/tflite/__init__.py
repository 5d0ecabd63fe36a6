"""Files of TensorFlow Lite, which is LiteRT by now: run by LiteRT as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from modelport.runtime.foreign.base import ForeignBundle, Model, Opener
from modelport.runtime.foreign.tflite.meaning import meaning_of
from modelport.runtime.foreign.tflite.model import TfliteFile, TfliteTensor, read_tflite


class TfliteOpener(Opener):
    name: ClassVar[str] = "tflite"
    summary: ClassVar[str] = "a TFLite file"
    marks: ClassVar[str] = "a file whose name ends in .tflite"

    def claims(self, path: Path) -> bool:
        return path.suffix.lower() == ".tflite" and path.is_file()

    def open(self, path: Path) -> ForeignBundle:
        found = read_tflite(path)
        return ForeignBundle(path, meaning_of(path, found), [_model(path, found)])


def _model(path: Path, found: TfliteFile) -> Model:
    quantized = any(each.quantization for each in (*found.inputs, *found.outputs))
    precision = "int8" if quantized else "fp32"
    return Model(
        name=f"litert-{precision}",
        engine="litert",
        precision=precision,
        signature=found.signature,
        files={"model": path},
        options={
            "tensors": {
                "inputs": [_option(each) for each in found.inputs],
                "outputs": [_option(each) for each in found.outputs],
            }
        },
    )


def _option(tensor: TfliteTensor) -> dict[str, Any]:
    """What the engine's session wants to know of a tensor, as JSON values."""
    how = tensor.quantization
    return {} if how is None else {"scale": how.scale, "zero_point": how.zero_point}
