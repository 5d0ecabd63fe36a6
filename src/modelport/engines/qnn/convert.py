"""Compiles ONNX to a context binary for the HTP; for int8 it quantizes first, as the HTP wants it.

The HTP wants both sides of every operator quantized, which a graph quantized for CPUs is not, so the
float graph is quantized here, by ONNX Runtime's tool with its settings for QNN. Activations get 8 bits;
where the emulator then strays too far from the float graph, 16 bits are tried, and what is closer stays.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort

from modelport.engines.conversion import Conversion, Converted
from modelport.engines.qnn.chips import Chip, chip_of
from modelport.engines.qnn.provider import NO_FALLBACK, left_over, on_htp
from modelport.engines.qnn.quantize import quantize_into
from modelport.errors import EngineError
from modelport.types import Array

NAME = "qnn"
CONTEXT = "model.onnx"
GOOD_DB = 16.0
"""Signal to error below which 16 bits are tried; sound int8 of convolutional nets lies above it."""

PROBES = 2
"""Feeds it is measured on; the emulator is slow."""

MOST_PLACES = 5


def convert(job: Conversion) -> Converted:
    chip = chip_of(job.target.device)
    context = job.directory / CONTEXT
    options = {"chip": chip.name, "precision": job.target.precision}
    if job.target.precision == "fp16":
        _compile(str(job.source), chip, context, floats=True)
        return Converted({"model": CONTEXT}, options)
    made = _best(job, chip)
    context.write_bytes(made.content)
    return Converted({"model": CONTEXT}, {**options, "activation_bits": made.bits})


@dataclass(frozen=True)
class _Attempt:
    """A compiled quantized graph, and how close the emulator is to the float graph."""

    content: bytes
    bits: int
    decibels: float


def _best(job: Conversion, chip: Chip) -> _Attempt:
    feeds = job.calibration()
    if not feeds:
        raise EngineError(
            f"{NAME} quantizes by itself, and there are no calibration feeds",
            hint="Point --calibration at a folder of real inputs",
        )
    source = ort.InferenceSession(str(job.source), providers=["CPUExecutionProvider"])
    wanted = [source.run(None, feed) for feed in feeds[:PROBES]]
    best: _Attempt | None = None
    problem: EngineError | None = None
    for bits in (8, 16):
        try:
            made = _attempt(job, chip, feeds, wanted, bits)
        except EngineError as error:  # some operators know one width alone
            problem = problem or error
            continue
        best = made if best is None or made.decibels > best.decibels else best
        if best.decibels >= GOOD_DB:
            break
    if best is None:
        assert problem is not None
        raise problem
    return best


def _attempt(
    job: Conversion,
    chip: Chip,
    feeds: Sequence[dict[str, Array]],
    wanted: Sequence[list[Array]],
    bits: int,
) -> _Attempt:
    with tempfile.TemporaryDirectory(prefix="modelport-") as scratch:
        graph = Path(scratch) / "quantized.onnx"
        quantize_into(graph, job.source, feeds, bits, job.settings["in_uint8"])
        session = _compile(str(graph), chip, Path(scratch) / CONTEXT, floats=False)
        names = [spec.name for spec in job.signature.outputs]
        got = [session.run(names, feed) for feed in feeds[:PROBES]]
        return _Attempt((Path(scratch) / CONTEXT).read_bytes(), bits, _decibels(wanted, got))


def _decibels(wanted: Sequence[list[Array]], got: Sequence[list[Array]]) -> float:
    """Signal to error of the output that is furthest away."""
    worst = np.inf
    for one, other in zip(zip(*wanted, strict=True), zip(*got, strict=True), strict=True):
        signal = sum(float((a.astype(np.float64) ** 2).sum()) for a in one)
        error = sum(
            float(((a.astype(np.float64) - b) ** 2).sum()) for a, b in zip(one, other, strict=True)
        )
        worst = min(worst, 10 * np.log10(max(signal, 1e-30) / max(error, 1e-30)))
    return float(worst)


def _compile(source: str, chip: Chip, context: Path, *, floats: bool) -> ort.InferenceSession:
    try:
        session = on_htp(source, chip, floats=floats, context=context)
    except Exception as error:
        raise _explained(error, source, chip, floats=floats) from error
    if not context.is_file():
        raise EngineError(f"{NAME} failed while compiling: it wrote no context binary")
    return session


def _explained(error: Exception, source: str, chip: Chip, *, floats: bool) -> EngineError:
    """ONNX Runtime only says that there are nodes for the CPU, so it is asked again for which."""
    words = " ".join(str(error).split())
    found = left_over(source, chip, floats=floats) if NO_FALLBACK in words else []
    if not found:
        return EngineError(f"{NAME} failed while compiling: {words}")
    kinds = ", ".join(dict.fromkeys(kind for kind, _ in found))
    places = ", ".join(f"{kind} {name!r}" for kind, name in found[:MOST_PLACES])
    return EngineError(
        f"{NAME} failed while compiling: the HTP does not take {kinds}, in the forms and types they have "
        f"here: {places}",
        hint="Compose it of other operators with a rewrite, or choose another engine with --engines",
        operators=[kind for kind, _ in found],
    )
