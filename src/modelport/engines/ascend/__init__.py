"""Ascend: Huawei's NPUs, whose compiler `atc` comes with the CANN toolkit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from modelport.engines.base import Rules
from modelport.engines.preparing import Prepared, PreparingEngine
from modelport.types import Feeds, Target

if TYPE_CHECKING:
    import onnx_ir as ir


class Ascend(PreparingEngine):
    """The device is the chip as `npu-smi info` names it, `Ascend310P3` say."""

    name: ClassVar[str] = "ascend"
    tool: ClassVar[str] = "atc"
    tool_source: ClassVar[str] = "the CANN toolkit (https://www.hiascend.com/software/cann)"
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp16")
    rules: ClassVar[Rules] = Rules(
        opsets=(8, 18),
        legalize=("inline_functions", "lower_opset_18"),
        source="https://www.hiascend.com/document/detail/en/canncommercial/800/devaids/atc/"
        "atlasatcparam_16_0016.html",
    )

    def write_inputs(
        self, model: ir.Model, target: Target, directory: Path, calibration: Sequence[Feeds]
    ) -> Prepared:
        from modelport.engines.ascend.inputs import write_inputs

        return write_inputs(model, target, directory)

    def explain(self, log: str) -> str | None:
        """Its error codes, `EZ3003: No supported Ops kernel and engine are found for ...` say."""
        found = [f"{match['code']}: {match['text'].strip()}" for match in _ERROR.finditer(log)]
        return " | ".join(dict.fromkeys(found)) or None


_ERROR = re.compile(
    r"^\s*(?P<code>E[A-Z]?\d{4,5}):\s*"
    r"(?:\[PID:\s*\d+\]\s*)?(?:\d{4}-\d\d-\d\d-[\d:.]+\s*)?(?P<text>.+)$",
    re.MULTILINE,
)
