"""Core ML: Apple's engine, converted for on any system and run on macOS."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

from modelport.engines.base import Rules, Session
from modelport.engines.conversion import Conversion, Converted
from modelport.engines.converting import ConvertingEngine
from modelport.engines.coreml.targets import deployment_target
from modelport.engines.routes import PROGRAM
from modelport.errors import EngineError
from modelport.types import Artifact, Dim, Signature, Target


class CoreMl(ConvertingEngine):
    """`Target.device` is the oldest system that must run the model, `ios17` unless it says otherwise.

    What comes out is an `.mlpackage` in a zip file. A session takes `cpu`, `gpu`, `ane` or `all` for
    its device, which is what Core ML calls compute units.
    """

    name: ClassVar[str] = "coreml"
    package: ClassVar[str | None] = "coremltools"
    module: ClassVar[str | None] = "coremltools"
    also_imports: ClassVar[tuple[str, ...]] = ("torch", "modelport.engines.torch_programs")
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp16")
    routes: ClassVar[tuple[str, ...]] = (PROGRAM,)
    deployable: ClassVar[bool] = False
    requirements: ClassVar[Path | None] = Path(__file__).with_name("requirements.txt")
    rules: ClassVar[Rules] = Rules(
        opsets=(1, 99),  # programs have operators of torch, not of an opset
        source="https://apple.github.io/coremltools/docs-guides/source/convert-pytorch.html",
    )

    def available(self) -> str | None:
        reason = super().available()
        if reason is None and find_spec("torch") is None:
            reason = (
                'it converts PyTorch programs, and torch is missing: pip install "modelport[torch]"'
            )
        return reason

    def cannot_run(self) -> str | None:
        return None if sys.platform == "darwin" else "Core ML runs on macOS alone"

    def refuses(self, target: Target) -> str | None:
        reason = super().refuses(target)
        if reason is None:
            deployment_target(target.device)
        return reason

    def _demand_sizes(self, signature: Signature) -> None:
        super()._demand_sizes(signature)
        for spec in signature.inputs:
            if any(isinstance(size, Dim) and size.maximum is None for size in spec.shape):
                raise EngineError(
                    f"coreml wants an upper bound for every size, and {spec} has one without",
                    hint=f"Say what is the most, as in --input {spec.name}=1..16x3x224x224",
                )

    def convert(self, job: Conversion) -> Converted:
        from modelport.engines.coreml.convert import convert

        return convert(job)

    def _load(self, artifact: Artifact, threads: int) -> Session:
        from modelport.engines.coreml.session import CoreMlSession

        return CoreMlSession(artifact)
