"""Apache TVM: compiles the whole model to machine code of this processor, through LLVM.

TVM expects to be tuned, which takes hours; what it compiles untuned is 20 times slower than other engines.
Here it is not tuned, but convolutions are laid out channels last, and convolutions and products of
matrices get loops that keep a block of results in vector registers: about two to four times the time of ONNX
Runtime. The artifact is a library, linked with the C compiler of the machine that converts.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from modelport.engines import native
from modelport.engines.base import Rules, Session
from modelport.engines.conversion import Conversion, Converted
from modelport.engines.converting import ConvertingEngine
from modelport.engines.routes import GRAPH, PROGRAM
from modelport.types import Artifact, Target

if TYPE_CHECKING:
    import onnx_ir as ir


class Tvm(ConvertingEngine):
    name: ClassVar[str] = "tvm"
    package: ClassVar[str | None] = "apache-tvm"
    module: ClassVar[str | None] = "tvm"
    also_imports: ClassVar[tuple[str, ...]] = ("onnx", "torch")
    precisions: ClassVar[tuple[str, ...]] = ("fp32",)
    routes: ClassVar[tuple[str, ...]] = (GRAPH, PROGRAM)
    devices: ClassVar[tuple[str, ...]] = ("cpu",)
    deployable: ClassVar[bool] = False
    requirements: ClassVar[Path | None] = Path(__file__).with_name("requirements.txt")
    rules: ClassVar[Rules] = Rules(
        opsets=(9, 20),
        legalize=("inline_functions", "decompose_swish"),
        source="https://tvm.apache.org/docs/reference/api/python/relax/frontend.html",
        operators=Path(__file__).with_name("operators.json"),
    )

    def refuses(self, target: Target) -> str | None:
        return super().refuses(target) or native.missing_compiler()

    def settings(self, model: ir.Model | None, target: Target) -> dict[str, Any]:
        return native.this_processor()

    def convert(self, job: Conversion) -> Converted:
        from modelport.engines.tvm.convert import convert

        return convert(job)

    def _load(self, artifact: Artifact, threads: int) -> Session:
        from modelport.engines.tvm.session import TvmSession

        native.demand_processor(artifact)
        return TvmSession(artifact, threads)
