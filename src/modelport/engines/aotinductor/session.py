"""Runs a package of AOTInductor."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch

from modelport.engines.files import as_file
from modelport.engines.torch_programs.processor import instructions
from modelport.engines.torch_programs.sessions import TorchSession
from modelport.errors import EngineError, EngineUnavailableError
from modelport.types import Artifact


class AotInductorSession(TorchSession):
    def _open_files(self, artifact: Artifact) -> None:
        _demand_processor(artifact)
        with ExitStack() as stack:
            path = as_file(artifact.files["model"], "model.pt2", stack)
            try:
                self._package = torch._inductor.aoti_load_package(str(path))
            except Exception as error:
                built = artifact.options.get("torch", torch.__version__)
                if built == torch.__version__:
                    raise
                raise EngineError(
                    f"aotinductor failed while loading: {' '.join(str(error).split())[:300]}",
                    hint=f"It was compiled for torch {built}, and this is {torch.__version__}",
                ) from error

    def _call(self, tensors: Sequence[torch.Tensor]) -> Any:
        return self._package(*tensors)

    def _close(self) -> None:
        del self._package


def _demand_processor(artifact: Artifact) -> None:
    """Native code ends the process where the processor lacks an instruction, so that is asked before."""
    missing = [
        each for each in artifact.options.get("instructions", ()) if each not in instructions()
    ]
    if missing:
        raise EngineUnavailableError(
            f"This artifact is compiled for a processor with {', '.join(missing)}, which this one "
            "is not",
            hint="Deploy again on a machine like this one, or open a variant of another engine",
        )
