"""What TensorRT says while it works: it keeps its reasons to a logger, and one logger to a process."""

from __future__ import annotations

import tensorrt_rtx_bindings as trt

LAST = 3


class Words(trt.ILogger):  # type: ignore[misc]  # the library has no types
    def __init__(self) -> None:
        super().__init__()
        self._errors: list[str] = []

    def log(self, severity: trt.ILogger.Severity, message: str) -> None:
        if severity <= trt.ILogger.Severity.ERROR:
            self._errors.append(" ".join(message.split()))

    def clear(self) -> None:
        self._errors.clear()

    def last(self) -> str:
        return " | ".join(self._errors[-LAST:])


WORDS = Words()
