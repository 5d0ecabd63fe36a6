"""TorchScript: one `.pt` file with code and weights, which LibTorch runs from C++ without Python."""

from __future__ import annotations

from typing import ClassVar

from modelport.engines.base import Session
from modelport.engines.conversion import Conversion, Converted
from modelport.engines.torch_programs import TorchEngine
from modelport.types import Artifact


class TorchScript(TorchEngine):
    name: ClassVar[str] = "torchscript"
    layouts: ClassVar[tuple[str, ...]] = ("nchw", "nhwc")

    def convert(self, job: Conversion) -> Converted:
        from modelport.engines.torchscript.convert import convert

        return convert(job)

    def _load(self, artifact: Artifact, threads: int) -> Session:
        from modelport.engines.torchscript.session import TorchScriptSession

        return TorchScriptSession(artifact, threads)
