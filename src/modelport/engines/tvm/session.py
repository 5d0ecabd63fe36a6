"""Runs a library that TVM compiled, in its virtual machine."""

from __future__ import annotations

from contextlib import ExitStack

import numpy as np
import tvm
from tvm import relax

from modelport.engines.base import Session
from modelport.engines.files import as_file
from modelport.types import Artifact, Feeds, Outputs

BIG_CORES = 1
"""The mode of TVM's threads that takes a number of them."""


class TvmSession(Session):
    """Threads belong to the process: of two sessions in one, the later decides for both."""

    def __init__(self, artifact: Artifact, threads: int) -> None:
        super().__init__(artifact.signature, artifact.engine)
        if threads > 0:
            tvm.get_global_func("runtime.config_threadpool")(BIG_CORES, threads)
        with ExitStack() as stack:
            path = as_file(artifact.files["model"], "model.so", stack)
            self._machine = relax.VirtualMachine(tvm.runtime.load_module(str(path)), tvm.cpu())
        self._main = self._machine["main"]

    def _run(self, feeds: Feeds) -> Outputs:
        inputs = [
            tvm.runtime.tensor(np.ascontiguousarray(feeds[spec.name]))
            for spec in self.signature.inputs
        ]
        results = self._main(*inputs)
        if isinstance(results, tvm.runtime.Tensor):
            results = [results]
        return {
            spec.name: result.numpy()
            for spec, result in zip(self.signature.outputs, results, strict=True)
        }

    def _close(self) -> None:
        del self._main, self._machine
