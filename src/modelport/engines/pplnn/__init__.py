"""PPLNN: OpenPPL's engine for servers, which is built from source."""

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


class Pplnn(PreparingEngine):
    """The device is `cpu` or `x86`, `arm`, or `cuda` with the number of a GPU: `cuda:1`."""

    name: ClassVar[str] = "pplnn"
    tool: ClassVar[str] = "pplnn"
    tool_source: ClassVar[str] = "PPLNN (https://github.com/openppl-public/ppl.nn)"
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp16", "int8")
    rules: ClassVar[Rules] = Rules(
        opsets=(11, 11),
        quantization="own",
        legalize=("inline_functions", "decompose_groupnorm", "lower_opset_11"),
        source="https://github.com/openppl-public/ppl.nn/blob/master/docs/en/"
        "onnx-model-opset-convert-guide.md",
    )

    def write_inputs(
        self, model: ir.Model, target: Target, directory: Path, calibration: Sequence[Feeds]
    ) -> Prepared:
        from modelport.engines.pplnn.inputs import write_inputs

        return write_inputs(model, target, directory, calibration)

    def explain(self, log: str) -> str | None:
        found = [match["text"].strip() for match in _ERROR.finditer(log)]
        return " | ".join(dict.fromkeys(found)) or None


_ERROR = re.compile(r"^\[ERROR\](?:\[[^\]]*\])*\s*(?P<text>.+)$", re.MULTILINE)
