"""Plain C: one file with the weights in it, for processors that no engine knows.

The artifact holds `model.c`, which needs a C99 compiler and nothing else, and `model.h`, which says how to
call it. Weights beyond 2 MiB, more than a microcontroller keeps, stand in `weights.bin` beside it. Nothing
is allocated: the caller lends the memory for what lies between the layers. To be measured here, the file
is also made into a library for this very processor, which needs `cc` or another C compiler. One thread.
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


class C(ConvertingEngine):
    name: ClassVar[str] = "c"
    package: ClassVar[str | None] = "emx-onnx-cgen"
    module: ClassVar[str | None] = "emx_onnx_cgen"
    also_imports: ClassVar[tuple[str, ...]] = ("onnx",)
    precisions: ClassVar[tuple[str, ...]] = ("fp32",)
    devices: ClassVar[tuple[str, ...]] = ("cpu",)
    deployable: ClassVar[bool] = False
    requirements: ClassVar[Path | None] = Path(__file__).with_name("requirements.txt")
    rules: ClassVar[Rules] = Rules(
        opsets=(9, 26),
        free_sizes=False,
        source="https://github.com/emmtrix/emx-onnx-cgen/blob/v1.4.0/SUPPORT_OPS.md",
        operators=Path(__file__).with_name("operators.json"),
    )

    def available(self) -> str | None:
        return super().available() or native.missing_compiler()

    def runs_here(self) -> bool:
        """What was compiled needs nothing of the generator."""
        return True

    def settings(self, model: ir.Model | None, target: Target) -> dict[str, Any]:
        return native.this_processor()

    def convert(self, job: Conversion) -> Converted:
        from modelport.engines.c.convert import convert

        return convert(job)

    def _load(self, artifact: Artifact, threads: int) -> Session:
        from modelport.engines.c.session import CSession

        return CSession(artifact, build_anew=bool(native.lacks(artifact)))
