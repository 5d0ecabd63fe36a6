"""The worker process: converts, or loads a session and runs it, as its parent asks.

Messages come through standard input and go out through what was standard output; whatever an engine
prints goes to standard error, which the parent keeps for the case that it is the engine's last.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from modelport.engines.workers import wire
from modelport.engines.workers.wire import Message


def main() -> None:
    commands, answers = _private_pipes()
    work = _Work()
    while (message := wire.receive(commands)) is not None:
        try:
            answer = work.do(message)
        except Exception as error:
            answer = {"error": wire.error_to_json(error)}
        wire.send(answers, answer)
    os._exit(0)  # libraries that hang or crash when they are unloaded do no harm so


def _private_pipes() -> tuple[BinaryIO, BinaryIO]:
    commands, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    return commands, answers


class _Work:
    """What the parent may ask for, one method each."""

    def __init__(self) -> None:
        from modelport.engines import ENGINES

        self._engines = ENGINES
        self._view = wire.View()

    def do(self, message: Message) -> Message:
        known: dict[str, Callable[[Message], Message]] = {
            "limit": self._limit,
            "convert": self._convert,
            "load": self._load,
            "run": self._run,
            "memory": self._memory,
        }
        return known[message["do"]](message)

    def _limit(self, message: Message) -> Message:
        """Bounds the memory of this process, where the system can."""
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (message["bytes"], message["bytes"]))
        return {}

    def _convert(self, message: Message) -> Message:
        from modelport.engines.conversion import Conversion, converter_of

        converted = converter_of(self._engines.get(message["engine"]))(
            Conversion.from_json(message["job"])
        )
        return {"files": dict(converted.files), "options": dict(converted.options)}

    def _load(self, message: Message) -> Message:
        engine = self._engines.get(message["artifact"]["engine"])
        self._session = engine.open_here(
            wire.artifact_from_json(message["artifact"]), message["threads"]
        )
        self._block = wire.Block(Path(message["folder"]), "outputs")
        return {"signature": wire.signature_to_json(self._session.signature)}

    def _memory(self, message: Message) -> Message:
        """Of this process since it began; what the system counts for users includes its parent's."""
        with suppress(OSError):
            for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
                if line.startswith("VmHWM:"):
                    return {"peak_bytes": 1024 * int(line.split()[1])}
        return {"peak_bytes": None}

    def _run(self, message: Message) -> Message:
        feeds = self._view.get(message["feeds"])
        for array in feeds.values():
            array.setflags(write=False)
        return {"outputs": self._block.put(self._session.run(feeds))}


if __name__ == "__main__":
    main()
