"""The start of a variant in a process of its own: how long it takes, and how much memory."""

from __future__ import annotations

import time
from dataclasses import dataclass

from modelport.engines import ENGINES
from modelport.engines.workers.remote import RemoteSession
from modelport.types import Artifact, Feeds


@dataclass(frozen=True)
class Start:
    """From nothing to the first answer.

    Attributes:
        memory_bytes: most that the process had at once; None where the system does not tell.
    """

    start_up_ms: float
    memory_bytes: int | None


def start(artifact: Artifact, feeds: Feeds, threads: int = 0) -> Start:
    """Starts a process, loads the artifact, runs it once.

    Raises:
        EngineError: where that fails.
    """
    begun = time.perf_counter()
    engine = ENGINES.get(artifact.engine)
    with engine.load(artifact, threads=threads, isolated=True) as session:
        session.run(feeds)
        took = (time.perf_counter() - begun) * 1e3
        memory = session.peak_memory_bytes() if isinstance(session, RemoteSession) else None
    return Start(took, memory)
