"""OpenVINO: on the CPU, and on GPUs and NPUs of Intel."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from modelport.engines.base import Engine, Rules, Session
from modelport.engines.routes import GRAPH, PROGRAM
from modelport.types import Artifact, Feeds, Signature, Target

if TYPE_CHECKING:
    import onnx_ir as ir


HALVES = ("gpu", "npu")
"""Devices whose short floats are fp16."""


class OpenVino(Engine):
    name: ClassVar[str] = "openvino"
    package: ClassVar[str | None] = "openvino"
    module: ClassVar[str | None] = "openvino"
    extra: ClassVar[str | None] = "openvino"
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "bf16", "int8")
    trusted: ClassVar[bool] = True
    """Of the CPU; GPUs and NPUs have fp16 too, and compute in it what is not quantized."""
    routes: ClassVar[tuple[str, ...]] = (GRAPH, PROGRAM)
    rules: ClassVar[Rules] = Rules(
        opsets=(7, 23),
        quantization="qdq",
        # Softmax of opset 11 and 12 is computed like that of 13; Swish is newer than its newest opset.
        legalize=(
            "inline_functions",
            "legalize_softmax",
            "decompose_swish",
            "unsigned_activations",
        ),
        source="https://docs.openvino.ai/2026/about-openvino/compatibility-and-support.html",
        operators=Path(__file__).with_name("operators.json"),
    )

    def refuses(self, target: Target) -> str | None:
        halves = target.device.lower().startswith(HALVES)
        reason = self.available()
        if reason is None and not (halves and target.precision == "fp16"):
            reason = super().refuses(target)
        if reason is None and (target.device, target.precision) != (Target.device, "fp32"):
            from modelport.engines.openvino.session import problem_of

            reason = problem_of(target)
        return reason

    def _compile(
        self, model: ir.Model, target: Target, directory: Path, calibration: Sequence[Feeds]
    ) -> Artifact:
        from modelport.engines.openvino.compile import compile_model

        return compile_model(model, target, directory)

    def _compile_program(
        self,
        program: Path,
        signature: Signature,
        target: Target,
        directory: Path,
        calibration: Sequence[Feeds],
    ) -> Artifact:
        from modelport.engines.openvino.compile import compile_program

        return compile_program(program, signature, target, directory)

    def _load(self, artifact: Artifact, threads: int) -> Session:
        from modelport.engines.openvino.session import OpenVinoSession

        return OpenVinoSession(artifact, threads)
