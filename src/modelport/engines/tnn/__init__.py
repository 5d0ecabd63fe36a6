"""TNN: Tencent's engine for phones, whose converter is a script of its source."""

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


class Tnn(PreparingEngine):
    name: ClassVar[str] = "tnn"
    tool: ClassVar[str] = "convert2tnn"
    tool_source: ClassVar[str] = "TNN (https://github.com/Tencent/TNN)"
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp16", "int8")
    rules: ClassVar[Rules] = Rules(
        opsets=(11, 11),
        quantization="own",
        free_sizes=False,
        legalize=("inline_functions", "decompose_groupnorm", "lower_opset_11"),
        source="https://github.com/Tencent/TNN/blob/master/doc/en/user/onnx2tnn_en.md",
    )

    def tools(self, target: Target) -> tuple[str, ...]:
        return (self.tool, "quantization_cmd") if target.precision == "int8" else (self.tool,)

    def write_inputs(
        self, model: ir.Model, target: Target, directory: Path, calibration: Sequence[Feeds]
    ) -> Prepared:
        from modelport.engines.tnn.inputs import write_inputs

        return write_inputs(model, target, directory, calibration)

    def explain(self, log: str) -> str | None:
        """`error::op convert failed onnx:Einsum` of the converter, or what its quantizer could not do."""
        operators = dict.fromkeys(_OPERATOR.findall(log))
        if operators:
            return f"onnx2tnn has no {', '.join(operators)}"
        found = [match.strip() for match in _ERROR.findall(log)]
        return " | ".join(dict.fromkeys(found)) or None


_OPERATOR = re.compile(r"error::op convert failed onnx:\s*(\w+)")
_ERROR = re.compile(
    r"^.*(?:can not contain spaces|does not exist!|You should use -in|compile onnx2tnn first"
    r"|Conversion to +tnn failed|Converter ONNX to TNN model failed|calibration \w+ failed"
    r"|no valid input file found|read \w+_file failed|failed: ret -?\d+).*$",
    re.MULTILINE,
)
