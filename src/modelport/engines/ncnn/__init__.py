"""ncnn: Tencent's engine for phones and small boards, on the CPU or a GPU with Vulkan; by pnnx."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from modelport.engines.base import Rules, Session
from modelport.engines.conversion import Conversion, Converted
from modelport.engines.converting import ConvertingEngine
from modelport.engines.routes import GRAPH, PROGRAM
from modelport.types import Artifact, Feeds, Target

if TYPE_CHECKING:
    import onnx_ir as ir


class Ncnn(ConvertingEngine):
    """fp16 keeps weights of sixteen bits and computes in them where the processor can (ARM); bf16 keeps
    what is between layers in bfloat16 too. int8 quantizes convolutions and products by ranges that a
    fp32 run over the calibration feeds shows; its package has no tool for that, so it is done here.
    """

    name: ClassVar[str] = "ncnn"
    package: ClassVar[str | None] = "ncnn"
    module: ClassVar[str | None] = "ncnn"
    also_imports: ClassVar[tuple[str, ...]] = ("pnnx", "torch")
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp16", "bf16", "int8")
    routes: ClassVar[tuple[str, ...]] = (GRAPH, PROGRAM)
    deployable: ClassVar[bool] = False
    requirements: ClassVar[Path | None] = Path(__file__).with_name("requirements.txt")
    rules: ClassVar[Rules] = Rules(
        opsets=(9, 24),
        quantization="own",
        legalize=("inline_functions",),
        source="https://github.com/Tencent/ncnn/wiki/use-ncnn-with-pytorch-or-onnx",
        operators=Path(__file__).with_name("operators.json"),
    )

    def convert(self, job: Conversion) -> Converted:
        from modelport.engines.ncnn.convert import convert

        return convert(job)

    def _compile(
        self, model: ir.Model, target: Target, directory: Path, calibration: Sequence[Feeds]
    ) -> Artifact:
        from modelport.engines.ncnn.forms import readable

        return super()._compile(readable(model), target, directory, calibration)

    def _load(self, artifact: Artifact, threads: int) -> Session:
        from modelport.engines.ncnn.session import NcnnSession

        return NcnnSession(artifact, threads)
