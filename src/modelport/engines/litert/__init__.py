"""LiteRT, the heir of TensorFlow Lite: for phones and small devices, from the program itself."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from modelport.engines.base import Rules, Session
from modelport.engines.conversion import Conversion, Converted
from modelport.engines.converting import ConvertingEngine
from modelport.engines.routes import PROGRAM
from modelport.types import Artifact


class LiteRt(ConvertingEngine):
    """Its converter, litert-torch, reads what torch.export captured; no graph lies between.

    fp16 means weights of half the size: a phone's GPU computes with them as they are, XNNPACK on a
    CPU makes them single when it loads. int8 is quantized after the conversion, from calibration feeds.
    """

    name: ClassVar[str] = "litert"
    package: ClassVar[str | None] = "ai-edge-litert"
    module: ClassVar[str | None] = "ai_edge_litert"
    also_imports: ClassVar[tuple[str, ...]] = (
        "torch",
        "litert_torch",
        "ai_edge_quantizer",
        "modelport.engines.torch_programs",
    )
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp16", "int8")
    routes: ClassVar[tuple[str, ...]] = (PROGRAM,)
    devices: ClassVar[tuple[str, ...]] = ("cpu",)
    deployable: ClassVar[bool] = False
    requirements: ClassVar[Path | None] = Path(__file__).with_name("requirements.txt")
    rules: ClassVar[Rules] = Rules(
        opsets=(1, 99),
        quantization="own",
        free_sizes=False,
        source="https://github.com/google-ai-edge/litert-torch",
    )

    def convert(self, job: Conversion) -> Converted:
        from modelport.engines.litert.convert import convert

        return convert(job)

    def _load(self, artifact: Artifact, threads: int) -> Session:
        from modelport.engines.litert.session import LiteRtSession

        return LiteRtSession(artifact, threads)
