"""ONNX Runtime on the CPU: the engine that every installation has."""

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
    trusted: ClassVar[bool] = True
    rules: ClassVar[Rules] = Rules(
        opsets=(7, 24),
        quantization="qdq",
        source="https://onnxruntime.ai/docs/reference/compatibility.html",
        operators=Path(__file__).with_name("operators.json"),
    )

    def refuses(self, target: Target) -> str | None:
        if target.precision == "bf16":
            return "ONNX Runtime's CPU provider has no bfloat16 convolutions or matrix products"
        return super().refuses(target)

    def _compile(
        self, model: ir.Model, target: Target, directory: Path, calibration: Sequence[Feeds]
    ) -> Artifact:
        from modelport.engines.onnxruntime.compile import compile_model

        return compile_model(model, directory)

    def _load(self, artifact: Artifact, threads: int) -> Session:
        from modelport.engines.onnxruntime.session import OnnxRuntimeSession

        return OnnxRuntimeSession(artifact, threads)

    def _open_in_memory(self, model: ir.Model, target: Target) -> Session | None:
        from modelport.engines.onnxruntime.compile import memory_session

        return memory_session(model, target.threads)
