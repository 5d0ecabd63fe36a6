"""TensorRT: engines for NVIDIA's GPUs, which `trtexec` builds on a machine that has the GPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from modelport.engines.base import Rules
from modelport.engines.preparing import Prepared, PreparingEngine
from modelport.types import Feeds, Target

if TYPE_CHECKING:
    import onnx_ir as ir


class TensorRt(PreparingEngine):
    """`Target.device` is `cuda:N`, `workspace=MIB`, or both joined by a comma.

    An engine runs on the kind of GPU that it was built on, with the version of TensorRT that built it.
    Precisions are written into the graph, as TensorRT 11 demands and 10 allows; only bf16, and int8 of
    a float graph with calibration feeds, ask for flags that TensorRT 11 no longer has.
    """

    name: ClassVar[str] = "tensorrt"
    tool: ClassVar[str] = "trtexec"
    tool_source: ClassVar[str] = "TensorRT 10 or 11 (https://developer.nvidia.com/tensorrt)"
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp16", "bf16", "fp8", "int8")
    rules: ClassVar[Rules] = Rules(
        opsets=(9, 24),
        quantization="qdq",
        legalize=("inline_functions",),
        source="https://docs.nvidia.com/deeplearning/tensorrt/latest/reference/command-line-programs.html",
    )

    def write_inputs(
        self, model: ir.Model, target: Target, directory: Path, calibration: Sequence[Feeds]
    ) -> Prepared:
        from modelport.engines.tensorrt.inputs import write_inputs

        return write_inputs(model, target, directory, calibration)

    def explain(self, log: str) -> str | None:
        from modelport.engines.tensorrt.log import errors_in

        return errors_in(log)
