"""Engines whose toolchain is elsewhere: everything it needs is made here, with the commands to run there.

Where the tool is on PATH it is run, and what it says in failing becomes the error. Where it is not,
nothing pretends: the engine is unavailable, and `prepare` writes the folder to take along.
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import tempfile
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from modelport.engines.base import Engine, Session
from modelport.errors import EngineError, EngineUnavailableError, UsageError
from modelport.types import Array, Artifact, Blob, Feeds, Signature, Target

if TYPE_CHECKING:
    import onnx_ir as ir

NOT_RUN = "conversion prepared, not run on this machine"

TOOL_S = 3600.0
LAST_LINES = 8

ABOUT, SCRIPT = "prepared.json", "convert.sh"


@dataclass(frozen=True)
class Prepared:
    """A folder for another machine.

    Attributes:
        commands: to run in that folder one after the other; their paths are relative. None where what
            was written is what the device takes.
        makes: what the device needs, by role; the first is the model.
        files: what was written for it.
        notes: what its user must see to: a licence, a device name, a fact that nobody could confirm.
    """

    commands: tuple[tuple[str, ...], ...]
    makes: dict[str, str]
    files: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default_factory=tuple)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Prepares(Engine):
    """An engine for which a folder can be written, whatever this machine has. A subclass writes
    `write_inputs`."""

    deployable: ClassVar[bool] = False

    @abstractmethod
    def write_inputs(
        self, model: ir.Model, target: Target, directory: Path, calibration: Sequence[Feeds]
    ) -> Prepared:
        """Writes the legal graph, shapes, calibration data and settings, and gives the commands."""

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
        from modelport.graph.query import signature_of

        if target.precision not in self.precisions:
            raise EngineUnavailableError(
                f"{self.name} has no {target.precision}; it has {', '.join(self.precisions)}"
            )
        if target.precision == "int8" and self.rules.quantization == "own" and not calibration:
            raise EngineError(
                f"{self.name} quantizes by feeds, and there are none",
                hint="Give a folder of .npy or .npz feeds with --calibration",
            )
        self._demand_sizes(signature_of(model))
        with self._speaking("preparing"):
            legal = named(self._legal(model))
            made = self.write_inputs(legal, target, directory, calibration)
        _write_about(self.name, made, directory)
        return made

    def _legal(self, model: ir.Model) -> ir.Model:
        """The model in an opset that the engine reads; a copy where it has to change."""
        from modelport.passes import PASSES

        newest = self.rules.opsets[1]
        if _opset(model) <= newest:
            return model
        copy, held = model.clone(), list[str]()
        for name in ("infer_shapes", *self.rules.legalize):
            step = PASSES.get(name)
            step(copy)
            held = [f"{refusal.where}: {refusal.reason}" for refusal in step.refusals]
        if _opset(copy) > newest:
            reasons = "; ".join(dict.fromkeys(held)) or "no pass writes it anew"
            raise EngineError(
                f"{self.name} failed while preparing: it reads opset {newest} at most, and the model "
                f"is of opset {_opset(copy)}. {reasons}",
                hint="Compose what is named of older operators with a rewrite, or choose another "
                "engine",
            )
        return copy


class PreparingEngine(Prepares):
    """A subclass names its tool; `explain` reads the tool's own errors."""

    tool: ClassVar[str]
    """The executable, as it is found on PATH."""
    tool_source: ClassVar[str]
    """Where its maker hands the tool out."""

    def tools(self, target: Target) -> tuple[str, ...]:
        """All executables that this target takes."""
        return (self.tool,)

    def available(self) -> str | None:
        return self._lacking((self.tool,))

    def refuses(self, target: Target) -> str | None:
        return super().refuses(target) or self._lacking(self.tools(target))

    def cannot_run(self) -> str | None:
        return f"its artifacts run on the device, with {self.tool_source}"

    def _lacking(self, tools: Sequence[str]) -> str | None:
        missing = [tool for tool in tools if shutil.which(tool) is None]
        if not missing:
            return None
        verb = "is" if len(missing) == 1 else "are"
        return (
            f"{NOT_RUN}: {' and '.join(missing)} {verb} not on PATH; it comes with "
            f"{self.tool_source}. `modelport engines prepare {self.name}` writes what it needs"
        )

    def explain(self, log: str) -> str | None:
        """The tool's own error in its log, on one line; None where nothing in it is known."""
        return None

    def _compile(
        self, model: ir.Model, target: Target, directory: Path, calibration: Sequence[Feeds]
    ) -> Artifact:
        from modelport.graph.query import signature_of

        with tempfile.TemporaryDirectory(prefix="modelport-") as scratch:
            place = Path(scratch)
            made = self.prepare(model, target, place, calibration)
            self._convert(made, place)
            names = {role: Path(name).name for role, name in made.makes.items()}
            for role, name in made.makes.items():
                shutil.move(place / name, directory / names[role])
        return Artifact(
            engine=self.name,
            signature=signature_of(model),
            files={role: Blob(directory / name) for role, name in names.items()},
            options={"device": target.device},
        )

    def _convert(self, made: Prepared, directory: Path) -> None:
        """Runs the commands. Some tools leave with 0 when they have failed, so results are looked for."""
        log, command = "", tuple[str, ...]()
        for command in made.commands:
            status, log = _run(command, directory)
            if status != 0:
                raise self._failed(command, f"left with status {status}", log)
        missing = [name for name in made.makes.values() if not (directory / name).is_file()]
        if missing:
            raise self._failed(command, f"wrote no {', '.join(missing)}", log)

    def _failed(self, command: Sequence[str], ended: str, log: str) -> EngineError:
        lines = [line.strip() for line in log.splitlines() if line.strip()]
        said = self.explain(log) or " | ".join(lines[-LAST_LINES:]) or "nothing"
        return EngineError(
            f"{self.name} failed while converting: {command[0]} {ended}. It said: {said}",
            hint=f"Write its inputs with `modelport engines prepare {self.name}`, and run by hand: "
            f"{shlex.join(command)}",
        )

    def _load(self, artifact: Artifact, threads: int) -> Session:
        raise EngineUnavailableError(
            f"Artifacts of {self.name} run on its device, not here",
            hint="Copy the files of the variant to the device",
        )


def _run(command: Sequence[str], directory: Path) -> tuple[int, str]:
    """Its status, and all it said."""
    try:
        done = subprocess.run(  # noqa: S603  (no shell; the command is ours)
            list(command), cwd=directory, capture_output=True, text=True,
            timeout=TOOL_S, check=False, stdin=subprocess.DEVNULL, errors="replace",
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise EngineError(f"{command[0]} was stopped after {TOOL_S:g} s") from error
    except OSError as error:
        raise EngineError(
            f"{command[0]} cannot be started ({error.strerror})",
            hint="Check that the tool runs on this machine",
        ) from error
    return done.returncode, f"{done.stdout}\n{done.stderr}"


def _write_about(engine: str, made: Prepared, directory: Path) -> None:
    about = {"engine": engine, **made.to_json()}
    (directory / ABOUT).write_text(json.dumps(about, indent=1), encoding="utf-8")
    if not made.commands:
        return
    notes = "".join(f"# {note}\n" for note in made.notes)
    steps = "".join(f"{shlex.join(command)} || exit 1\n" for command in made.commands)
    script = directory / SCRIPT
    script.write_text(
        f'#!/bin/sh\n# Converts this model for {engine}.\n{notes}cd "$(dirname "$0")" || exit 1\n'
        f"{steps}",
        encoding="utf-8",
    )
    script.chmod(0o755)


# --- what several engines write -------------------------------------------------------------------


def _opset(model: ir.Model) -> int:
    return model.opset_imports.get("") or 0


def named(model: ir.Model) -> ir.Model:
    """The model with a name for every node, which tools and their settings speak of; itself where it has."""
    from modelport.graph.provenance import name_nodes

    names = [node.name for node in model.graph.all_nodes()]
    if all(names) and len(set(names)) == len(names):
        return model
    copy = model.clone()
    name_nodes(copy)
    return copy


NEWER_OPTIONS = frozenset(
    {"allowzero", "antialias", "keep_aspect_ratio_policy", "noop_with_empty_axes", "training_mode"}
)
"""Attributes that converters trip over even where they say what holds without them."""


def write_model(model: ir.Model, directory: Path, ir_version: int | None = None) -> list[str]:
    """Writes `model.onnx` for old readers: with no more domains, and in no newer format, than needed.

    Args:
        ir_version: the newest version of the file format that the tool reads.

    Returns:
        Names of the files: large models keep their weights in a second one.
    """
    from modelport.graph.io import save_with_weights

    slim = model.clone()
    used = {"" if node.domain == "ai.onnx" else node.domain for node in slim.graph.all_nodes()}
    for domain in [domain for domain in slim.opset_imports if domain not in used | {""}]:
        del slim.opset_imports[domain]
    for node in slim.graph.all_nodes():
        _drop_defaults(node, _opset(slim))
    if ir_version is not None:
        slim.ir_version = min(slim.ir_version, ir_version)
    return [path.name for path in save_with_weights(slim, directory, "model").values()]


def _drop_defaults(node: ir.Node, opset: int) -> None:
    from modelport.graph.schemas import operator

    known = operator(node.op_type, opset) if node.domain in ("", "ai.onnx") else None
    for name in NEWER_OPTIONS & set(node.attributes):
        rule = None if known is None else known.attributes.get(name)
        if rule is not None and node.attributes[name].value == rule.default:
            del node.attributes[name]


def demand_names(engine: str, signature: Signature, unwanted: str) -> None:
    """Names of inputs stand in commands and settings, where some signs have a meaning of their own.

    Raises:
        EngineError: where one has any of those signs.
    """
    for spec in signature.inputs:
        found = sorted({sign for sign in spec.name if sign in unwanted or sign.isspace()})
        if found:
            raise EngineError(
                f"{engine} cannot be told of an input named {spec.name!r}: {' '.join(found)!r} has a "
                "meaning in its settings",
                hint=f'Rename it with modelport edit --rename "{spec.name} NAME"',
            )


def demand_device(engine: str, device: str, known: Callable[[str], bool], like: str) -> str:
    """The device as the user named it, where there is such a device.

    Raises:
        UsageError: where no such device can be meant.
    """
    if not known(device):
        raise UsageError(
            f"{engine} knows no device {device!r}", expected=like, hint="Give it with --device"
        )
    return device


def joined(shape: Sequence[int], sign: str) -> str:
    return sign.join(str(size) for size in shape)


def calibration_arrays(
    calibration: Sequence[Feeds], signature: Signature
) -> Iterator[tuple[str, list[Array]]]:
    """For each feed a number of five digits, and its arrays in the order of the signature."""
    for index, feeds in enumerate(calibration):
        yield f"{index:05}", [np.ascontiguousarray(feeds[spec.name]) for spec in signature.inputs]
