"""An `nn.Module` as a source."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from modelport.engines.base import Session
from modelport.errors import SourceError, UsageError
from modelport.feeds import random_array, random_other_sizes
from modelport.frontends.source import LoadedSource, Source
from modelport.frontends.torch_export import DEFAULT_OPSET, export, run_eagerly
from modelport.frontends.weights import load_weights
from modelport.graph.query import signature_of
from modelport.types import Array, Dim, Feeds, Outputs, Signature, TensorSpec


class TorchModule(LoadedSource):
    def __init__(self, source: Source, weights: str | Path | None) -> None:
        module = source.model
        if not isinstance(module, nn.Module):
            raise SourceError(
                f"The source is a {type(module).__name__}",
                expected="an nn.Module, a modelport.Source, FILE.py:FUNCTION or a path to .onnx",
            )
        self.source = source
        self.name = source.name or type(module).__name__
        self.notes: list[str] = []
        self.specs, self._examples = _read_inputs(source.inputs, module)
        if weights is not None:
            load_weights(module, Path(weights))
        self.module = module.eval()
        self._signature: Signature | None = None

    def to_graph(self, opset: int | None) -> ir.Model:
        examples = self._tensors(self.example_feeds(seed=0, smallest=False))
        names = run_eagerly(self.module, examples)
        model = export(
            self.module,
            self.specs,
            examples,
            opset=opset or DEFAULT_OPSET,
            output_names=self._output_names(names),
        )
        self._signature = signature_of(model)
        return model

    def _output_names(self, found: list[str]) -> list[str]:
        """Those of the source, else those found; no value of a graph may share an input's name."""
        taken = {spec.name for spec in self.specs}
        if self.source.output_names is None:
            return [f"{name}_output" if name in taken else name for name in found]
        names = list(self.source.output_names)
        if len(names) != len(found) or len({*names, *taken}) != len(names) + len(taken):
            raise UsageError(
                f"The outputs are to be named {', '.join(names)}",
                expected=f"{len(found)} names, each once and none that an input has",
            )
        return names

    def oracle(self) -> Session:
        if self._signature is None:
            raise UsageError(
                "The oracle was asked for before the export", hint="Call to_graph first"
            )
        return ModuleSession(self.module, self._signature)

    def example_feeds(self, seed: int, smallest: bool = True) -> Feeds:
        """The user's example tensors for seed 0, otherwise seeded normal or small-integer values.

        Integers stay within those of the examples, where there are some: they may index a table.
        """
        if seed == 0 and self._examples is not None:
            return self._examples
        generator = np.random.default_rng(seed)
        if self._examples is not None:
            return {
                spec.name: _like(self._examples[spec.name], spec, generator) for spec in self.specs
            }
        return {
            spec.name: random_array(
                spec, spec.smallest() if smallest else _traced_shape(spec), generator
            )
            for spec in self.specs
        }

    def other_sizes(self, seed: int) -> list[Feeds]:
        return random_other_sizes(self.specs, seed)

    def _tensors(self, feeds: Feeds) -> tuple[torch.Tensor, ...]:
        return tuple(torch.from_numpy(np.array(feeds[spec.name])) for spec in self.specs)


class ModuleSession(Session):
    """Runs the module itself; inputs by position, outputs flattened in the order it returns them."""

    def __init__(self, module: nn.Module, signature: Signature) -> None:
        super().__init__(signature, "PyTorch")
        self._module = module

    def _run(self, feeds: Feeds) -> Outputs:
        tensors = [torch.from_numpy(np.array(feeds[spec.name])) for spec in self.signature.inputs]
        with torch.inference_mode():
            result = self._module(*tensors)
        leaves = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        return {
            spec.name: leaf.detach().cpu().numpy()
            for spec, leaf in zip(self.signature.outputs, leaves, strict=True)
        }


def _like(example: Array, spec: TensorSpec, generator: np.random.Generator) -> Array:
    if not np.issubdtype(example.dtype, np.integer) or not example.size:
        return random_array(spec, example.shape, generator)
    low, high = int(example.min()), int(example.max())
    return generator.integers(low, high, example.shape, dtype=example.dtype, endpoint=True)


def _traced_shape(spec: TensorSpec) -> tuple[int, ...]:
    """Sizes for tracing: torch.export takes a size of 0 or 1 for a constant, so free ones are 2 up."""
    return tuple(
        size if isinstance(size, int) else _within(size, max(2, size.minimum))
        for size in spec.shape
    )


def _within(size: Dim, wanted: int) -> int:
    return wanted if size.maximum is None else min(wanted, size.maximum)


def _read_inputs(inputs: Any, module: nn.Module) -> tuple[list[TensorSpec], Feeds | None]:
    """Specifications in the order of `forward`, and the example arrays where there were some."""
    if inputs is None:
        raise UsageError(
            f"The inputs of {type(module).__name__} are not known",
            expected="one specification for each input of forward",
            hint="Pass --input image=1x3x224x224, or inputs= in Python or in the Source",
        )
    items = _named(inputs, module)
    specs, examples = [], {}
    for name, item in items:
        if isinstance(item, TensorSpec):
            specs.append(item)
        elif isinstance(item, (torch.Tensor, np.ndarray)):
            array = item.detach().cpu().numpy() if isinstance(item, torch.Tensor) else item
            specs.append(TensorSpec(name, array.dtype.name, tuple(array.shape)))
            examples[name] = array
        else:
            text = str(item)
            specs.append(TensorSpec.parse(text if "=" in text else f"{name}={text}"))
    return specs, examples if len(examples) == len(specs) else None


def _named(inputs: Any, module: nn.Module) -> list[tuple[str, Any]]:
    if isinstance(inputs, Mapping):
        return _in_order(inputs, module)
    single = isinstance(inputs, (str, TensorSpec, torch.Tensor, np.ndarray))
    items: Sequence[Any] = [inputs] if single else list(inputs)
    names = _parameters(module)
    if len(items) > len(names):
        raise UsageError(
            f"{len(items)} inputs were given, and forward of {type(module).__name__} takes "
            f"{len(names)}"
        )
    return list(zip(names, items, strict=False))


def _in_order(inputs: Mapping[str, Any], module: nn.Module) -> list[tuple[str, Any]]:
    """Named inputs in the order of `forward`; under names of the user's own, as they are given."""
    names = _parameters(module)
    if not set(inputs) <= set(names):
        return [(str(name), item) for name, item in inputs.items()]
    chosen = [name for name in names if name in inputs]
    if chosen != names[: len(chosen)]:
        skipped = next(name for name in names if name not in inputs)
        raise UsageError(
            f"Inputs were given for {', '.join(chosen)}, and forward of {type(module).__name__} "
            f"takes {skipped!r} before the last of them",
            hint="Wrap the module in one whose forward takes just these inputs",
        )
    return [(name, inputs[name]) for name in chosen]


def _parameters(module: nn.Module) -> list[str]:
    """Names of what `forward` takes by position."""
    return [
        name
        for name, parameter in inspect.signature(module.forward).parameters.items()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
