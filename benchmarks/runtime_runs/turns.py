"""Contenders in processes of their own, who take turns."""

from __future__ import annotations

import multiprocessing
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from harness import PAUSE_S

from runtime_runs.case import Case, Contender, Missing
from runtime_runs.process import peak_mb


@dataclass
class Times:
    """What was measured of one contender.

    Attributes:
        each_ms: for each turn, the median milliseconds of a file.
        many_s: for each turn, the files a second when it is given all of them at once.
        plain: its results, by file.
        missing: why there is nothing.
        start_s: from the start of its process to its first answer.
        peak_mb: most memory of its process, in the end.
    """

    each_ms: list[float] = field(default_factory=list)
    many_s: list[float] = field(default_factory=list)
    plain: list[Any] = field(default_factory=list)
    missing: str | None = None
    start_s: float = 0.0
    peak_mb: float = 0.0


def measured(case: Case, *, rounds: int, passes: int) -> dict[str, Times]:
    """Every contender in turn, `rounds` times over; a turn goes over all files `passes` times."""
    files = case.files()
    found = {name: Times() for name in case.contenders}
    workers: dict[str, _Worker] = {}
    try:
        for name, kind in case.contenders.items():
            try:
                kind.ready()
            except Missing as reason:
                found[name].missing = str(reason)
                continue
            worker = _Worker(kind, files)
            told = worker.ask("start")
            if isinstance(told, str):
                found[name].missing = told
                worker.close()
                continue
            workers[name], found[name].start_s = worker, told
            found[name].plain = worker.ask("plain")
        for _ in range(rounds):
            for name, worker in workers.items():
                time.sleep(PAUSE_S)
                found[name].each_ms.append(worker.ask("each", passes))
                time.sleep(PAUSE_S)
                found[name].many_s.append(worker.ask("many", passes))
        for name, worker in workers.items():
            found[name].peak_mb = worker.ask("memory")
    finally:
        for worker in workers.values():
            worker.close()
    return found


class _Worker:
    def __init__(self, kind: type[Contender], files: Sequence[Path]) -> None:
        self._pipe, theirs = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        self._process = context.Process(
            target=_serve, args=(kind, files, theirs, time.time()), daemon=True
        )
        self._process.start()
        theirs.close()

    def ask(self, what: str, number: int = 0) -> Any:
        self._pipe.send((what, number))
        answer = self._pipe.recv()
        if isinstance(answer, _Broken):
            raise RuntimeError(answer.words)
        return answer

    def close(self) -> None:
        self._pipe.close()
        self._process.join(30)
        if self._process.is_alive():
            self._process.terminate()


@dataclass(frozen=True)
class _Broken:
    words: str


def _serve(kind: type[Contender], files: Sequence[Path], pipe: Connection, started: float) -> None:
    contender: Contender | None = None
    while True:
        try:
            what, number = pipe.recv()
        except EOFError:
            return
        try:
            if what == "start":
                contender = kind()
                contender(files[0])
                pipe.send(time.time() - started)
            else:
                assert contender is not None
                pipe.send(_DEEDS[what](contender, files, number))
        except Missing as reason:
            pipe.send(str(reason))
        except Exception:
            pipe.send(_Broken(f"{kind.__name__}: {traceback.format_exc()}"))


def _plain(contender: Contender, files: Sequence[Path], _: int) -> list[Any]:
    return [contender.plain(contender(path)) for path in files]


def _each(contender: Contender, files: Sequence[Path], passes: int) -> float:
    times = []
    for path in [*files] * (passes + 1):  # the first pass does not count
        start = time.perf_counter()
        contender(path)
        times.append((time.perf_counter() - start) * 1e3)
    counted = sorted(times[len(files) :])
    return counted[len(counted) // 2]


def _many(contender: Contender, files: Sequence[Path], passes: int) -> float:
    paths = [*files] * passes
    start = time.perf_counter()
    found = contender.many(paths)
    seconds = time.perf_counter() - start
    assert len(found) == len(paths)
    return len(paths) / seconds


def _memory(contender: Contender, files: Sequence[Path], _: int) -> float:
    return peak_mb()


_DEEDS = {"plain": _plain, "each": _each, "many": _many, "memory": _memory}
