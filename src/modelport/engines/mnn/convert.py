"""Writes MNN's own format with its converter, which is called in a process of its own for what it prints.

The distribution's console scripts are never run: they install another package and send usage data.
"""

from __future__ import annotations

import re
import subprocess
import sys

from modelport.engines.conversion import Conversion, Converted
from modelport.engines.mnn.session import MnnSession
from modelport.errors import EngineError
from modelport.types import Artifact, Blob

MODEL = "model.mnn"

FLAGS = {"fp16": ("--fp16",), "int8": ("--weightQuantBits", "8", "--weightQuantAsymmetric")}

CONVERT = "import sys, _tools; _tools.mnnconvert(['convert', *sys.argv[1:]])"

LAST_LINES = 4


def convert(job: Conversion) -> Converted:
    log = _converter_run(job)
    if not (job.directory / MODEL).is_file():
        lacking = _lacking(log)
        reason = f"it lacks {', '.join(lacking)}" if lacking else _reason(log)
        raise EngineError(f"mnn failed while compiling: {reason}", operators=lacking)
    made = Converted({"model": MODEL}, {"precision": job.target.precision})
    _try(job, made)
    return made


def _converter_run(job: Conversion) -> str:
    """What the converter prints; its status is 0 in any case."""
    arguments = (
        "--framework", "ONNX", "--modelFile", str(job.source), "--bizCode", "modelport",
        "--MNNModel", str(job.directory / MODEL), *FLAGS.get(job.target.precision, ()),
    )  # fmt: skip
    done = subprocess.run(  # noqa: S603  (this Python, with code of ours)
        [sys.executable, "-c", CONVERT, *arguments], stdin=subprocess.DEVNULL, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
    )  # fmt: skip
    if done.returncode:
        (job.directory / MODEL).unlink(missing_ok=True)
        return f"{done.stdout}\nits converter ended with status {done.returncode}"
    return done.stdout


def _lacking(log: str) -> list[str]:
    found = re.findall(r"These Op Not Support: (.*)", log)
    if not found:
        return []
    return list(dict.fromkeys(re.findall(r"ONNX::(\w+)", found[-1]) or [found[-1].strip()]))


def _reason(log: str) -> str:
    lines = [re.sub(r"^\[[\d:]+\] :\d+:\s*", "", line.strip()) for line in log.splitlines()]
    return " | ".join([line for line in lines if line][-LAST_LINES:]) or "it wrote no model"


def _try(job: Conversion, made: Converted) -> None:
    """One run on zeros: the converter takes graphs that its own engine cannot run."""
    files = {role: Blob(job.directory / name) for role, name in made.files.items()}
    with MnnSession(Artifact("mnn", job.signature, files, made.options), threads=1) as session:
        session.warm_up(1)
