"""AOTInductor: the program as C++ that is compiled for this processor, run by LibTorch."""

from __future__ import annotations

import os
import shutil
from typing import ClassVar

from modelport.engines.base import Session
from modelport.engines.conversion import Conversion, Converted
from modelport.engines.torch_programs import TorchEngine
from modelport.types import Artifact, Target


class AotInductor(TorchEngine):
    name: ClassVar[str] = "aotinductor"
    limit_s: ClassVar[float] = 1800.0

    def refuses(self, target: Target) -> str | None:
        reason = super().refuses(target)
        compiler = os.environ.get("CXX", "g++")
        if reason is None and shutil.which(compiler) is None:
            reason = f"it compiles C++, and there is no {compiler} on PATH; install one, or name it in CXX"
        return reason

    def convert(self, job: Conversion) -> Converted:
        from modelport.engines.aotinductor.convert import convert

        return convert(job)

    def _load(self, artifact: Artifact, threads: int) -> Session:
        from modelport.engines.aotinductor.session import AotInductorSession

        return AotInductorSession(artifact, threads)
