"""Runs a `.pte` file with the runtime that ExecuTorch's package brings for Python."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch

from modelport.engines.executorch.runtime import runtime
from modelport.engines.files import as_file
from modelport.engines.torch_programs.sessions import TorchSession
from modelport.types import Artifact


class ExecuTorchSession(TorchSession):
    def _open_files(self, artifact: Artifact) -> None:
        library = runtime()
        if self._threads and library._threadpool_get_thread_count() != self._threads:
            library._unsafe_reset_threadpool(self._threads)
        self._files = ExitStack()
        path = as_file(artifact.files["model"], "model.pte", self._files)  # read while it runs
        self._module = library._load_for_executorch(str(path))

    def _call(self, tensors: Sequence[torch.Tensor]) -> Any:
        return self._module.forward(tensors)

    def _close(self) -> None:
        del self._module
        self._files.close()
