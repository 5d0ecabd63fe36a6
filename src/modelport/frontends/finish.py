"""What every exporter is given, and what is done to every graph that one has written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import onnx_ir as ir
import torch

from modelport.frontends.adapter import PREFIX, Adapter, unprefixed
from modelport.frontends.marks import marking, settle_marks
from modelport.frontends.rewrites import Applied, Fired, Rewrite, applied
from modelport.graph import functions, invariants, provenance
from modelport.graph.query import set_bounds
from modelport.types import TensorSpec


@dataclass
class Job:
    """Attributes:
    specs: names and sizes of the inputs of the adapter, by position.
    examples: tensors of those sizes to trace with; free sizes must be 2 or more.
    opset: version of the standard operators to write; None takes the exporter's default.
    fired: rewrites that took part, noted while exporting.
    functions: that say what nodes which rewrites write mean.
    """

    adapter: Adapter
    specs: Sequence[TensorSpec]
    examples: tuple[torch.Tensor, ...]
    output_names: Sequence[str]
    output_ranks: Sequence[int] = ()
    opset: int | None = None
    engine: str | None = None
    rewrites: Sequence[Rewrite] = ()
    fired: list[Fired] = field(default_factory=list)
    functions: Sequence[ir.Function] = ()

    @contextmanager
    def rewritten(self, exporter: str, *, program: bool = False) -> Iterator[Applied]:
        """Rewrites in place, and gradients off for capture and translation alike.

        With gradients attention runs in another kernel, whose results lie otherwise in memory; where
        torch looks twice and not both times the same way, it finds views that are impossible.
        """
        extra = list(self.rewrites)
        with (
            applied(
                self.adapter, exporter=exporter, engine=self.engine, extra=extra, program=program
            ) as changes,
            marking(exporter) as translations,
            torch.no_grad(),
        ):
            self.functions = changes.functions
            changes.translations.update(translations)
            yield changes

    def note(self, fired: Sequence[Fired]) -> None:
        """Keeps what took part, under the user's own module paths."""
        self.fired = [
            replace(each, module_path=each.module_path and unprefixed(each.module_path))
            for each in fired
        ]


def finished(model: ir.Model, job: Job) -> ir.Model:
    """Names, bounds and provenance as every graph of ours has them."""
    _give_outputs_apart(model, job)
    for value, spec in zip(model.graph.inputs, job.specs, strict=True):
        set_bounds(value, spec)
    for value, rank in zip(model.graph.outputs, job.output_ranks, strict=False):
        if value.shape is None:  # behind a Loop or If of a script
            value.shape = ir.Shape([f"{value.name}_{axis}" for axis in range(rank)])
    settle_marks(model)
    functions.attach(model, job.functions)
    _type_sequences(model)
    _name_free_dimensions(model, job.specs)
    provenance.adopt_torch_metadata(model)
    _remove_prefix(model)
    provenance.name_nodes(model)
    invariants.check(model)
    return model


def _give_outputs_apart(model: ir.Model, job: Job) -> None:
    """A program may return an input, or one value twice; exporters then name the input as the output."""
    taken = set(model.graph.inputs)
    again = [index for index, value in enumerate(model.graph.outputs) if _is_again(value, taken)]
    for index in again:
        value = model.graph.outputs[index]
        node = ir.node("Identity", [value])
        node.outputs[0].type, node.outputs[0].shape = value.type, value.shape
        model.graph.append(node)
        model.graph.outputs[index] = node.outputs[0]
    if again:
        names = [*(spec.name for spec in job.specs), *job.output_names]
        for value, name in zip([*model.graph.inputs, *model.graph.outputs], names, strict=True):
            value.name = name


def _is_again(value: ir.Value, taken: set[ir.Value]) -> bool:
    found = value in taken
    taken.add(value)
    return found


def _type_sequences(model: ir.Model) -> None:
    """torch's exporter types a sequence as the tensor that it holds, which no checker accepts."""
    for node in model.graph.all_nodes():
        (*_, result) = node.outputs
        if node.op_type == "SplitToSequence" and isinstance(result.type, ir.TensorType):
            result.type, result.shape = ir.SequenceType(result.type), None


def _name_free_dimensions(model: ir.Model, specs: Sequence[TensorSpec]) -> None:
    """Calls the exporter's symbols (`s23`) as the user does, else by the input and axis they begin at."""
    names: dict[str | None, str] = {
        size.value: _given_name(spec, axis) or f"{value.name}_{axis}"
        for value, spec in reversed(list(zip(model.graph.inputs, specs, strict=True)))
        for axis, size in enumerate(value.shape.dims if value.shape else ())
        if not isinstance(size, int) and size.value
    }
    results = [value for node in model.graph.all_nodes() for value in node.outputs]
    for value in [*model.graph.inputs, *results]:
        if value.shape is not None and any(_symbol(size) in names for size in value.shape.dims):
            value.shape = ir.Shape([names.get(_symbol(size), size) for size in value.shape.dims])


def _symbol(size: int | ir.SymbolicDim) -> str | None:
    return None if isinstance(size, int) else size.value


def _given_name(spec: TensorSpec, axis: int) -> str | None:
    size = spec.shape[axis]
    return None if isinstance(size, int) else size.name


def _remove_prefix(model: ir.Model) -> None:
    """Takes the adapter off the paths of modules and the names of weights."""
    for node in model.graph.all_nodes():
        path = node.metadata_props.get(provenance.MODULE)
        if path is not None:
            node.metadata_props[provenance.MODULE] = unprefixed(path)
        if node.metadata_props.get(provenance.CLASS, "").startswith(_ADAPTER):
            del node.metadata_props[provenance.CLASS]
    taken = {value.name for node in model.graph.all_nodes() for value in node.outputs}
    taken |= {value.name for value in model.graph.inputs}
    for name, value in list(model.graph.initializers.items()):
        plain = unprefixed(name)
        if name.startswith(f"{PREFIX}.") and plain not in taken | set(model.graph.initializers):
            del model.graph.initializers[name]
            value.name = plain
            model.graph.initializers[plain] = value


_ADAPTER = Adapter.__module__
