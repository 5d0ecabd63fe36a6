"""Engines that read a format of their own, which a converter writes in a process of its own."""

from __future__ import annotations

import tempfile
from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from modelport.engines.base import Engine
from modelport.engines.cache import through_cache
from modelport.engines.conversion import GRAPH, PROGRAM, Conversion, Converted
from modelport.errors import EngineError, EngineUnavailableError
from modelport.types import Artifact, Blob, Signature, Target

if TYPE_CHECKING:
    import onnx_ir as ir


class ConvertingEngine(Engine):
    """A subclass sets the class attributes and writes `convert` and `_load`.

    `convert` runs in a worker, in the engine's own environment where it has one: it sees only `types`,
    `errors`, `engines.conversion` and its own library. A crash, a hang or what the library prints last
    becomes an error of this engine.
    """

    routes: ClassVar[tuple[str, ...]] = (GRAPH,)
    limit_s: ClassVar[float] = 900.0
    """How long a conversion may take."""

    @abstractmethod
    def convert(self, job: Conversion) -> Converted:
        """Writes the engine's own files into the directory of the job."""

    def settings(self, model: ir.Model | None, target: Target) -> dict[str, Any]:
        """What the converter must know beside the job; part of the cache's key."""
        return {}

    def _compile(self, model: ir.Model, target: Target, directory: Path) -> Artifact:
        from modelport.graph.io import save_with_weights
        from modelport.graph.query import signature_of

        if GRAPH not in self.routes:
            raise EngineUnavailableError(
                f"{self.name} compiles PyTorch programs, and this model is only a graph",
                hint="Deploy the nn.Module itself, or choose another engine with --engines",
            )
        with tempfile.TemporaryDirectory(prefix="modelport-") as scratch:
            file = save_with_weights(model, Path(scratch), name="model")["model"]
            told = self.settings(model, target)
            job = Conversion(file, signature_of(model), target, directory, GRAPH, told)
            return self._artifact(job)

    def compile_program(
        self, program: Path, signature: Signature, target: Target, directory: Path
    ) -> Artifact:
        """Compiles what torch.export captured, without a graph between.

        Args:
            program: a `.pt2` alone in its folder; inputs and outputs stand in the signature's order.

        Raises:
            EngineUnavailableError: where the engine has no such route, or cannot serve the target.
            EngineError: where it refuses the program.
        """
        self._demand(target)
        if PROGRAM not in self.routes:
            raise EngineUnavailableError(f"{self.name} takes graphs, not PyTorch programs")
        told = self.settings(None, target)
        with self._speaking("compiling"):
            return self._artifact(Conversion(program, signature, target, directory, PROGRAM, told))

    def _artifact(self, job: Conversion) -> Artifact:
        made_by = {"engine": self.name, "version": self.version(), **self._made_by()}
        made = through_cache(job, made_by, lambda: self._in_worker(job))
        missing = [name for name in made.files.values() if not (job.directory / name).is_file()]
        if missing:
            raise EngineError(f"{self.name} did not write {', '.join(missing)}")
        return Artifact(
            engine=self.name,
            signature=job.signature,
            files={role: Blob(job.directory / name) for role, name in made.files.items()},
            options=dict(made.options),
        )

    def _made_by(self) -> dict[str, str]:
        from modelport import __version__

        return {"modelport": __version__}

    def _in_worker(self, job: Conversion) -> Converted:
        from modelport.engines.workers.process import Worker, limit_s

        with Worker(self.name, self.own_python()) as worker:
            answer = worker.ask(
                {"do": "convert", "engine": self.name, "job": job.to_json()},
                "converting",
                limit_s(self.limit_s),
            )
        return Converted(answer["files"], answer["options"])
