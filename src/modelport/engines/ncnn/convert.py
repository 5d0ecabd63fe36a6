"""Lets pnnx write a network for ncnn, and tries that out: pnnx says that all went well when it did not."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import ncnn

from modelport.engines.conversion import Conversion, Converted
from modelport.engines.ncnn.network import Network
from modelport.engines.ncnn.trial import Shapes, try_out
from modelport.engines.routes import PROGRAM
from modelport.errors import EngineError
from modelport.types import Dim, Signature, TensorSpec

MODEL, WEIGHTS = "model.ncnn.param", "model.ncnn.bin"

PNNX_S = 800.0

NO_BATCH = 233
"""pnnx's number for an input or output without a batch."""

KINDS = {"float32": "f32", "int32": "i32", "int64": "i64"}

COMPLAINTS = re.compile(r"not supported|unsupported|FATAL|^ort .*failed|unexpected", re.IGNORECASE)


def convert(job: Conversion) -> Converted:
    _demand_kinds(job.signature)
    made = _with_free_batch(job) or _with_free_sizes(job)
    if job.target.precision == "int8":
        from modelport.engines.ncnn.quantizing import quantize

        quantize(job, made)
        try_out(job, made, [_shapes(job.signature, bigger=False)])
    return made


def _demand_kinds(signature: Signature) -> None:
    for spec in signature.inputs:
        if spec.dtype not in KINDS or not spec.shape:
            raise EngineError(
                f"ncnn failed while compiling: it takes inputs of {', '.join(KINDS)} with at least one "
                f"axis, and {spec} is none",
                hint="Choose another engine with --engines",
            )
    for spec in signature.outputs:
        if spec.dtype != "float32":
            raise EngineError(
                f"ncnn failed while compiling: it gives float32 alone, and {spec} is another kind",
                hint="Cut the model before that output, or choose another engine with --engines",
            )


# --- sizes --------------------------------------------------------------------------------------


def _with_free_batch(job: Conversion) -> Converted | None:
    """First axes that are free as batches, which pnnx leaves alone; None where it finds no batch."""
    free = [spec for spec in job.signature.inputs if isinstance(spec.shape[0], Dim)]
    small, big = (_shapes(job.signature, bigger=bigger) for bigger in (False, True))
    if not free:
        return _converted(job, small, big)
    made = _converted(job, *(_one_sample(job.signature, shapes) for shapes in (small, big)))
    batches = zip(job.signature.inputs, made.options["batch_of_inputs"], strict=True)
    if any(spec in free and batch != 0 for spec, batch in batches):
        return None
    try_out(job, made, [small, big])
    return made


def _with_free_sizes(job: Conversion) -> Converted:
    return _converted(job, *(_shapes(job.signature, bigger=bigger) for bigger in (False, True)))


def _shapes(signature: Signature, *, bigger: bool) -> list[tuple[int, ...]]:
    """The smallest sizes, or about twice these, unlike each other where they may be."""
    places: dict[str, int] = {}
    return [
        tuple(
            s if isinstance(s, int) else _size(s, place, places, bigger)
            for place, s in enumerate(spec.shape)
        )
        for spec in signature.inputs
    ]


def _size(size: Dim, place: int, places: dict[str, int], bigger: bool) -> int:
    smallest = size.nearest(0)
    place = places.setdefault(size.name, place) if size.name else place
    return size.nearest(2 * smallest + place * size.step) if bigger else smallest


def _one_sample(signature: Signature, shapes: Shapes) -> list[tuple[int, ...]]:
    given = zip(signature.inputs, shapes, strict=True)
    return [(1, *s[1:]) if isinstance(spec.shape[0], Dim) else tuple(s) for spec, s in given]


# --- pnnx ---------------------------------------------------------------------------------------


def _converted(job: Conversion, small: Shapes, big: Shapes) -> Converted:
    log = _pnnx_run(job, _source(job, small), small, big)
    folder = job.source.parent
    if not (folder / MODEL).is_file():
        raise EngineError(f"ncnn failed while compiling: {_reason(log)}")
    network = Network.read(folder / MODEL)
    _demand_layers(network, log)
    _demand_tables(network, job.signature)
    (folder / MODEL).replace(job.directory / MODEL)
    _move_weights(folder / WEIGHTS, job.directory / WEIGHTS)
    return _tried(job, Converted({"model": MODEL, "weights": WEIGHTS}, _options(job)), small, big)


def _tried(job: Conversion, made: Converted, small: Shapes, big: Shapes) -> Converted:
    fits = _one_sample(job.signature, small) != list(small) or list(small) == list(big)
    try_out(job, made, [small] if fits else [small, big])
    return made


def _source(job: Conversion, shapes: Shapes) -> Path:
    if job.route != PROGRAM:
        return job.source
    from modelport.engines.ncnn.programs import write_script

    script = job.source.with_name("model.pt")
    write_script(job.source, job.signature, shapes, script)
    return script


def _pnnx_run(job: Conversion, source: Path, small: Shapes, big: Shapes) -> str:
    sizes = [f"inputshape={_told(job.signature.inputs, small)}"]
    if list(big) != list(small):
        sizes.append(f"inputshape2={_told(job.signature.inputs, big)}")
    halves = int(job.target.precision == "fp16")
    try:
        done = subprocess.run(  # noqa: S603  (the program of the package)
            [str(_pnnx()), source.name, *sizes, f"fp16={halves}"], cwd=source.parent,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace", timeout=PNNX_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise EngineError(f"pnnx was stopped after {PNNX_S:g} s") from error
    return done.stdout if done.returncode == 0 else f"{done.stdout}\nstatus {done.returncode}"


def _pnnx() -> Path:
    """Beside a package that would import torch."""
    found = find_spec("pnnx")
    if found is None or found.origin is None:
        raise EngineError(
            "pnnx, which converts for ncnn, is not installed", hint="Run: modelport engines install ncnn"
        )
    names = (Path(found.origin).with_name(name) for name in ("pnnx", "pnnx.exe"))
    return next(path for path in names if path.is_file())


def _told(specs: Sequence[TensorSpec], shapes: Shapes) -> str:
    told = zip(specs, shapes, strict=True)
    return ",".join(f"[{','.join(map(str, shape))}]{KINDS[spec.dtype]}" for spec, shape in told)
