"""Reads ONNX with tract, and writes the network as it stands after tract's own simplification.

That form, NNEF, loads faster; a few of tract's operators cannot be written in it, and then the ONNX
file itself is kept, now that tract is known to take it.
"""

from __future__ import annotations

import shutil

import tract

from modelport.engines.conversion import Conversion, Converted
from modelport.errors import EngineError

NNEF, ONNX = "model.nnef.tar", "model.onnx"


def convert(job: Conversion) -> Converted:
    model = tract.onnx().load(job.source)
    for index in range(model.output_count()):
        model.set_output_fact(index, None)  # what the file claims may be less than tract finds
    typed = model.into_model()
    try:
        writer = tract.nnef().with_tract_extra().with_onnx()
        writer.write_model_to_tar(typed, str(job.directory / NNEF))
    except tract.TractError as error:
        if "No serializer" not in str(error):
            raise
        return _as_it_came(job)
    return Converted({"model": NNEF}, {"format": "nnef"})


def _as_it_came(job: Conversion) -> Converted:
    (job.directory / NNEF).unlink(missing_ok=True)
    weights = job.source.with_name(f"{job.source.name}.data")
    if weights.exists():
        raise EngineError(
            "tract can keep this model only as ONNX, and its weights are too large for one file",
            hint="Choose another engine with --engines",
        )
    shutil.copyfile(job.source, job.directory / ONNX)
    return Converted({"model": ONNX}, {"format": "onnx"})
