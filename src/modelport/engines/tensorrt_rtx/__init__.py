"""TensorRT for RTX: builds engines for NVIDIA's RTX GPUs ahead of time, on machines without one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from modelport.engines.base import Rules, Session
from modelport.engines.conversion import Conversion, Converted
from modelport.engines.converting import ConvertingEngine
from modelport.engines.gpu import GpuTarget, driver
from modelport.types import Artifact, Feeds, Target

if TYPE_CHECKING:
    import onnx_ir as ir

FIRST_WITH_FP8 = 89
"""Compute capability of Ada."""


class TensorRtRtx(ConvertingEngine):
    """`Target.device` is `cuda:N`, `sm86+sm89`, `workspace=MIB`, or several of these joined by commas.

    Unless it says otherwise one engine is built for every RTX GPU from Ampere (`sm80`) on; the GPU
    compiles the last step of it when it is loaded. Networks are strongly typed: the precision is
    written into the graph before it is handed over.
    """

    name: ClassVar[str] = "tensorrt-rtx"
    package: ClassVar[str | None] = "tensorrt-rtx-cu13-bindings"
    module: ClassVar[str | None] = "tensorrt_rtx_bindings"
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp16", "fp8", "int8")
    deployable: ClassVar[bool] = False
    requirements: ClassVar[Path | None] = Path(__file__).with_name("requirements.txt")
    rules: ClassVar[Rules] = Rules(
        opsets=(9, 24),
        quantization="qdq",
        legalize=("inline_functions",),
        source="https://docs.nvidia.com/deeplearning/tensorrt-rtx/latest/",
    )

    def cannot_run(self) -> str | None:
        if driver() is None:
            return "this machine has no NVIDIA GPU with a driver"
        return None

    def refuses(self, target: Target) -> str | None:
        reason = super().refuses(target)
        wanted = () if reason else GpuTarget.parse(target.device).capabilities
        if target.precision == "fp8" and any(number < FIRST_WITH_FP8 for number in wanted):
            reason = (
                f"fp8 needs a GPU from sm{FIRST_WITH_FP8} on, and {target.device!r} was asked for"
            )
        if reason is None and GpuTarget.parse(target.device).index is not None:
            reason = self.cannot_run() and (
                f"the device {target.device!r} is a GPU of this machine, which has none; a GPU elsewhere "
                "is spelled by its compute capability, sm89 say"
            )
        return reason

    def convert(self, job: Conversion) -> Converted:
        from modelport.engines.tensorrt_rtx.convert import convert

        return convert(job)

    def _compile(
        self, model: ir.Model, target: Target, directory: Path, calibration: Sequence[Feeds]
    ) -> Artifact:
        from modelport.quantize.typed import typed

        return super()._compile(typed(model, target.precision), target, directory, calibration)

    def _load(self, artifact: Artifact, threads: int) -> Session:
        from modelport.engines.tensorrt_rtx.session import TensorRtRtxSession

        return TensorRtRtxSession(artifact)
