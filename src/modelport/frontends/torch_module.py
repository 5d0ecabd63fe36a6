"""An `nn.Module` as a source, or a part of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch import nn

from modelport.engines.base import Session
from modelport.errors import ExportError, ModelportError, SourceError, UsageError
from modelport.feeds import random_array, random_other_sizes, traced_sizes
from modelport.frontends.adapter import Adapter
from modelport.frontends.eager import (
    ModuleSession,
    Trial,
    in_double_precision,
    preserved,
    try_module,
)
from modelport.frontends.examples import traceable
from modelport.frontends.explain import quiet
from modelport.frontends.finish import Job
from modelport.frontends.fixed_reads import readable
from modelport.frontends.inputs import Inputs, read_inputs
from modelport.frontends.options import EXPORTERS, TORCH_EXPORT, ExportOptions
from modelport.frontends.part import Part
from modelport.frontends.source import LoadedSource, Source
from modelport.frontends.weights import load_weights
from modelport.graph.query import signature_of
from modelport.types import Array, Feeds, Outputs, TensorSpec

MOST_SEARCHED = 64
"""How many random inputs are tried to find one for every way through branches."""

INTEGERS = (100, 10, 2)
"""How large random integers may be; smaller ones are tried where the model refuses the larger."""


class TorchModule(LoadedSource):
    exporters: tuple[str, ...] = EXPORTERS

    def __init__(
        self, source: Source, weights: str | Path | None, options: ExportOptions | None = None
    ) -> None:
        module = demand_module(source.model)
        self._begin(source, type(module).__name__, options or ExportOptions())
        inputs = read_inputs(source.inputs, module, source.examples)
        if weights is not None:
            load_weights(module, Path(weights), trust=self.options.trust)
        self._set_up(module.eval(), inputs)

    def _begin(self, source: Source, default_name: str, options: ExportOptions) -> None:
        self.source = source
        self.name = source.name or default_name
        self.options = options
        self.notes: list[str] = list(source.notes)
        self._integers = INTEGERS[0]
        self._part: Part | None = None
        self._state: dict[str, Array] = {}
        self._ways: list[tuple[bool, ...]] = []

    def _set_up(self, module: nn.Module, inputs: Inputs) -> None:
        options = self.options
        self._whole = inputs
        if options.module is not None:
            self._part = Part(Adapter(module, inputs), options.module)
            first, *others = self._whole_feeds()
            inputs = self._part.inputs(first, others)
            module = self._part.module
        self._choose(Adapter(module, inputs, cuts=options.outputs), inputs.specs)
        self._trial = self._try()
        if options.state and self._trial.changing:
            self._carry_state(module, inputs)
        self._tell_of_the_trial()

    def _choose(self, adapter: Adapter, specs: Sequence[TensorSpec]) -> None:
        self.adapter = adapter
        self.specs = _renamed(specs, self.options.input_names)

    def _carry_state(self, module: nn.Module, inputs: Inputs) -> None:
        """Buffers that a call changes become inputs, and their values after it outputs."""
        self._state = {
            name: module.get_buffer(name).detach().clone().numpy() for name in self._trial.changing
        }
        specs = [TensorSpec(name, a.dtype.name, a.shape) for name, a in self._state.items()]
        cuts = self.options.outputs
        self._choose(
            Adapter(module, inputs, cuts=cuts, state=list(self._state)), [*inputs.specs, *specs]
        )
        self._trial = self._try()

    def _tell_of_the_trial(self) -> None:
        trial = self._trial
        self.notes += [f"the output {name} is no tensor and is left out" for name in trial.left_out]
        if trial.changing:
            self.notes.append(
                f"the model changes {', '.join(trial.changing)} when it runs, without effect on its "
                "outputs; the graph keeps the values"
            )

    def _whole_feeds(self) -> list[Feeds]:
        return [self._random(0), *_other_sizes(self._whole, 0)]

    def _try(self) -> Trial:
        """Runs the module; random integers become smaller where they index past the end of a table."""
        for most in INTEGERS:
            self._integers = most
            try:
                examples = self._tensors(self._traced_feeds())
                return try_module(self.adapter, examples, may_carry=self.options.state)
            except ExportError as error:
                if not isinstance(error.__cause__, IndexError) or most == INTEGERS[-1]:
                    raise
        raise AssertionError("unreachable")

    def to_graph(self, exporter: str | None = None) -> ir.Model:
        job = self._job()
        model = self._export(job, exporter or self.exporters[0])
        self.fired = job.fired
        return model

    def write_program(self, path: Path) -> bool:
        if TORCH_EXPORT not in self.exporters:
            return False
        from modelport.frontends import torch_export

        torch_export.write_program(self._job(), path)
        return True

    def _job(self) -> Job:
        self.adapter.fixed = readable(self.adapter.module, self._trial.changing)
        return Job(
            self.adapter,
            self.specs,
            self._tensors(self._traced_feeds()),
            output_names=self._output_names(list(self._trial.results)),
            output_ranks=[value.ndim for value in self._trial.results.values()],
            opset=self.options.opset,
            engine=self.options.engine,
            rewrites=self.source.rewrites,
        )

    def _export(self, job: Job, exporter: str) -> ir.Model:
        if exporter == TORCH_EXPORT:
            from modelport.frontends import branches, torch_export

            if not self.options.branches:
                return torch_export.export(job)
            self._ways = []
            return branches.export(job, self._ways)
        from modelport.frontends import torchscript

        return torchscript.export(job, self.options.time_limit_s)

    def _output_names(self, found: list[str]) -> list[str]:
        """Those of the source, else those found; no value of a graph may share an input's name."""
        taken = {spec.name for spec in self.specs}
        is_whole = self._part is None and not self.options.outputs
        wanted = self.options.output_names or (self.source.output_names if is_whole else None)
        if wanted is None:
            return [f"{name}_output" if name in taken else name for name in found]
        names = list(wanted)
        if len(names) != len(found) or len({*names, *taken}) != len(names) + len(taken):
            raise UsageError(
                f"The outputs are to be named {', '.join(names)}",
                expected=f"{len(found)} names, each once and none that an input has",
            )
        return names

    def oracle(self, graph: ir.Model) -> Session:
        return ModuleSession(self.adapter, signature_of(graph), self._trial.changing)

    def exact(self, graph: ir.Model, feeds: Feeds) -> Outputs | None:
        signature = signature_of(graph)
        return in_double_precision(self.adapter, signature, feeds)

    def example_feeds(self, seed: int) -> Feeds:
        """The user's example tensors for seed 0, otherwise seeded values of the smallest sizes.

        Integers stay within those of the examples, where there are some: they may index a table.
        """
        return self._of_the_part(self._random(seed))

    def other_sizes(self, seed: int) -> list[Feeds]:
        found = _other_sizes(self._whole, seed, self._integers)
        return [self._of_the_part(feeds) for feeds in found]

    def further_feeds(self) -> list[Feeds]:
        """One feed for each way through the branches that the first ones do not take.

        Random values are tried at several scales; a way that none of them takes is noted.
        """
        if not self._ways:
            return []
        from modelport.frontends.branches import way_of

        def way(feeds: Feeds) -> tuple[bool, ...]:
            with preserved(self.adapter.module, self._trial.changing):
                return way_of(self.adapter, self._tensors(feeds))

        left = set(self._ways) - {way(self.example_feeds(seed)) for seed in (1, 2)}
        found: list[Feeds] = []
        for seed in range(4, MOST_SEARCHED):
            if not left:
                break
            feeds = _scaled(self.example_feeds(seed), seed)
            if way(feeds) in left:
                left.remove(way(feeds))
                found.append(feeds)
        if left:
            self._note(
                f"of {len(self._ways)} ways through the branches, no random input took {len(left)}: "
                "these were not compared with the source"
            )
        return found

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def _traced_feeds(self) -> Feeds:
        return self._of_the_part(_traced_feeds(self._whole, self._integers))

    def _random(self, seed: int) -> Feeds:
        return _random_feeds(self._whole, seed, self._integers)

    def _of_the_part(self, feeds: Feeds) -> Feeds:
        """Feeds of the whole model as the exported part receives them, under the graph's names."""
        arrays = list(feeds.values()) if self._part is None else self._part.arrays(feeds)
        arrays += self._state.values()
        return {spec.name: array for spec, array in zip(self.specs, arrays, strict=True)}

    def _tensors(self, feeds: Feeds) -> tuple[torch.Tensor, ...]:
        return tuple(torch.from_numpy(np.array(feeds[spec.name])) for spec in self.specs)


def demand_module(model: Any) -> nn.Module:
    if not isinstance(model, nn.Module):
        raise SourceError(
            f"The source is a {type(model).__name__}",
            expected="an nn.Module, a modelport.Source, FILE.py:FUNCTION or a path to a model file",
        )
    return model


def arguments_for(
    source: Source, weights: str | Path | None, options: ExportOptions
) -> tuple[nn.Module, list[tuple[tuple[Any, ...], dict[str, Any]]]]:
    """The module with its weights, and arguments to call it with: other values, then other sizes."""
    module = demand_module(source.model)
    inputs = read_inputs(source.inputs, module, source.examples)
    if weights is not None:
        load_weights(module, Path(weights), trust=options.trust)

    def arguments(feeds: Feeds) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return inputs.bind([torch.from_numpy(np.array(array)) for array in feeds.values()])

    for most in INTEGERS:
        example = _traced_feeds(inputs, most)
        if not _runs_past_a_table(module, *arguments(example)):
            break
    others = [_random_feeds(inputs, seed, most) for seed in (1, 2)]
    others += _other_sizes(inputs, 3, most)
    return module, [arguments(feeds) for feeds in (example, *others)]


def _runs_past_a_table(module: nn.Module, args: Any, kwargs: Any) -> bool:
    """Whether random integers are too large for this model; any other mistake is not ours to find."""
    copy = [tensor.clone() for tensor in module.buffers()]
    try:
        with torch.no_grad(), quiet():
            module(*args, **kwargs)
    except IndexError:
        return True
    except ModelportError:
        raise  # the time is up
    except Exception:
        return False
    finally:
        with torch.no_grad():
            for tensor, before in zip(module.buffers(), copy, strict=False):
                if tensor.shape == before.shape:
                    tensor.copy_(before)
    return False


def _traced_feeds(inputs: Inputs, most: int) -> Feeds:
    """torch.export takes a size of 0 or 1 for a constant, so free ones are 2 up."""
    if inputs.given:
        return traceable(inputs.given, inputs.specs)
    if inputs.examples is not None:
        return inputs.examples
    generator = np.random.default_rng(0)
    return {
        spec.name: random_array(spec, shape, generator, most)
        for spec, shape in zip(inputs.specs, traced_sizes(inputs.specs), strict=True)
    }


def _random_feeds(inputs: Inputs, seed: int, most: int) -> Feeds:
    examples, specs = inputs.examples, inputs.specs
    if inputs.given:
        return inputs.given[seed % len(inputs.given)]
    if seed == 0 and examples is not None:
        return examples
    generator = np.random.default_rng(seed)
    if examples is not None:
        return {spec.name: _like(examples[spec.name], spec, generator) for spec in specs}
    return {spec.name: random_array(spec, spec.smallest(), generator, most) for spec in specs}


def _other_sizes(inputs: Inputs, seed: int, most: int = INTEGERS[0]) -> list[Feeds]:
    """Feeds of other sizes than the smallest; of a user's examples all, whatever their sizes."""
    return list(inputs.given) or random_other_sizes(inputs.specs, seed, most)


def _scaled(feeds: Feeds, seed: int) -> Feeds:
    """Floats as they are, negative, large, small, all positive, all negative in turn."""
    changes = (
        np.negative,
        lambda a: a * 10,
        lambda a: a * 0.1,
        np.abs,
        lambda a: -np.abs(a),
        np.copy,
    )
    change = changes[seed % len(changes)]
    return {
        name: change(array).astype(array.dtype)
        if np.issubdtype(array.dtype, np.floating)
        else array
        for name, array in feeds.items()
    }


def _renamed(specs: Sequence[TensorSpec], names: Sequence[str] | None) -> list[TensorSpec]:
    if names is None:
        return list(specs)
    if len(names) != len(specs) or len(set(names)) != len(names):
        raise UsageError(
            f"The inputs are to be named {', '.join(names)}",
            expected=f"{len(specs)} different names, for {', '.join(spec.name for spec in specs)}",
        )
    return [replace(spec, name=name) for spec, name in zip(specs, names, strict=True)]


def _is_one_sided(example: Array) -> bool:
    """Whether it holds floats that a root or logarithm may be taken of, and more than one."""
    if not np.issubdtype(example.dtype, np.floating) or not example.size:
        return False
    return bool(np.isfinite(example).all() and 0 <= example.min() < example.max())


def _like(example: Array, spec: TensorSpec, generator: np.random.Generator) -> Array:
    """Integers within those of the example; floats too, where none of them is negative."""
    if _is_one_sided(example):
        drawn = generator.uniform(example.min(), example.max(), example.shape)
        return drawn.astype(example.dtype)
    if not np.issubdtype(example.dtype, np.integer) or not example.size:
        return random_array(spec, example.shape, generator)
    low, high = int(example.min()), int(example.max())
    return generator.integers(low, high, example.shape, dtype=example.dtype, endpoint=True)
