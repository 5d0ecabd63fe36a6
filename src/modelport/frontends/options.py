"""How a source becomes a graph: everything a user may say about the export."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from modelport.errors import UsageError

AUTO = "auto"
TORCH_EXPORT = "torch.export"
TORCHSCRIPT = "torchscript"
EXPORTERS = (TORCH_EXPORT, TORCHSCRIPT)
"""In the order they are tried: the first keeps more of the module's structure."""

TIME_LIMIT_S = 600.0


@dataclass(frozen=True)
class ExportOptions:
    """Attributes:
    opset: version of the standard operators; None takes the exporter's default.
    exporter: `torch.export`, `torchscript`, or `auto` for the first that is right.
    cross_check: whether to run both exporters and keep the better of the correct graphs.
    module: dotted path of the part to export; the inputs stay those of the whole model.
    outputs: dotted paths of modules whose outputs become those of the graph.
    input_names, output_names: in the graph, in order; by default those of the module.
    branches: `join` exports a model with data-dependent `if`s once for each way through it, and
        joins these with If; None stops at such a branch.
    state: whether buffers that change become inputs and outputs of the graph.
    engine: engine for which rewrites of that scope are applied.
    trust: whether files may be unpickled, which can run any code in them.
    time_limit_s: how long opening and exporting may take, each.
    """

    opset: int | None = None
    exporter: str = AUTO
    cross_check: bool = False
    module: str | None = None
    outputs: Sequence[str] = ()
    input_names: Sequence[str] | None = None
    output_names: Sequence[str] | None = None
    branches: Literal["join"] | None = None
    state: bool = False
    engine: str | None = None
    trust: bool = False
    time_limit_s: float = TIME_LIMIT_S

    def __post_init__(self) -> None:
        if self.exporter not in (AUTO, *EXPORTERS):
            raise UsageError(
                f"There is no exporter {self.exporter!r}",
                expected=f"one of {', '.join((AUTO, *EXPORTERS))}",
            )
        if self.branches not in (None, "join"):
            raise UsageError(
                f"Branches cannot be treated as {self.branches!r}", expected="'join', or nothing"
            )
        if self.time_limit_s <= 0:
            raise UsageError(
                f"The time limit is {self.time_limit_s} s", expected="a positive number of seconds"
            )

    def to_try(self, able: Sequence[str]) -> list[str]:
        """The exporters to try, of those that the source is able to go through.

        Raises:
            UsageError: where the wanted one is not among these.
        """
        if self.exporter == AUTO:
            return list(able)
        if self.exporter not in able:
            raise UsageError(
                f"This source cannot go through the exporter {self.exporter}",
                expected=f"one of {', '.join(able)}" if able else "none: it is a graph already",
            )
        return [self.exporter]
