"""Engines whose toolchain is elsewhere: everything it needs is made here, with the command to run there.

Where the tool is on PATH it is run, and what it says in failing becomes the error. Where it is not,
nothing pretends: the engine is unavailable, and `prepare` writes the folder to take along.
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from modelport.engines.base import Engine, Session
from modelport.errors import EngineError, EngineUnavailableError
from modelport.types import Artifact, Blob, Feeds, Target

if TYPE_CHECKING:
    import onnx_ir as ir

NOT_RUN = "conversion prepared, not run on this machine"

TOOL_S = 3600.0
LAST_LINES = 8


@dataclass(frozen=True)
class Prepared:
    """A folder for another machine.

    Attributes:
        command: to run in that folder; its paths are relative.
        makes: files that the command writes, by role; the first is the model.
        files: what was written for it.
        notes: what its user must see to, such as a licence or a device name.
    """

    command: tuple[str, ...]
    makes: dict[str, str]
    files: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default_factory=tuple)


class PreparingEngine(Engine):
    """A subclass names its tool and writes `write_inputs`; `explain` reads the tool's own errors."""

    deployable: ClassVar[bool] = False
    tool: ClassVar[str]
    """The executable, as it is found on PATH."""
    tool_source: ClassVar[str]
    """Where its maker hands the tool out."""

    def available(self) -> str | None:
        if shutil.which(self.tool):
            return None
        return f"{NOT_RUN}: {self.tool} is not on PATH; it comes with {self.tool_source}"

    @abstractmethod
    def write_inputs(
        self, model: ir.Model, target: Target, directory: Path, calibration: Sequence[Feeds]
    ) -> Prepared:
        """Writes the legal graph, shapes, calibration data and settings, and gives the command."""

    def explain(self, log: str) -> str | None:
        """The tool's own error in its log, on one line; None where nothing in it is known."""
        return None

    def prepare(
        self,
        model: ir.Model,
        target: Target,
        directory: Path,
        calibration: Sequence[Feeds] = (),
    ) -> Prepared:
        """Writes what the tool needs, with `convert.sh` and `prepared.json`, whether it is here or not.

        Raises:
            EngineUnavailableError: for a precision that the engine does not have.
            EngineError: where the model cannot be made legal; the message says what stands against it.
        """
        if target.precision not in self.precisions:
            raise EngineUnavailableError(
                f"{self.name} has no {target.precision}; it has {', '.join(self.precisions)}"
            )
        with self._speaking("preparing"):
            made = self.write_inputs(model, target, directory, calibration)
        _write_command(self.name, made, directory)
        return made

    def _compile(
        self, model: ir.Model, target: Target, directory: Path, calibration: Sequence[Feeds]
    ) -> Artifact:
        from modelport.graph.query import signature_of

        made = self.prepare(model, target, directory, calibration)
        self._run_tool(made, directory)
        return Artifact(
            engine=self.name,
            signature=signature_of(model),
            files={role: Blob(directory / name) for role, name in made.makes.items()},
            options={"device": target.device},
        )

    def _run_tool(self, made: Prepared, directory: Path) -> None:
        try:
            done = subprocess.run(  # noqa: S603  (no shell; the command is ours)
                list(made.command), cwd=directory, capture_output=True, text=True,
                timeout=TOOL_S, check=False, stdin=subprocess.DEVNULL, errors="replace",
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise EngineError(f"{self.tool} was stopped after {TOOL_S:g} s") from error
        log = f"{done.stdout}\n{done.stderr}"
        missing = [name for name in made.makes.values() if not (directory / name).is_file()]
        if done.returncode == 0 and not missing:
            return
        lines = [line.strip() for line in log.splitlines() if line.strip()]
        said = self.explain(log) or " | ".join(lines[-LAST_LINES:]) or "nothing"
        ended = (
            f"left with status {done.returncode}"
            if done.returncode
            else f"wrote no {', '.join(missing)}"
        )
        raise EngineError(
            f"{self.tool} {ended}. It said: {said}",
            hint=f"Run it by hand: {shlex.join(made.command)}",
        )

    def _load(self, artifact: Artifact, threads: int) -> Session:
        raise EngineUnavailableError(
            f"Artifacts of {self.name} run on its device, not here",
            hint="Copy the files of the variant to the device",
        )


def _write_command(engine: str, made: Prepared, directory: Path) -> None:
    script = directory / "convert.sh"
    notes = "".join(f"# {note}\n" for note in made.notes)
    script.write_text(
        f'#!/bin/sh\n# Converts this model for {engine}.\n{notes}cd "$(dirname "$0")" || exit 1\n'
        f"exec {shlex.join(made.command)}\n",
        encoding="utf-8",
    )
    script.chmod(0o755)
    about = {
        "engine": engine,
        "command": list(made.command),
        "makes": made.makes,
        "files": list(made.files),
        "notes": list(made.notes),
    }
    (directory / "prepared.json").write_text(json.dumps(about, indent=1), encoding="utf-8")
