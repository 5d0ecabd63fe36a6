"""What PyTorch's own engines share: they compile programs of torch.export, and run in this process."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import ClassVar

from modelport.engines.base import Rules
from modelport.engines.converting import ConvertingEngine
from modelport.engines.routes import PROGRAM
from modelport.types import Target


class TorchEngine(ConvertingEngine):
    """A subclass writes `convert` and `_load`."""

    package: ClassVar[str | None] = "torch"
    module: ClassVar[str | None] = "torch"
    extra: ClassVar[str | None] = "torch"
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "bf16")
    routes: ClassVar[tuple[str, ...]] = (PROGRAM,)
    devices: ClassVar[tuple[str, ...]] = ("cpu",)
    deployable: ClassVar[bool] = False
    rules: ClassVar[Rules] = Rules(
        opsets=(1, 99),  # programs have operators of torch, not of an opset
        source="https://docs.pytorch.org/docs/2.13/export.html",
    )

    def refuses(self, target: Target) -> str | None:
        reason = super().refuses(target)
        if reason is None and target.precision == "bf16":
            from modelport.engines.torch_programs.processor import has_bf16

            if not has_bf16():
                reason = "this processor has no bfloat16 instructions"
        return reason

    def _made_by(self) -> dict[str, str]:
        shared = hashlib.sha256(Path(__file__).with_name("programs.py").read_bytes())
        return {**super()._made_by(), "programs": shared.hexdigest()}
