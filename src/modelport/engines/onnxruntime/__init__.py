"""ONNX Runtime: on the CPU the engine that every installation has, elsewhere whatever its build can."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from modelport.engines.base import Engine, Rules, Session
from modelport.types import Artifact, Feeds, Target

if TYPE_CHECKING:
    import onnx_ir as ir


class OnnxRuntime(Engine):
    name: ClassVar[str] = "onnxruntime"
    package: ClassVar[str | None] = "onnxruntime"
    module: ClassVar[str | None] = "onnxruntime"
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "int8")
    layouts: ClassVar[tuple[str, ...]] = ("nchwc", "nchw")
    trusted: ClassVar[bool] = True
    rules: ClassVar[Rules] = Rules(
        opsets=(7, 24),
        quantization="qdq",
        completes=True,
        legalize=("unsigned_activations",),
        source="https://onnxruntime.ai/docs/reference/compatibility.html",
        operators=Path(__file__).with_name("operators.json"),
    )

    def refuses(self, target: Target) -> str | None:
        if target.precision == "bf16":
            return "ONNX Runtime's CPU provider has no bfloat16 convolutions or matrix products"
        reason = super().refuses(target)
        if reason is None and target.device != Target.device:
            from modelport.engines.onnxruntime.providers import device_problem

            reason = device_problem(target.device)
        return reason

    def _compile(
        self, model: ir.Model, target: Target, directory: Path, calibration: Sequence[Feeds]
    ) -> Artifact:
        from modelport.engines.onnxruntime.compile import compile_model

        return compile_model(model, target, directory)

    def _load(self, artifact: Artifact, threads: int) -> Session:
        from modelport.engines.onnxruntime.session import OnnxRuntimeSession

        return OnnxRuntimeSession(artifact, threads)

    def _open_in_memory(self, model: ir.Model, target: Target) -> Session | None:
        from modelport.engines.onnxruntime.compile import memory_session

        return memory_session(model, target)
