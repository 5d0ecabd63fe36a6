"""Horizon: the BPUs of Horizon Robotics and D-Robotics, whose compilers come in Docker images.

`hb_mapper` serves the older ones (bernoulli2 of RDK X3, bayes of Journey 5, bayes-e of RDK X5), `hb_compile`
those called nash (RDK S100, Journey 6).
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from modelport.engines.base import Rules
from modelport.engines.preparing import Prepared, PreparingEngine
from modelport.types import Feeds, Target

if TYPE_CHECKING:
    import onnx_ir as ir

MAPPER, COMPILER = "hb_mapper", "hb_compile"


class Horizon(PreparingEngine):
    """The device is the BPU's architecture, and behind a colon what it gets at run time: `bayes-e:nv12`."""

    name: ClassVar[str] = "horizon"
    tool: ClassVar[str] = MAPPER
    tool_source: ClassVar[str] = (
        "the OpenExplorer toolchain (https://developer.d-robotics.cc/rdk_doc/en/"
        "Advanced_development/toolchain_development/overview)"
    )
    precisions: ClassVar[tuple[str, ...]] = ("int8",)
    rules: ClassVar[Rules] = Rules(
        opsets=(10, 11),
        quantization="own",
        free_sizes=False,
        legalize=("inline_functions", "decompose_groupnorm", "lower_opset_11"),
        source="https://d-robotics.github.io/rdk_doc/en/Advanced_development/"
        "toolchain_development/overview",
    )

    def tools(self, target: Target) -> tuple[str, ...]:
        return (COMPILER,) if target.device.startswith("nash") else (MAPPER,)

    def available(self) -> str | None:
        """Either of the two will do: which one it takes is a matter of the device."""
        return None if shutil.which(COMPILER) else super().available()

    def write_inputs(
        self, model: ir.Model, target: Target, directory: Path, calibration: Sequence[Feeds]
    ) -> Prepared:
        from modelport.engines.horizon.inputs import write_inputs

        return write_inputs(model, target, directory, calibration)

    def explain(self, log: str) -> str | None:
        """`ERROR-OCCUR-DURING {horizon_nn.build_onnx} ***, error message: The opset version ...` say."""
        text = " ".join(log.split())
        named = [match["text"].strip() for match in _OCCURRED.finditer(text)]
        marked = [match["text"].strip() for match in _MARKED.finditer(log)]
        return " | ".join(dict.fromkeys(named or marked)) or None


_OCCURRED = re.compile(
    r"ERROR-OCCUR-DURING \{?(?P<text>[\w.-]+\}? ?\*\*\*, ?(?:error message: )?.+?)"
    r"(?= \d{4}-\d\d-\d\d | ERROR \*\*\*|$)"
)
_MARKED = re.compile(r"^[\d\-:,. ]*ERROR[:\s]+(?P<text>.+)$", re.MULTILINE)
