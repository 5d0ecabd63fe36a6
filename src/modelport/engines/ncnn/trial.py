"""Runs a converted network in a process of its own: pnnx's mistakes may crash ncnn, or keep it for ever."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from modelport.engines.conversion import Conversion, Converted
from modelport.errors import EngineError
from modelport.types import Artifact, Blob, Feeds

Shapes = Sequence[Sequence[int]]

TRIAL_S = 300.0

START = "from modelport.engines.ncnn.trial import main; main()"


def artifact_of(job: Conversion, made: Converted) -> Artifact:
    files = {role: Blob(job.directory / name) for role, name in made.files.items()}
    return Artifact("ncnn", job.signature, files, {**made.options, "device": "cpu"})


def try_out(job: Conversion, made: Converted, runs: Sequence[Shapes]) -> None:
    """Raises EngineError where a run at one of these sets of shapes gives no outputs as promised."""
    told = {
        "job": job.to_json(),
        "files": dict(made.files),
        "options": dict(made.options),
        "runs": [[list(shape) for shape in shapes] for shapes in runs],
    }
    try:
        done = subprocess.run(  # noqa: S603  (this Python, with code of ours)
            [sys.executable, "-c", START], input=json.dumps(told), capture_output=True, text=True,
            errors="replace", timeout=TRIAL_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise EngineError(
            f"ncnn failed while compiling: the network that pnnx wrote was not done with a run after "
            f"{TRIAL_S:g} s",
            hint="Choose another engine with --engines",
        ) from error
    if done.returncode:
        raise EngineError(
            "ncnn failed while compiling: the network that pnnx wrote ends ncnn with status "
            f"{done.returncode}. {' | '.join(done.stderr.split(chr(10))[-4:]).strip(' |')}"
        )
    problem = json.loads(done.stdout.splitlines()[-1])["error"]
    if problem:
        raise EngineError(
            "ncnn failed while compiling: the network that pnnx wrote does not run. " + problem
        )


def main() -> None:
    told = json.load(sys.stdin)
    try:
        _run(told)
        error = ""
    except EngineError as problem:
        error = str(problem)
    print(json.dumps({"error": error}), flush=True)


def _run(told: Mapping[str, Any]) -> None:
    from modelport.engines.ncnn.session import NcnnSession

    job = Conversion.from_json(told["job"])
    made = Converted(told["files"], told["options"])
    with NcnnSession(artifact_of(job, made), threads=0) as session:
        for shapes in told["runs"]:
            session.run(_feeds(job, shapes))


def _feeds(job: Conversion, shapes: Shapes) -> Feeds:
    specs = zip(job.signature.inputs, shapes, strict=True)
    return {spec.name: np.zeros(tuple(shape), spec.dtype) for spec, shape in specs}
