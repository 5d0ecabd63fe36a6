"""Writes what a toolchain elsewhere needs to convert a model: the user's side of `engines.preparing`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelport.engines import ENGINES
from modelport.engines.preparing import ABOUT, NOT_RUN, Prepared, Prepares
from modelport.errors import ModelportError, UsageError
from modelport.feeds import random_feeds, read_samples
from modelport.graph import io
from modelport.graph.query import signature_of
from modelport.optimization import optimize as run_passes
from modelport.optimization import probe_with
from modelport.staging import stage_beside
from modelport.tailoring import Tailor
from modelport.types import QUANTIZED, Feeds, Signature, Target

if TYPE_CHECKING:
    import onnx_ir as ir

MOST_CALIBRATION = 300
"""As in deploy: ranges settle well before."""


@dataclass(frozen=True)
class Preparation:
    """A folder for a toolchain elsewhere.

    Attributes:
        engine, precision, device: what it is for; the device is empty where none was named.
        path: the folder.
        prepared: its files, the commands to run in it, and what to see to.
    """

    engine: str
    precision: str
    device: str
    path: Path
    prepared: Prepared

    @property
    def status(self) -> str:
        """What has and what has not been done, in words."""
        return NOT_RUN if self.prepared.commands else "written in full, with nothing left to run"

    def to_json(self) -> dict[str, Any]:
        return {
            "engine": self.engine,
            "precision": self.precision,
            "device": self.device,
            "path": str(self.path),
            "status": self.status,
            **self.prepared.to_json(),
        }


def prepare(
    model: str | Path | ir.Model,
    engine: str,
    output: str | Path,
    *,
    precision: str = "fp32",
    device: str | None = None,
    calibration: str | Path | None = None,
    optimize: bool = True,
    overwrite: bool = False,
) -> Preparation:
    """Writes the legal graph, settings, calibration data and command for an engine's own toolchain.

    Nothing is converted: the folder goes to a machine that has the tool, and `convert.sh` in it runs it.

    Args:
        model: an ONNX file or graph; the original stays as it is.
        engine: one whose toolchain is elsewhere, as `modelport engines` says.
        output: the folder to write.
        device: what it is compiled for, in the engine's own words: a chip or an architecture.
        calibration: folder of `.npy` or `.npz` feeds, for int8 and fp8.
        optimize: whether to run the portable passes first, which fold what toolchains trip over.
        overwrite: whether to replace a folder that `prepare` has written before.

    Raises:
        UsageError: for an engine that has nothing to prepare, or an output that exists.
        ModelportError: where the model cannot be read, or cannot be made legal for the engine.
    """
    member, output = _engine(engine), Path(output)
    target = Target(precision, device or "cpu")
    with _staged(output, overwrite) as stage:
        graph = model if not isinstance(model, (str, Path)) else io.load(Path(model))
        feeds = _feeds(calibration, signature_of(graph)) if precision in QUANTIZED else []
        made = member.prepare(_legal(graph, member, optimize), target, stage, feeds)
    return Preparation(engine, precision, device or "", output, made)


def _engine(name: str) -> Prepares:
    engine = ENGINES.get(name)
    if isinstance(engine, Prepares):
        return engine
    able = [each for each in ENGINES if isinstance(ENGINES.get(each), Prepares)]
    raise UsageError(
        f"The engine {name} has nothing to prepare: it converts where it is installed",
        expected=f"one of {', '.join(able)}",
        hint=f"Deploy with --engines {name}",
    )


def _legal(graph: ir.Model, engine: Prepares, optimize: bool) -> ir.Model:
    """The graph after the portable passes and those that the engine cannot do without, checked on feeds."""
    signature, newest = signature_of(graph), engine.rules.opsets[1]
    if optimize:
        old = (graph.opset_imports.get("") or 0) <= newest
        graph = _optimized(graph, upgrade=not old)
    probe = probe_with([random_feeds(signature, seed) for seed in (1, 2)])
    return Tailor(probe).fit(graph, engine, engine.rules.legalize)


def _optimized(graph: ir.Model, *, upgrade: bool) -> ir.Model:
    """Unchecked where ONNX Runtime cannot run it: the engine's own domain may be in it."""
    try:
        return run_passes(graph, upgrade=upgrade).model
    except ModelportError:
        return run_passes(graph, upgrade=upgrade, check=False).model


def _feeds(folder: str | Path | None, signature: Signature) -> list[Feeds]:
    if folder is None:
        return []
    return [sample.feeds for sample in islice(read_samples(Path(folder), signature, None),
                                              MOST_CALIBRATION)]  # fmt: skip


@contextmanager
def _staged(output: Path, overwrite: bool) -> Iterator[Path]:
    """A folder that takes its place when the block is through, and goes away if it fails."""
    _check_output(output, overwrite)
    with stage_beside(output, UsageError) as stage:
        yield stage
        stage.chmod(0o755)
        if output.exists():
            shutil.rmtree(output)
        os.replace(stage, output)


def _check_output(output: Path, overwrite: bool) -> None:
    """What `prepare` has not written is never replaced, whatever the user said: it is their data."""
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    if not (output / ABOUT).is_file():
        raise UsageError(
            f"{output} exists and was not written by prepare", hint="Choose another place with -o"
        )
    if not overwrite:
        raise UsageError(f"{output} exists", hint="Pass --overwrite to replace it")
