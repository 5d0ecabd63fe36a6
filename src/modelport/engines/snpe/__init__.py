"""SNPE: Qualcomm's Neural Processing SDK, for Snapdragon's CPU, GPU and DSP."""

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


class Snpe(PreparingEngine):
    """The device is a chip for which the quantized model is prepared ahead, `sm8550` say; or none."""

    name: ClassVar[str] = "snpe"
    tool: ClassVar[str] = "snpe-onnx-to-dlc"
    tool_source: ClassVar[str] = (
        "the Qualcomm Neural Processing SDK (https://www.qualcomm.com/developer/software/"
        "neural-processing-sdk-for-ai)"
    )
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp16", "int8")
    rules: ClassVar[Rules] = Rules(
        opsets=(9, 21),
        quantization="own",
        free_sizes=False,
        legalize=("inline_functions",),
        source="https://docs.qualcomm.com/bundle/publicresource/topics/80-63442-2/tools.html",
    )

    def tools(self, target: Target) -> tuple[str, ...]:
        return (self.tool, "snpe-dlc-quantize") if target.precision == "int8" else (self.tool,)

    def write_inputs(
        self, model: ir.Model, target: Target, directory: Path, calibration: Sequence[Feeds]
    ) -> Prepared:
        from modelport.engines.snpe.inputs import write_inputs

        return write_inputs(model, target, directory, calibration)

    def explain(self, log: str) -> str | None:
        """`No translation registered for op type onnx_einsum`, or the lines that it marks as errors."""
        operators = dict.fromkeys(_OPERATOR.findall(log))
        if operators:
            return f"the converter has no translation of {', '.join(operators)}"
        found = [match.strip() for match in _ERROR.findall(log)]
        return " | ".join(dict.fromkeys(found)) or None


_OPERATOR = re.compile(r"No translation registered for op type onnx_(\w+)")
_ERROR = re.compile(r"^.*?(?:\bERROR\b|\[ERROR\]|\bError:|error:)\s*[-:]?\s*(.+)$", re.MULTILINE)
