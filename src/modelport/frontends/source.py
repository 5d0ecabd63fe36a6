"""What a user hands over: a model with all that belongs to it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from modelport.types import Feeds, Outputs

if TYPE_CHECKING:
    from pathlib import Path

    import onnx_ir as ir

    from modelport.engines.base import Session
    from modelport.frontends.options import ExportOptions
    from modelport.frontends.rewrites import Fired, Rewrite
    from modelport.runtime.transforms import Transform


@dataclass(frozen=True)
class Source:
    """A model and what one must know to use it.

    Attributes:
        model: an `nn.Module`, weights loaded or still to come; a `Network`; or the path of an ONNX file.
        inputs: one specification for each input, `"image=1x3x224x224"` say, ranges `a..b` where a
            size is free; or example tensors, whose shapes are then fixed. A list, a dictionary by
            name, or a single one.
        output_names: names of the outputs in the graph, in the order the module returns them; by
            default the keys of a dictionary that it returns, else `output` or `output_0` on.
        transforms: what turns a file into the first input, as in training; see
            `modelport.transforms`.
        task: what the outputs mean, a name of `modelport tasks`; `tensors` leaves them as they are.
        parameters: of the task, such as `{"scores": "probabilities", "top": 3}`; see its page.
        labels: class names by index, for tasks that have classes.
        licence: licence of the weights, an SPDX identifier where there is one.
        name: name of the model; by default that of its class or file.
        rewrites: the user's own, applied while exporting; see `modelport.rewrites`.
        operators: libraries with kernels for operators of other domains: paths, or packages such as
            `onnxruntime_extensions`; a list for ONNX Runtime, or lists by engine.
        notes: what the user should know of it, such as that its weights are random.
        examples: inputs that the model accepts, two or more, where random numbers are not: mappings
            from names to tensors, or `.npz` files. The export is traced and proved with them alone, so
            they should differ in every size that is free.
    """

    model: Any
    inputs: Any = None
    output_names: Sequence[str] | None = None
    transforms: Sequence[Transform] = ()
    task: str = "tensors"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    labels: Sequence[str] | None = None
    licence: str | None = None
    name: str | None = None
    rewrites: Sequence[Rewrite] = ()
    operators: Sequence[Any] | Mapping[str, Sequence[Any]] = ()
    notes: Sequence[str] = ()
    examples: Any = ()

    def with_settings(self, settings: Mapping[str, Any]) -> Source:
        """The same source with those fields replaced whose setting is not None."""
        known = {entry.name for entry in fields(self)}
        return replace(self, **{k: v for k, v in settings.items() if k in known and v is not None})


class LoadedSource(ABC):
    """A source that has been read and can be exported and run."""

    exporters: tuple[str, ...] = ()
    """Ways from this source to a graph, in the order to try them; empty where it is a graph."""

    source: Source
    options: ExportOptions
    name: str
    notes: list[str]
    """Things the user should know, such as a module that was switched out of training mode."""

    fired: Sequence[Fired] = ()
    """Rewrites that took part in the last export."""

    @abstractmethod
    def to_graph(self, exporter: str | None = None) -> ir.Model:
        """Exports the model; by default with the first of its exporters."""

    def write_program(self, path: Path) -> bool:
        """Writes what torch.export captures to a `.pt2`, for engines that need no graph.

        Its inputs and outputs stand in the order of the exported graph's. False where the source is no
        PyTorch program.

        Raises:
            ExportError: naming the line of the user's code that stops it.
        """
        return False

    @abstractmethod
    def oracle(self, graph: ir.Model) -> Session:
        """A session that runs the source itself under the names of that graph, which it has exported."""

    def exact(self, graph: ir.Model, feeds: Feeds) -> Outputs | None:
        """What the source gives for the feeds in double precision; None where it cannot tell."""
        return None

    @abstractmethod
    def example_feeds(self, seed: int) -> Feeds:
        """Feeds that the model accepts; another seed gives other values."""

    def other_sizes(self, seed: int) -> list[Feeds]:
        """Feeds of a typical and of the largest sizes, where sizes are free; else none."""
        return []

    def further_feeds(self) -> list[Feeds]:
        """Feeds that reach what random ones may not, such as the other side of a branch."""
        return []
