"""Engines that read a format of their own, which a converter writes in a process of its own."""

from __future__ import annotations

import hashlib
import shutil
import sys
import tempfile
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from modelport.engines.base import Engine, Session
from modelport.engines.cache import through_cache
from modelport.engines.conversion import CALIBRATION, Conversion, Converted
from modelport.engines.routes import GRAPH, PROGRAM
from modelport.errors import EngineError
from modelport.types import Artifact, Blob, Feeds, Signature, Target

if TYPE_CHECKING:
    import onnx_ir as ir

    from modelport.engines.workers.process import Worker


class ConvertingEngine(Engine):
    """A subclass sets the class attributes and writes `convert` and `_load`.

    `convert` runs in a worker, in the engine's own environment where it has one: it sees only `types`,
    `errors`, `engines.conversion` and its own library. A crash, a hang or what the library prints last
    becomes an error of this engine.
    """

    limit_s: ClassVar[float] = 900.0
    """How long a conversion may take."""

    _kept: Worker | None = None

    @abstractmethod
    def convert(self, job: Conversion) -> Converted:
        """Writes the engine's own files into the directory of the job."""

    def settings(self, model: ir.Model | None, target: Target) -> dict[str, Any]:
        """What the converter must know beside the job; part of the cache's key."""
        return {}

    @contextmanager
    def one_worker(self) -> Iterator[None]:
        """Conversions and sessions share a worker meanwhile; for thousands of small models."""
        from modelport.engines.workers.process import Worker

        self._kept = Worker(self.name, self.own_python())
        try:
            yield
        finally:
            self._kept.close()
            self._kept = None

    def _shared_worker(self) -> Worker | None:
        """The one that is kept, a new one where an engine has ended it."""
        from modelport.engines.workers.process import Worker

        if self._kept is not None and not self._kept.alive:
            self._kept = Worker(self.name, self.own_python())
        return self._kept

    def _compile(
        self, model: ir.Model, target: Target, directory: Path, calibration: Sequence[Feeds]
    ) -> Artifact:
        from modelport.graph.io import save_with_weights
        from modelport.graph.query import signature_of

        with tempfile.TemporaryDirectory(prefix="modelport-") as scratch:
            file = save_with_weights(model, Path(scratch), name="model")["model"]
            _write_calibration(calibration, Path(scratch))
            told = self.settings(model, target)
            job = Conversion(file, signature_of(model), target, directory, GRAPH, told)
            return self._artifact(job)

    def _compile_program(
        self,
        program: Path,
        signature: Signature,
        target: Target,
        directory: Path,
        calibration: Sequence[Feeds],
    ) -> Artifact:
        told = self.settings(None, target)
        with tempfile.TemporaryDirectory(prefix="modelport-") as scratch:
            file = _linked(program, Path(scratch) / "model.pt2")
            _write_calibration(calibration, Path(scratch))
            return self._artifact(Conversion(file, signature, target, directory, PROGRAM, told))

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
        """The converter's own code too: an entry must not outlive a correction of it."""
        from modelport import __version__

        folder = Path(sys.modules[type(self).__module__].__file__ or "").parent
        code = hashlib.sha256()
        for path in sorted(folder.glob("*.py")):
            code.update(path.read_bytes())
        return {"modelport": __version__, "code": code.hexdigest()}

    def _in_worker(self, job: Conversion) -> Converted:
        from modelport.engines.workers.process import Worker, limit_s

        kept = self._shared_worker()
        with Worker(self.name, self.own_python()) if kept is None else nullcontext(kept) as worker:
            answer = worker.ask(
                {"do": "convert", "engine": self.name, "job": job.to_json()},
                "converting",
                limit_s(self.limit_s),
            )
        return Converted(answer["files"], answer["options"])

    def _open_in_worker(
        self, artifact: Artifact, threads: int, memory_bytes: int | None
    ) -> Session:
        from modelport.engines.workers.remote import RemoteSession

        kept = self._shared_worker()
        if kept is not None:
            return RemoteSession(artifact, threads, kept)
        return super()._open_in_worker(artifact, threads, memory_bytes)


def _write_calibration(feeds: Sequence[Feeds], folder: Path) -> None:
    for index, feed in enumerate(feeds):
        (folder / CALIBRATION).mkdir(exist_ok=True)
        np.savez(folder / CALIBRATION / f"{index:05}.npz", allow_pickle=False, **dict(feed))


def _linked(path: Path, place: Path) -> Path:
    """The file alone in a folder, without a copy where the system can."""
    try:
        place.symlink_to(path.resolve())
    except OSError:
        shutil.copyfile(path, place)
    return place
