"""Runs a TorchScript file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch

from modelport.engines.files import as_file
from modelport.engines.torch_programs.sessions import TorchSession
from modelport.types import Artifact


class TorchScriptSession(TorchSession):
    def _open_files(self, artifact: Artifact) -> None:
        with ExitStack() as stack:
            path = as_file(artifact.files["model"], "model.pt", stack)
            load: Callable[..., Any] = torch.jit.load
            self._module = load(str(path), map_location="cpu")

    def _call(self, tensors: Sequence[torch.Tensor]) -> Any:
        return self._module(*tensors)

    def _close(self) -> None:
        del self._module
