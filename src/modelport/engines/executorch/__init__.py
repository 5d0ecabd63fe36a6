"""ExecuTorch: PyTorch's own engine for phones and small devices, here with its XNNPACK backend."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from modelport.engines.base import Rules, Session
from modelport.engines.conversion import Conversion, Converted
from modelport.engines.converting import ConvertingEngine
from modelport.engines.routes import PROGRAM
from modelport.errors import EngineError
from modelport.types import Artifact, Dim, Signature


class ExecuTorch(ConvertingEngine):
    """Takes what torch.export captured; XNNPACK runs what it can, ExecuTorch's own kernels the rest.

    fp16 means half precision throughout, between inputs and outputs as they were; convolutions keep
    single weights in the file, since XNNPACK wants them so. int8 comes from calibration feeds.
    """

    name: ClassVar[str] = "executorch"
    package: ClassVar[str | None] = "executorch"
    module: ClassVar[str | None] = "executorch"
    also_imports: ClassVar[tuple[str, ...]] = (
        "torch",
        "torchao",
        "modelport.engines.torch_programs",
    )
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp16", "int8")
    routes: ClassVar[tuple[str, ...]] = (PROGRAM,)
    devices: ClassVar[tuple[str, ...]] = ("cpu",)
    deployable: ClassVar[bool] = False
    requirements: ClassVar[Path | None] = Path(__file__).with_name("requirements.txt")
    limit_s: ClassVar[float] = 1800.0
    rules: ClassVar[Rules] = Rules(
        opsets=(1, 99),  # programs have operators of torch, not of an opset
        quantization="own",
        source="https://docs.pytorch.org/executorch/stable/backends/xnnpack/xnnpack-overview.html",
    )

    def runs_here(self) -> bool:
        """Never: threads belong to its whole process, and sessions may want different numbers."""
        return False

    def _demand_sizes(self, signature: Signature) -> None:
        super()._demand_sizes(signature)
        endless = [
            str(spec)
            for spec in signature.inputs
            if any(isinstance(size, Dim) and size.maximum is None for size in spec.shape)
        ]
        if endless:
            raise EngineError(
                f"executorch plans its memory for the largest sizes, and {', '.join(endless)} has none",
                hint="Give each free size a maximum in --input, for example x=1..16x3x224x224",
            )

    def convert(self, job: Conversion) -> Converted:
        from modelport.engines.executorch.convert import convert

        return convert(job)

    def _load(self, artifact: Artifact, threads: int) -> Session:
        from modelport.engines.executorch.session import ExecuTorchSession

        return ExecuTorchSession(artifact, threads)
