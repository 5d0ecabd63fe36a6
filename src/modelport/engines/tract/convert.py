"""Reads ONNX with tract, and writes the network as it stands after tract's own simplification."""

from __future__ import annotations

import tract

from modelport.engines.conversion import Conversion, Converted
from modelport.types import Dim, TensorSpec

FILE = "model.nnef.tar"

_TYPES = {
    "float32": "f32", "float64": "f64", "float16": "f16", "int64": "i64", "int32": "i32",
    "int16": "i16", "int8": "i8", "uint8": "u8", "bool": "bool",
}  # fmt: skip


def convert(job: Conversion) -> Converted:
    model = tract.onnx().load(job.source)
    symbols: dict[str, str] = {}
    for index, spec in enumerate(job.signature.inputs):
        model.set_input_fact(index, _fact(spec, symbols))
    for index in range(model.output_count()):
        model.set_output_fact(index, None)  # what the file claims may be less than tract finds
    typed = model.into_model()
    writer = tract.nnef().with_tract_extra().with_onnx()
    writer.write_model_to_tar(typed, str(job.directory / FILE))
    return Converted({"model": FILE})


def _fact(spec: TensorSpec, symbols: dict[str, str]) -> str:
    """A shape as tract spells it, `N,3,224,224,f32`; sizes of one name are one symbol."""
    sizes = []
    for axis, size in enumerate(spec.shape):
        if isinstance(size, Dim):
            key = size.name or f"{spec.name}:{axis}"
            sizes.append(symbols.setdefault(key, f"S{len(symbols)}"))
        else:
            sizes.append(str(size))
    return ",".join([*sizes, _TYPES.get(spec.dtype, spec.dtype)])
