"""IREE: compiles the whole model to machine code of this processor, through MLIR and LLVM.

The artifact has what it needs in one file, code and weights; nothing but IREE's small runtime loads it.
Convolutions become products of matrices where IREE can do that, which halves their time. A conversion
takes from half a minute to a few minutes.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from modelport.engines import native
from modelport.engines.base import Rules, Session
from modelport.engines.conversion import Conversion, Converted
from modelport.engines.converting import ConvertingEngine
from modelport.types import Artifact, Target

if TYPE_CHECKING:
    import onnx_ir as ir


class Iree(ConvertingEngine):
    name: ClassVar[str] = "iree"
    package: ClassVar[str | None] = "iree-base-compiler"
    module: ClassVar[str | None] = "iree.compiler"
    also_imports: ClassVar[tuple[str, ...]] = ("onnx",)
    precisions: ClassVar[tuple[str, ...]] = ("fp32",)
    devices: ClassVar[tuple[str, ...]] = ("cpu",)
    deployable: ClassVar[bool] = False
    requirements: ClassVar[Path | None] = Path(__file__).with_name("requirements.txt")
    rules: ClassVar[Rules] = Rules(
        opsets=(9, 21),
        legalize=("inline_functions", "decompose_swish"),
        source="https://iree.dev/guides/ml-frameworks/onnx/",
        operators=Path(__file__).with_name("operators.json"),
    )

    def settings(self, model: ir.Model | None, target: Target) -> dict[str, Any]:
        return native.this_processor()

    def convert(self, job: Conversion) -> Converted:
        from modelport.engines.iree.convert import convert

        return convert(job)

    def _load(self, artifact: Artifact, threads: int) -> Session:
        from modelport.engines.iree.session import IreeSession

        native.demand_processor(artifact)
        return IreeSession(artifact, threads)
