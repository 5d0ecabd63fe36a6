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
DESCRIPTION = "model_ncnn.py"
"""What pnnx writes; the last shows how the network is used."""

PNNX_S = 800.0

KINDS = {"float32": "f32", "int32": "i32", "int64": "i64"}

COMPLAINTS = re.compile(r"not supported|unsupported|FATAL|^ort .*failed|unexpected", re.IGNORECASE)

LAST_LINES = 4


def convert(job: Conversion) -> Converted:
    _demand_kinds(job.signature)
    small, big = (_shapes(job.signature, bigger=bigger) for bigger in (False, True))
    made = _with_batches(job, small, big) or _converted(job, small, big)
    runs = [small] if big == small else [small, big]
    try_out(job, made, runs)
    if job.target.precision == "int8":
        from modelport.engines.ncnn.quantizing import quantize

        quantize(job, made)
        try_out(job, made, runs)
    return made


def _demand_kinds(signature: Signature) -> None:
    for spec in signature.inputs:
        if spec.dtype not in KINDS or not spec.shape:
            raise _refusal(
                f"it takes inputs of {', '.join(KINDS)} with one axis or more, and {spec} is none"
            )
    for spec in signature.outputs:
        if spec.dtype != "float32":
            raise _refusal(f"it gives float32 alone, and the output {spec} is of another kind")


def _refusal(reason: str, operators: Sequence[str] = ()) -> EngineError:
    return EngineError(
        f"ncnn failed while compiling: {reason}",
        hint="Choose another engine with --engines",
        operators=operators,
    )


# --- sizes --------------------------------------------------------------------------------------


def _with_batches(job: Conversion, small: Shapes, big: Shapes) -> Converted | None:
    """A network of one sample, which runs many; None where pnnx sees no batch in a first axis.

    Raises:
        EngineError: where pnnx cannot convert the model at all.
    """
    specs = job.signature.inputs
    free = [isinstance(spec.shape[0], Dim) for spec in specs]
    if not any(free):
        return None
    one, other = (
        [(1, *shape[1:]) if is_free else shape for shape, is_free in zip(shapes, free, strict=True)]
        for shapes in (small, big)
    )
    made = _converted(job, one, other)
    batches = zip(free, made.options["batch_of_inputs"], strict=True)
    return made if all(batch == 0 for is_free, batch in batches if is_free) else None


def _shapes(signature: Signature, *, bigger: bool) -> list[tuple[int, ...]]:
    """The smallest sizes, or about twice these, unlike each other where they may be."""
    places: dict[str, int] = {}
    return [
        tuple(
            size if isinstance(size, int) else _size(size, place, places, bigger)
            for place, size in enumerate(spec.shape)
        )
        for spec in signature.inputs
    ]


def _size(size: Dim, place: int, places: dict[str, int], bigger: bool) -> int:
    smallest = size.nearest(0)
    place = places.setdefault(size.name, place) if size.name else place
    return size.nearest(2 * smallest + place * size.step) if bigger else smallest


# --- pnnx ---------------------------------------------------------------------------------------


def _converted(job: Conversion, small: Shapes, big: Shapes) -> Converted:
    log = _pnnx_run(job, _source(job, small), small, big)
    folder = job.source.parent
    if not all((folder / name).is_file() for name in (MODEL, WEIGHTS, DESCRIPTION)):
        raise _refusal(_reason(log))
    network = _network(folder / MODEL)
    _demand_layers(network, log)
    _demand_tables(network, job.signature)
    (folder / MODEL).replace(job.directory / MODEL)
    _keep_weights(folder / WEIGHTS, job.directory / WEIGHTS)
    return Converted({"model": MODEL, "weights": WEIGHTS}, _options(job, folder / DESCRIPTION))


def _source(job: Conversion, shapes: Shapes) -> Path:
    if job.route != PROGRAM:
        return job.source
    from modelport.engines.ncnn.programs import write_script

    script = job.source.with_name("model.pt")
    write_script(job.source, job.signature, shapes, script)
    return script


def _pnnx_run(job: Conversion, source: Path, small: Shapes, big: Shapes) -> str:
    """What it prints; its status is 0 where it failed, as long as it does not crash."""
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
        raise _refusal(f"pnnx was not done after {PNNX_S:g} s") from error
    return done.stdout if done.returncode >= 0 else f"{done.stdout}\nsignal {-done.returncode}"


def _pnnx() -> Path:
    """Beside its package, which would import torch."""
    found = find_spec("pnnx")
    for name in ("pnnx", "pnnx.exe"):
        path = Path(found.origin).with_name(name) if found and found.origin else Path(name)
        if path.is_file():
            return path
    raise EngineError(
        "pnnx, which converts for ncnn, is not installed",
        hint="Run: modelport engines install ncnn",
    )


def _told(specs: Sequence[TensorSpec], shapes: Shapes) -> str:
    told = zip(specs, shapes, strict=True)
    return ",".join(f"[{','.join(map(str, shape))}]{KINDS[spec.dtype]}" for spec, shape in told)


def _reason(log: str) -> str:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    complaints = [line for line in lines if COMPLAINTS.search(line)]
    return "pnnx wrote nothing. It said: " + " | ".join((complaints or lines)[-LAST_LINES:])


def _network(path: Path) -> Network:
    try:
        return Network.read(path)
    except ValueError as error:
        raise _refusal(f"pnnx wrote a network that cannot be read: {error}") from error


def _demand_layers(network: Network, log: str) -> None:
    kinds = dict.fromkeys(layer.kind for layer in network.layers)
    unknown = [kind for kind in kinds if ncnn.layer_to_index(kind) < 0]
    if unknown:
        raise _refusal(f"it lacks {', '.join(unknown)}", unknown)
    complaints = [line.strip() for line in log.splitlines() if COMPLAINTS.search(line)]
    if complaints:
        raise _refusal(f"pnnx said: {' | '.join(dict.fromkeys(complaints))}")


def _demand_tables(network: Network, signature: Signature) -> None:
    """ncnn reads integers as rows of a table alone; elsewhere it takes their bits for floats."""
    for index, spec in enumerate(signature.inputs):
        readers = {layer.kind for layer in network.readers(f"in{index}")}
        if spec.dtype != "float32" and readers - {"Embed"}:
            raise _refusal(
                f"it takes integers as the rows of an embedding alone, and the input {spec} goes into "
                f"{', '.join(sorted(readers))}"
            )


def _keep_weights(source: Path, place: Path) -> None:
    """A network without weights gets a few bytes that nobody reads, as files in archives have some."""
    source.replace(place)
    if not place.stat().st_size:
        place.write_bytes(bytes(4))


def _options(job: Conversion, description: Path) -> dict[str, object]:
    """Where batches are, which pnnx tells in its example alone."""
    text = description.read_text(encoding="utf-8")
    inputs = re.findall(r"ex\.input\(.*batch_index=(\d+)", text)
    outputs = re.findall(r"out\d+\.numpy\(batch_index=(\d+)", text)
    counts = len(job.signature.inputs), len(job.signature.outputs)
    if (len(inputs), len(outputs)) != counts:
        raise _refusal(
            f"pnnx made {len(inputs)} inputs and {len(outputs)} outputs of {counts[0]} and {counts[1]}"
        )
    options: dict[str, object] = {
        "precision": job.target.precision,
        "batch_of_inputs": [int(batch) for batch in inputs],
        "batch_of_outputs": [int(batch) for batch in outputs],
    }
    if job.target.device != "cpu":
        options["device"] = job.target.device
    return options
