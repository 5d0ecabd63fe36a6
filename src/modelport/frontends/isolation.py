"""Keeps what may hang or crash from taking the job down: a deadline, and a child process."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import pickle
import signal
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import Any

from modelport.errors import ExportError, ModelportError, SourceError

GRACE_S = 30.0
"""How long code that never comes back to Python may go on after the limit."""

CHILD_GRACE_S = 2.0
"""The same in a child process, which can be ended without loss."""


@contextmanager
def deadline(seconds: float, doing: str) -> Iterator[None]:
    """Stops what runs in the context after that time.

    Python code is stopped where it is, and the error names the line. Compiled code that does not come
    back to Python ends the process with every thread's stack, a while later. In other threads than
    the main one there is no such alarm, and nothing is stopped. Of nested deadlines the earliest counts.

    Raises:
        SourceError: where the time is up.
    """
    if not _has_alarm() or 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= seconds:
        yield
        return
    watching = _watch(seconds + GRACE_S)
    try:
        with _alarm(seconds, doing):
            yield
    finally:
        if watching:
            faulthandler.cancel_dump_traceback_later()


@contextmanager
def _alarm(seconds: float, doing: str) -> Iterator[None]:
    def stop(_: int, frame: FrameType | None) -> None:
        place = _line_of(frame)
        raise SourceError(
            f"{doing} was stopped after {seconds:g} s{f' at {place}' if place else ''}",
            hint="Look for a loop without end or a download at that line, or raise --time-limit",
        )

    before = signal.signal(signal.SIGALRM, stop)
    start = time.monotonic()
    outer, _ = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.signal(signal.SIGALRM, before)
        _go_on(outer, start, 0.001)


def _has_alarm() -> bool:
    return threading.current_thread() is threading.main_thread() and hasattr(signal, "SIGALRM")


def _go_on(outer: float, start: float, least: float) -> None:
    """Sets an alarm again that has been off since `start`, to the time it has left."""
    left = max(outer - (time.monotonic() - start), least) if outer else 0
    signal.setitimer(signal.ITIMER_REAL, left)


@contextmanager
def _no_deadline() -> Iterator[None]:
    """Pauses the deadline around a wait for a child, which has one of its own and says where it was."""
    if not _has_alarm():
        yield
        return
    start = time.monotonic()
    outer, _ = signal.setitimer(signal.ITIMER_REAL, 0)
    try:
        yield
    finally:
        _go_on(outer, start, 1.0)


def _watch(seconds: float) -> bool:
    """Ends the process then; needs a real stream for what it has to say, which notebooks lack."""
    if sys.__stderr__ is None:
        return False
    try:
        faulthandler.dump_traceback_later(seconds, exit=True, file=sys.__stderr__)
    except (AttributeError, OSError, RuntimeError, ValueError):
        return False
    return True


def _line_of(frame: FrameType | None) -> str | None:
    """The innermost line outside installed packages, Python itself and modelport."""
    while frame is not None:
        file = frame.f_code.co_filename
        if not (file.startswith("<") or any(part in file for part in _NOT_THE_USERS)):
            return f"{Path(file).name}:{frame.f_lineno}"
        frame = frame.f_back
    return None


_NOT_THE_USERS = (
    f"{os.sep}site-packages{os.sep}",
    str(Path(traceback.__file__).parent),
    str(Path(__file__).parents[1]),
    str(Path(sys.executable).parent),  # where commands are installed, ours among them
)


def in_child(
    work: Callable[[Path], None], seconds: float, doing: str
) -> tempfile.TemporaryDirectory[str]:
    """Runs `work(folder)` in a child process that shares this one's memory as it is now.

    Its prints are lost, its exceptions come here as they were if they are ours, and a crash is an
    error. Where the system cannot fork, it runs in this process.

    Returns:
        The folder, for the caller to read and to clean up.

    Raises:
        ExportError: where the child crashes, or does not come back to Python after that time.
        SourceError: where it takes longer than that.
        ModelportError: whatever `work` raises of ours.
    """
    folder = tempfile.TemporaryDirectory(prefix="modelport-")
    try:
        if "fork" not in multiprocessing.get_all_start_methods():
            work(Path(folder.name))
        else:
            _run_child(work, Path(folder.name), seconds, doing)
    except BaseException:
        folder.cleanup()
        raise
    return folder


def _run_child(work: Callable[[Path], None], folder: Path, seconds: float, doing: str) -> None:
    for attempt in ("first", "second"):
        child = _started(work, folder, seconds, doing)
        ended = _ended(child, seconds + CHILD_GRACE_S)
        if ended != _STALLED or attempt == "second":
            break
    if ended != _DONE:
        raise ExportError(
            f"{doing} was stopped after {seconds:g} s"
            if ended == _LATE
            else f"{doing} was stopped: its process did nothing for {STALL_S:g} s, twice",
            hint="Raise --time-limit, or use a smaller input",
        )
    told = folder / _ERROR
    if told.exists():
        error: Any = pickle.loads(told.read_bytes())  # noqa: S301  (our own child wrote it)
        raise error
    if child.exitcode != 0:
        raise ExportError(
            f"{doing} crashed: {_ending(child.exitcode)}",
            hint="The exporter itself failed; choose the other one with --exporter",
        )


STALL_S = 30.0
"""A child that uses no processor time for so long waits for a lock that was held when it was forked, by
a thread that it does not have. Another attempt forks at another moment."""

_DONE, _LATE, _STALLED = "done", "late", "stalled"


def _started(work: Callable[[Path], None], folder: Path, seconds: float, doing: str) -> BaseProcess:
    context = multiprocessing.get_context("fork")
    child = context.Process(target=_child, args=(work, folder, seconds, doing))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads: the child uses one alone
        child.start()
    return child


def _ended(child: BaseProcess, seconds: float) -> str:
    """How the child ends: by itself, after that time, or for doing nothing. It has ended in any case."""
    with _no_deadline():
        try:
            return _watched(child, seconds)
        finally:
            child.kill()
            child.join()


def _watched(child: BaseProcess, seconds: float) -> str:
    start = moved = time.monotonic()
    used: float | None = None
    while True:
        child.join(0.2)
        now = time.monotonic()
        if not child.is_alive():
            return _DONE
        spent = _processor_ticks(child.pid)
        if spent != used:
            used, moved = spent, now
        if now - start > seconds:
            return _LATE
        if now - moved > STALL_S:
            return _STALLED


def _processor_ticks(pid: int | None) -> float:
    """Processor time of a process so far; where the system does not tell, it always moves on."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return time.monotonic()
    return float(fields[11]) + float(fields[12])  # utime and stime; see proc(5)


_ERROR = "error.pickle"


def _child(work: Callable[[Path], None], folder: Path, seconds: float, doing: str) -> None:
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115  (notebooks print elsewhere)
    try:
        with _alarm(seconds, doing):  # the parent is the watch: its own thread for that is not here
            work(folder)
    except ModelportError as error:
        (folder / _ERROR).write_bytes(pickle.dumps(error))
    except Exception as error:
        told = ExportError(f"{type(error).__name__}: {' '.join(str(error).split())[:400]}")
        (folder / _ERROR).write_bytes(pickle.dumps(told))
    os._exit(0)  # leaves without running what the parent registered for its own end


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        return f"the process was ended by {signal.Signals(-code).name}"
    return f"the process left with status {code}"
