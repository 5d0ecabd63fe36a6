"""The parent's side of a worker: starts it, asks it, and tells how it ended."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import BinaryIO, cast

from modelport.engines.workers import wire
from modelport.engines.workers.wire import Message
from modelport.errors import EngineError

LAST_LINES = 6
LAST_CHARACTERS = 500


class Worker:
    """A process that works for one engine. A context manager; after an error of the process it is over.

    Args:
        engine: whose name errors carry.
        python: the interpreter, that of the engine's own environment where it has one.
    """

    def __init__(self, engine: str, python: Path | None = None) -> None:
        self.engine = engine
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the worker)
        self._process = subprocess.Popen(  # noqa: S603  (our own module, with a Python we made)
            [python or sys.executable, "-c", _START],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            env=_environment(own=python is not None),
            start_new_session=os.name == "posix",  # Ctrl-C is for the parent, which ends the worker
        )
        self._answers: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        pipe = cast(BinaryIO, self._process.stdout)
        threading.Thread(target=_listen, args=(pipe, self._answers), daemon=True).start()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, message: Message, doing: str, limit_s: float) -> Message:
        """Sends one message and waits for its answer.

        Raises:
            ModelportError: what the worker raised, if it is ours.
            EngineError: where the engine raises, crashes or does not answer in that time.
        """
        with self._lock:
            try:
                wire.send(cast(BinaryIO, self._process.stdin), message)
                answer = self._answers.get(timeout=limit_s)
            except (OSError, ValueError):
                answer = None
            except queue.Empty:
                raise self._hung(doing, limit_s) from None
            if answer is None:
                raise self._crashed(doing)
        if "error" in answer:
            raise self._failed(answer["error"], doing)
        return answer

    def _failed(self, told: Message, doing: str) -> Exception:
        error = wire.error_from_json(told)
        if isinstance(error, RuntimeError):
            words = " ".join(str(error).split())[:LAST_CHARACTERS]
            return EngineError(f"{self.engine} failed while {doing}: {words}")
        return error

    def _crashed(self, doing: str) -> EngineError:
        ended = _ending(self._ended())
        last = self.last_words()
        self.close()
        return EngineError(
            f"{self.engine} crashed while {doing}: {ended}"
            + (f". Its last words: {last}" if last else ", without a word"),
            hint="Only its own process ended. Update the engine, or leave it out with --engines",
        )

    def _ended(self) -> int:
        """Status of a process that has closed its pipe, and so is about to end."""
        try:
            return self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def _hung(self, doing: str, limit_s: float) -> EngineError:
        last = self.last_words()
        self._process.kill()
        self.close()
        return EngineError(
            f"{self.engine} was stopped: it gave no answer for {limit_s:g} s while {doing}"
            + (f". Its last words: {last}" if last else ""),
            hint="Raise the limit with MODELPORT_ENGINE_TIMEOUT_S, or leave the engine out with "
            "--engines",
        )

    def last_words(self) -> str:
        """The last lines the engine printed, on one line."""
        if self._said.closed:
            return ""
        end = self._said.seek(0, os.SEEK_END)
        self._said.seek(max(0, end - 8192))
        lines = self._said.read().decode(errors="replace").splitlines()
        kept = [line.strip() for line in lines if line.strip()][-LAST_LINES:]
        return " | ".join(kept)[-LAST_CHARACTERS:]

    def close(self) -> None:
        """Ends the process; may be called twice."""
        _close_quietly(cast(BinaryIO, self._process.stdin))
        try:
            self._process.wait(timeout=0.5 if self._process.poll() is None else 0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._said.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_process") and self._process.poll() is None:
            self.close()


_START = "from modelport.engines.workers.child import main; main()"


def _environment(*, own: bool) -> dict[str, str]:
    """The parent's, without what would bring its packages or the current folder into the worker."""
    kept = {**os.environ, "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"}
    if own:
        kept.pop("PYTHONPATH", None)
        kept.pop("PYTHONHOME", None)
    else:
        # The parent may have found us through sys.path alone.
        package = str(Path(__file__).resolve().parents[3])
        kept["PYTHONPATH"] = os.pathsep.join(filter(None, [package, kept.get("PYTHONPATH")]))
    return kept


def _listen(pipe: BinaryIO, answers: queue.SimpleQueue[Message | None]) -> None:
    with pipe:
        while True:
            try:
                message = wire.receive(pipe)
            except (OSError, ValueError):
                message = None
            answers.put(message)
            if message is None:
                return


def _close_quietly(pipe: BinaryIO) -> None:
    with contextlib.suppress(OSError):
        pipe.close()


def _ending(code: int) -> str:
    if code >= 0:
        return f"its process left with status {code}"
    try:
        return f"its process was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"its process was ended by signal {-code}"


def limit_s(default: float) -> float:
    """The time an engine has to answer: `MODELPORT_ENGINE_TIMEOUT_S`, or the default."""
    try:
        return float(os.environ.get("MODELPORT_ENGINE_TIMEOUT_S", "")) or default
    except ValueError:
        return default
