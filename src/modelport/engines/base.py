"""The contracts of an engine: `Engine` compiles and loads, `Session` runs.

A session sees only `types` and its own library; a compiler may also see `graph` and `passes`.
The library is imported inside methods, never when the module is imported.
"""

from __future__ import annotations

import contextlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from modelport.closing import Closing
from modelport.engines.batches import batched
from modelport.engines.environments import environment_of
from modelport.engines.routes import GRAPH, PROGRAM
from modelport.errors import EngineError, EngineUnavailableError, ModelportError
from modelport.types import Artifact, Feeds, Outputs, Signature, Target

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True)
class Rules:
    """What an engine takes, so that others can ask before they convert.

    Attributes:
        opsets: the oldest and the newest opset of the standard domain it reads.
        quantization: how it wants quantized graphs: `qdq`; `own` where its converter quantizes by
            itself, from calibration feeds where it needs them; None where it takes none.
        completes: whether it computes in integers only between integers, so that quantized graphs get more
            pairs first (`modelport.quantize.complete`).
        free_sizes: whether sizes may stay free; False where every size must be a number.
        legalize: names of passes that must run before its compiler.
        source: where these facts come from.
        operators: table of what it takes, as `benchmarks/operator_coverage.py` measures it.
    """

    opsets: tuple[int, int]
    quantization: str | None = None
    completes: bool = False
    free_sizes: bool = True
    legalize: tuple[str, ...] = ()
    source: str = ""
    operators: Path | None = None

    def lacks(self, operator: str, domain: str = "", opset: int = 0) -> str | None:
        """Why the engine cannot run that operator of ONNX; None where it can, or nobody has tried.

        Args:
            opset: version of the standard domain; an engine may know only an operator's older forms.
        """
        if self.operators is None:
            return None
        table = _read_table(self.operators)
        domain = "" if domain == "ai.onnx" else domain
        if operator in table["takes"].get(domain, {}):
            newest = table["until"].get(operator, opset) if not domain else opset
            return f"it takes it up to opset {newest}" if opset > newest else None
        reason: str | None = table["lacks"].get(domain, {}).get(operator)
        if reason is None and domain not in table["takes"]:
            reason = f"it takes no operators of the domain {domain}"
        return reason


def because(reason: str) -> str:
    """What `Rules.lacks` says, to follow an operator's name; nothing where it only says that it lacks it."""
    return "" if reason.startswith("it lacks ") else f": {reason}"


@cache
def _read_table(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


class Session(Closing):
    """A loaded model, ready to run. A context manager; `close` may be called twice.

    A subclass writes `_run`, and `_close` where its library holds resources.
    """

    def __init__(self, signature: Signature, engine: str) -> None:
        self.signature = signature
        self.engine = engine
        self._open = True
        self._queue: ThreadPoolExecutor | None = None

    def run(self, feeds: Feeds) -> Outputs:
        """Runs the model once.

        Args:
            feeds: one C-contiguous array for each input; read only during the call.

        Returns:
            One array for each output, in the order of the signature. They belong to the caller.

        Raises:
            FeedsError: where names, element types or shapes do not fit the signature.
            EngineError: where the engine fails; its own words are in the message.
        """
        if not self._open:
            raise EngineError(
                f"This {self.engine} session is closed",
                hint="Run it inside its with block, or load it again",
            )
        self.signature.check(feeds)
        try:
            return self._run(feeds)
        except ModelportError:
            raise
        except Exception as error:
            raise EngineError(
                f"{self.engine} failed while running: {first_words(error)}"
            ) from error

    def submit(self, feeds: Feeds) -> Future[Outputs]:
        """Starts a run and gives its promise; runs of one session follow each other.

        The feeds must stay as they are until the promise is kept.
        """
        if self._queue is None:
            self._queue = ThreadPoolExecutor(1, thread_name_prefix=f"modelport-{self.engine}")
        return self._queue.submit(self.run, feeds)

    def run_batch(self, many: Sequence[Feeds]) -> list[Outputs]:
        """Runs several feeds, in as few runs as the signature allows.

        Where the first dimension of every input and output is free under one name, or the only free
        one, feeds are joined along it, up to its maximum; elsewhere each is a run.
        """
        return batched(self, many)

    def warm_up(self, runs: int) -> None:
        """Runs on zeros at the smallest sizes, so that the first real run is like those after it."""
        if runs > 0:
            zeros = {s.name: np.zeros(s.smallest(), s.dtype) for s in self.signature.inputs}
            for _ in range(runs):
                self.run(zeros)

    def close(self) -> None:
        if self._queue is not None:
            self._queue.shutdown()
            self._queue = None
        if self._open:
            self._open = False
            self._close()

    @abstractmethod
    def _run(self, feeds: Feeds) -> Outputs: ...

    def _close(self) -> None:
        """Frees what the engine's library holds; nothing by default."""


class Engine(ABC):
    """An inference engine: what it needs, what it takes, and its compiler and loader.

    A subclass sets the class attributes and writes `_compile` and `_load`.
    """

    name: ClassVar[str]
    package: ClassVar[str | None] = None
    """Distribution to install; None where modelport itself is enough."""
    module: ClassVar[str | None] = None
    """Module whose presence shows that the distribution is installed."""
    also_imports: ClassVar[tuple[str, ...]] = ()
    """Other packages that its converter or session needs: torch, a converter's own distribution."""
    extra: ClassVar[str | None] = None
    """The extra of modelport that installs it; None where modelport itself requires it."""
    precisions: ClassVar[tuple[str, ...]] = ("fp32",)
    rules: ClassVar[Rules]
    routes: ClassVar[tuple[str, ...]] = (GRAPH,)
    """What it compiles: the graph, the program that torch.export captured, or either."""
    layouts: ClassVar[tuple[str, ...]] = ()
    """Ways to lay tensors out in memory that one may choose between, its own choice first."""
    devices: ClassVar[tuple[str, ...]] = ()
    """All that its artifacts run on; empty where the engine itself reads the names of devices."""
    deployable: ClassVar[bool] = True
    """Whether `deploy` considers it unless told otherwise."""
    trusted: ClassVar[bool] = False
    """Whether its first run in a deployment may be in this process; others get a worker for that."""
    emulates: ClassVar[str] = ""
    """What it stands for where it only emulates that: then its numbers count, and its times do not."""
    for_tests: ClassVar[bool] = False
    """Whether it is an oracle or a double, which nobody deploys."""
    requirements: ClassVar[Path | None] = None
    """File of exact versions for an environment of its own; None where it needs none."""
    layered: ClassVar[bool] = True
    """Whether that environment sees the packages of this installation behind its own."""

    def available(self) -> str | None:
        """Why the engine cannot be used here, or None where it can."""
        if self.module is None or _installed(self.module) or self.own_python() is not None:
            return None
        wanted = f'"modelport[{self.extra}]"' if self.extra else self.package
        ways = [f"pip install {wanted}"] if self.extra or self.requirements is None else []
        if self.requirements is not None:
            ways.append(f"modelport engines install {self.name}")
        return f"{self.package} is not installed: {', or '.join(ways)}"

    def own_python(self) -> Path | None:
        """The interpreter of the engine's own environment; None where it is not installed."""
        if self.requirements is None:
            return None
        environment = environment_of(self.name, self.requirements, self.layered)
        return environment.python if environment.installed else None

    def runs_here(self) -> bool:
        """Whether this process can import the engine, and it needs no worker."""
        return self.module is None or (self.layered and _installed(self.module))

    def cannot_run(self) -> str | None:
        """Why this machine compiles for the engine and yet runs nothing of it, or None where it does."""
        return None

    def refuses(self, target: Target) -> str | None:
        """Why the engine cannot serve that target here, or None where it can."""
        reason = self.available()
        if reason is None and target.precision not in self.precisions:
            reason = f"{self.name} has no {target.precision} on this processor family"
        if reason is None and target.layout not in ("", *self.layouts):
            known = ", ".join(self.layouts) or "none to choose from"
            reason = f"{self.name} has no layout {target.layout}; its layouts: {known}"
        return reason or self._lacks_device(target.device)

    def _lacks_device(self, device: str) -> str | None:
        if not self.devices or device in self.devices:
            return None
        return f"{self.name} has no device {device!r} here; it has {', '.join(self.devices)} alone"

    def version(self) -> str:
        """Version of the engine's distribution, empty where it has none."""
        if not self.package:
            return ""
        if self.own_python() is not None:
            own = environment_of(self.name, self.requirements, self.layered)
            return own.version_of(self.package)
        try:
            return version(self.package)
        except PackageNotFoundError:
            return ""

    def compile(
        self,
        model: ir.Model,
        target: Target,
        directory: Path,
        calibration: Sequence[Feeds] = (),
    ) -> Artifact:
        """Compiles the model into files below `directory`, which exists and is empty.

        Args:
            calibration: feeds for an engine that quantizes by itself.

        Raises:
            EngineUnavailableError: where the engine cannot serve the target on this machine.
            EngineError: where the engine refuses the model; its own words are in the message.
        """
        self._demand(target)
        if GRAPH not in self.routes:
            raise EngineUnavailableError(
                f"{self.name} compiles PyTorch programs, and this model is only a graph",
                hint="Deploy the nn.Module itself, or choose another engine with --engines",
            )
        from modelport.engines.refusals import demand_operators, telling_where
        from modelport.graph.query import signature_of

        self._demand_sizes(signature_of(model))
        demand_operators(self, model)
        with telling_where(model), self._speaking("compiling"):
            return self._compile(model, target, directory, calibration)

    def compile_program(
        self,
        program: Path,
        signature: Signature,
        target: Target,
        directory: Path,
        calibration: Sequence[Feeds] = (),
    ) -> Artifact:
        """Compiles what torch.export captured, without a graph between.

        Args:
            program: a `.pt2` whose inputs and outputs stand in the signature's order.
            calibration: feeds for an engine that quantizes by itself.

        Raises:
            EngineUnavailableError: where the engine has no such route, or cannot serve the target.
            EngineError: where it refuses the program; its own words are in the message.
        """
        self._demand(target)
        if PROGRAM not in self.routes:
            raise EngineUnavailableError(f"{self.name} takes graphs, not PyTorch programs")
        self._demand_sizes(signature)
        with self._speaking("compiling"):
            return self._compile_program(program, signature, target, directory, calibration)

    def load(
        self,
        artifact: Artifact,
        *,
        threads: int = 0,
        device: str | None = None,
        isolated: bool = False,
        memory_bytes: int | None = None,
        warm_up: int = 0,
    ) -> Session:
        """Opens a session, in this process where the engine can live in it, else in a worker.

        Args:
            threads: 0 leaves the number to the artifact, whose option `threads` may have one, else to the
                engine.
            device: a name such as `cpu`, `cuda:0` or `gpu`; None is what it was compiled for.
            isolated: whether to use a worker in any case, so that no crash reaches this process.
            memory_bytes: most memory the engine may take, which needs a worker.
            warm_up: runs on zeros before the session is handed out, at the smallest sizes.

        Raises:
            EngineUnavailableError: where the engine or the device cannot be used on this machine.
            EngineError: where the engine refuses the artifact; its own words are in the message.
        """
        self._demand(None)
        self._demand_device()
        if device is not None:
            if (reason := self._lacks_device(device)) is not None:
                raise EngineUnavailableError(reason, hint="Leave the device out")
            artifact = replace(artifact, options={**artifact.options, "device": device})
        threads = threads or int(artifact.options.get("threads", 0))
        with self._speaking("loading"):
            if isolated or memory_bytes is not None or not self.runs_here():
                session = self._open_in_worker(artifact, threads, memory_bytes)
            else:
                session = self._load(artifact, threads)
        session.warm_up(warm_up)
        return session

    def open_here(self, artifact: Artifact, threads: int) -> Session:
        """Opens a session in this process, for the worker that this process is."""
        with self._speaking("loading"):
            return self._load(artifact, threads)

    def _open_in_worker(
        self, artifact: Artifact, threads: int, memory_bytes: int | None
    ) -> Session:
        from modelport.engines.workers.remote import RemoteSession

        python = None if self.runs_here() else self.own_python()
        return RemoteSession(artifact, threads, None, python=python, memory_bytes=memory_bytes)

    def open_in_memory(self, model: ir.Model, target: Target) -> Session | None:
        """A session that shares the weights of the model, which must outlive it and stay as it is.

        None where the engine opens only files: the caller then compiles and loads.

        Raises:
            EngineUnavailableError, EngineError: as `compile` does.
        """
        self._demand(target)
        with self._speaking("loading"):
            return self._open_in_memory(model, target)

    def _open_in_memory(self, model: ir.Model, target: Target) -> Session | None:
        return None

    def _demand(self, target: Target | None) -> None:
        reason = self.available() if target is None else self.refuses(target)
        if reason is not None:
            raise EngineUnavailableError(
                f"The engine {self.name} cannot be used here: {reason}",
                hint="`modelport engines` lists the engines of this machine",
            )

    def _demand_device(self) -> None:
        reason = self.cannot_run()
        if reason is not None:
            raise EngineUnavailableError(
                f"Artifacts of {self.name} do not run on this machine: {reason}",
                hint="Copy the bundle to a machine that has what it takes",
            )

    def _demand_sizes(self, signature: Signature) -> None:
        free = [str(spec) for spec in signature.inputs if not spec.is_static]
        if free and not self.rules.free_sizes:
            raise EngineError(
                f"{self.name} takes fixed sizes only, and {', '.join(free)} has free ones",
                hint="Give numbers in --input, or fix them with modelport edit --set-input",
            )

    @contextlib.contextmanager
    def _speaking(self, doing: str) -> Iterator[None]:
        """Lets the engine's own exception reach the user, under our name."""
        try:
            yield
        except ModelportError:
            raise
        except Exception as error:
            raise EngineError(f"{self.name} failed while {doing}: {first_words(error)}") from error

    @abstractmethod
    def _compile(
        self, model: ir.Model, target: Target, directory: Path, calibration: Sequence[Feeds]
    ) -> Artifact: ...

    def _compile_program(
        self,
        program: Path,
        signature: Signature,
        target: Target,
        directory: Path,
        calibration: Sequence[Feeds],
    ) -> Artifact:
        raise NotImplementedError

    @abstractmethod
    def _load(self, artifact: Artifact, threads: int) -> Session: ...


def first_words(error: BaseException, limit: int = 400) -> str:
    """The message of a foreign exception on one line, cut at `limit` characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False
