"""Generates the C, and compiles it once for this machine."""

from __future__ import annotations

import onnx  # noqa: TID251 - the generator reads protos

from modelport.engines.c.build import FLAGS, HEADER, LIBRARY, SOURCE, WEIGHTS, build
from modelport.engines.c.generate import generate
from modelport.engines.c.outputs import write_constants
from modelport.engines.conversion import Conversion, Converted


def convert(job: Conversion) -> Converted:
    model = onnx.load(job.source)
    write_constants(model)
    made = generate(model, job.signature)
    (job.directory / SOURCE).write_text(made.source, encoding="utf-8")
    (job.directory / HEADER).write_text(made.header, encoding="utf-8")
    files = {"model": LIBRARY, SOURCE: SOURCE, HEADER: HEADER}
    if made.weights is not None:
        (job.directory / WEIGHTS).write_bytes(made.weights)
        files[WEIGHTS] = WEIGHTS
    build(job.directory, job.directory / LIBRARY)
    options = {
        "flags": list(FLAGS),
        "processor": job.settings["processor"],
        "weight_bytes": made.kept_bytes,
    }
    return Converted(files, options)
