"""Runs a module that IREE compiled."""

from __future__ import annotations

import numpy as np
from iree import runtime

from modelport.engines.base import Session
from modelport.types import Array, Artifact, Feeds, Outputs, TensorSpec

FUNCTION = "main"


class IreeSession(Session):
    """One thread is the caller's own. For more, a process has one pool, as large as was asked for first."""

    def __init__(self, artifact: Artifact, threads: int) -> None:
        super().__init__(artifact.signature, artifact.engine)
        if threads > 1:
            runtime.flags.parse_flags(f"--task_topology_group_count={threads}")
        config = runtime.Config("local-sync" if threads == 1 else "local-task")
        content = artifact.files["model"].view()
        module = runtime.VmModule.copy_buffer(config.vm_instance, content)
        context = runtime.SystemContext(config=config)
        context.add_vm_module(module)
        self._main = context.modules[module.name][FUNCTION]

    def _run(self, feeds: Feeds) -> Outputs:
        results = self._main(*(feeds[spec.name] for spec in self.signature.inputs))
        if len(self.signature.outputs) == 1:
            results = [results]
        pairs = zip(self.signature.outputs, results, strict=True)
        return {spec.name: _array(result, spec) for spec, result in pairs}

    def _close(self) -> None:
        del self._main


def _array(result: runtime.DeviceArray, spec: TensorSpec) -> Array:
    """A copy, as truth values come as bytes and memory is IREE's own."""
    return np.array(result.to_host(), dtype=spec.dtype)
