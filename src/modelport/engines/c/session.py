"""Runs the compiled C through ctypes."""

from __future__ import annotations

import _ctypes
import ctypes
import threading
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from modelport.engines.base import Session
from modelport.engines.c.build import build
from modelport.engines.files import as_file, as_folder
from modelport.types import Array, Artifact, Feeds, Outputs

ALIGNMENT = 64


class CSession(Session):
    """One thread.

    Args:
        build_anew: from the source, where the library was made for another kind of processor.
    """

    def __init__(self, artifact: Artifact, *, build_anew: bool = False) -> None:
        super().__init__(artifact.signature, artifact.engine)
        with ExitStack() as stack:
            if build_anew:
                library = _built_anew(artifact, stack)
            else:
                library = as_file(artifact.files["model"], "model.so", stack)
            self._library = ctypes.CDLL(str(library))
        self._run_model = self._library.model_run
        self._run_model.restype = None
        self._work = _aligned(ctypes.c_ulong.in_dll(self._library, "model_work_bytes").value)
        self._lock = threading.Lock()

    def _run(self, feeds: Feeds) -> Outputs:
        inputs = [np.ascontiguousarray(feeds[spec.name]) for spec in self.signature.inputs]
        outputs = {
            spec.name: np.empty(spec.smallest(), spec.dtype) for spec in self.signature.outputs
        }
        places = [array.ctypes.data for array in (*inputs, *outputs.values(), self._work)]
        with self._lock:
            self._run_model(*map(ctypes.c_void_p, places))
        return outputs

    def _close(self) -> None:
        del self._run_model
        if hasattr(_ctypes, "dlclose"):
            _ctypes.dlclose(self._library._handle)


def _built_anew(artifact: Artifact, stack: ExitStack) -> Path:
    folder = as_folder(artifact, stack)
    library = folder / "here.so"
    build(folder, library)
    return library


def _aligned(size: int) -> Array:
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size]
