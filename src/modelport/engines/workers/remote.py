"""A session whose engine runs in a worker."""

from __future__ import annotations

from pathlib import Path

from modelport.engines.base import Session
from modelport.engines.workers import wire
from modelport.engines.workers.process import Worker, limit_s
from modelport.types import Artifact, Feeds, Outputs

LOAD_S = 300.0
RUN_S = 120.0
"""How long loading and one run may take before the engine counts as hung."""


class RemoteSession(Session):
    """Feeds go into shared memory and outputs come out of it; a crash is an error of this session.

    Args:
        worker: a process of its own, ended with the session; or one that is shared, and kept.
        memory_bytes: most memory that the worker may take; None for no limit.
    """

    def __init__(
        self,
        artifact: Artifact,
        threads: int,
        worker: Worker | None,
        *,
        python: Path | None = None,
        memory_bytes: int | None = None,
    ) -> None:
        self._folder = wire.memory_folder()
        self._shares = worker is not None
        self._worker = worker or Worker(artifact.engine, python)
        try:
            if memory_bytes is not None:
                self._worker.ask({"do": "limit", "bytes": memory_bytes}, "starting", LOAD_S)
            self._worker.ask(
                {
                    "do": "load",
                    "artifact": wire.artifact_to_json(artifact),
                    "threads": threads,
                    "folder": self._folder.name,
                },
                "loading",
                limit_s(LOAD_S),
            )
        except BaseException:
            self._end()
            raise
        super().__init__(artifact.signature, artifact.engine)
        self._feeds = wire.Block(Path(self._folder.name), "feeds")
        self._view = wire.View()

    def peak_memory_bytes(self) -> int | None:
        """Most memory that the worker has had at once; None where the system does not tell."""
        answer = self._worker.ask({"do": "memory"}, "running", RUN_S)
        return answer["peak_bytes"]  # type: ignore[no-any-return]

    def _run(self, feeds: Feeds) -> Outputs:
        message = {"do": "run", "feeds": self._feeds.put(feeds)}
        answer = self._worker.ask(message, "running", limit_s(RUN_S))
        return {name: array.copy() for name, array in self._view.get(answer["outputs"]).items()}

    def _close(self) -> None:
        self._end()

    def _end(self) -> None:
        if not self._shares:
            self._worker.close()
        self._folder.cleanup()
