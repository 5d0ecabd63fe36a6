"""Runs cases in child processes with a time limit, and keeps what became of them."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

LIMIT_S = 180
"""Processor time of a child."""

PATIENCE = 6
"""How many times as long a child may take by the clock, since the machine may be busy."""

WORKERS_MOST = 2


@dataclass(frozen=True)
class Job:
    group: str
    model: str
    side: str
    commit: str

    def describe(self) -> dict[str, str]:
        return {
            "group": self.group,
            "model": self.model,
            "side": self.side,
            "commit": self.commit,
        }


class Records:
    """Outcomes in a file of one JSON object a line; the last one for a job counts."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    def read(self) -> list[dict[str, Any]]:
        if not self._path.exists():
            return []
        found = []
        for line in self._path.read_text(encoding="utf-8").splitlines():
            try:
                found.append(json.loads(line))
            except json.JSONDecodeError:  # the last line of a run that was killed
                continue
        return found

    def add(self, job: Job, outcome: dict[str, Any]) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({**job.describe(), **outcome}) + "\n")

    def missing(self, jobs: Sequence[Job]) -> list[Job]:
        """The jobs without an outcome. The plain exporter does not depend on our commit."""
        known = {
            (record["group"], record["model"], record["side"], _version(record))
            for record in self.read()
        }
        return [
            job
            for job in jobs
            if (job.group, job.model, job.side, _version(job.describe())) not in known
        ]


def _version(record: dict[str, Any]) -> str:
    return "" if record["side"] == "plain" else record["commit"]


def run(
    jobs: Sequence[Job],
    *,
    workers: int,
    limit_s: int,
    done: Callable[[Job, dict[str, Any]], None],
) -> None:
    """Runs every job in a process of its own; a crash or a hang is an outcome like any other.

    Args:
        done: called in this process with each outcome as it comes.
    """
    context = multiprocessing.get_context("forkserver")
    _let_children_find_the_zoo()
    context.set_forkserver_preload(["zoo_models.preloaded"])
    queue, running = list(jobs), []
    try:
        while queue or running:
            while queue and len(running) < min(workers, WORKERS_MOST):
                running.append(_Child(context, queue.pop(0), limit_s))
            wait([child.pipe for child in running], timeout=1)
            for child in [child for child in running if child.finished()]:
                running.remove(child)
                done(child.job, child.outcome())
    finally:
        for child in running:
            child.stop()


def _let_children_find_the_zoo() -> None:
    """The server that children are forked from starts without this process's path of modules.

    It says nothing of what it could not import, and every child would then import torch anew.
    """
    folder = str(Path(__file__).resolve().parents[1])
    known = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if folder not in known:
        os.environ["PYTHONPATH"] = os.pathsep.join([folder, *filter(None, known)])


class _Child:
    def __init__(self, context: Any, job: Job, limit_s: int) -> None:
        self.job = job
        self._start = time.perf_counter()
        self._limit_s = limit_s
        self._outcome: dict[str, Any] | None = None
        self.pipe, theirs = context.Pipe(duplex=False)
        self._process = context.Process(target=_work, args=(job, limit_s, theirs))
        self._process.start()
        theirs.close()

    def finished(self) -> bool:
        if self.pipe.poll():
            self._outcome = _received(self.pipe)
        elif self._process.is_alive() and self._passed() < PATIENCE * self._limit_s:
            return False
        self.stop()
        return True

    def outcome(self) -> dict[str, Any]:
        if self._outcome is not None:
            return self._outcome
        code = self._process.exitcode
        late = code == -signal.SIGXCPU or self._passed() >= PATIENCE * self._limit_s
        reason = f"took over {self._limit_s} s" if late else f"the process died with code {code}"
        return {"status": "refused", "converted": False, "reason": reason}

    def _passed(self) -> float:
        return time.perf_counter() - self._start

    def stop(self) -> None:
        self._process.join(timeout=0.5)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self.pipe.close()


def _work(job: Job, limit_s: int, answer: Connection) -> None:
    """Runs in the child: tries one case and sends what became of it."""
    from zoo_models import cases
    from zoo_models.attempt import attempt

    resource.setrlimit(resource.RLIMIT_CPU, (limit_s, limit_s + 5))
    outcome = attempt(cases(job.group)[job.model], job.side)
    with contextlib.suppress(BrokenPipeError):  # nobody waits for it any more
        answer.send(outcome.as_dict())


def _received(pipe: Connection) -> dict[str, Any] | None:
    try:
        return dict(pipe.recv())
    except EOFError:  # it died without a word
        return None


def all_jobs(groups: dict[str, Sequence[str]], sides: Sequence[str], commit: str) -> Iterator[Job]:
    for group, models in groups.items():
        for model in models:
            for side in sides:
                yield Job(group, model, side, commit)
