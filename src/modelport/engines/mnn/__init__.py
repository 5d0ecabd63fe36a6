"""MNN: Alibaba's engine for phones, which runs on servers' processors as well."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from modelport.engines.base import Rules, Session
from modelport.engines.conversion import Conversion, Converted
from modelport.engines.converting import ConvertingEngine
from modelport.types import Artifact, Feeds, Target

if TYPE_CHECKING:
    import onnx_ir as ir


class Mnn(ConvertingEngine):
    """fp16 keeps weights of sixteen bits, and computes in them where the processor can (ARM).

    int8 keeps weights of eight bits, and sums up in integers: each run quantizes what goes into a
    layer by the range it finds there, so no calibration is needed. It pays on processors with
    instructions for such sums; on others it is smaller and slower than fp32.
    """

    name: ClassVar[str] = "mnn"
    package: ClassVar[str | None] = "MNN"
    module: ClassVar[str | None] = "MNN"
    also_imports: ClassVar[tuple[str, ...]] = ("_tools",)
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp16", "int8")
    devices: ClassVar[tuple[str, ...]] = ("cpu",)
    deployable: ClassVar[bool] = False
    requirements: ClassVar[Path | None] = Path(__file__).with_name("requirements.txt")
    rules: ClassVar[Rules] = Rules(
        opsets=(9, 24),
        quantization="own",
        legalize=("inline_functions", "decompose_groupnorm", "decompose_swish", "decompose_mish"),
        source="https://mnn-docs.readthedocs.io/en/latest/tools/convert.html",
        operators=Path(__file__).with_name("operators.json"),
    )

    def convert(self, job: Conversion) -> Converted:
        from modelport.engines.mnn.convert import convert

        return convert(job)

    def _compile(
        self, model: ir.Model, target: Target, directory: Path, calibration: Sequence[Feeds]
    ) -> Artifact:
        if target.precision == "fp16":
            from modelport.engines.mnn.rounding import rounded

            model = rounded(model)
        return super()._compile(model, target, directory, calibration)

    def _load(self, artifact: Artifact, threads: int) -> Session:
        from modelport.engines.mnn.session import MnnSession

        return MnnSession(artifact, threads)
