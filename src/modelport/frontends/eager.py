"""Runs the source itself: once to learn what it gives, then as the oracle for everything else."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from modelport.engines.base import Session
from modelport.errors import ExportError, ModelportError
from modelport.frontends.adapter import Adapter, Results, forgetting
from modelport.frontends.explain import first_sentence, place_of, quiet
from modelport.types import Feeds, Outputs, Signature


@dataclass(frozen=True)
class Trial:
    """What running the module showed.

    Attributes:
        results: by name, for the example inputs.
        left_out: names of results that are no tensors, with their type.
        changing: names of buffers that the call changes.
    """

    results: dict[str, torch.Tensor]
    left_out: list[str]
    changing: list[str]


def try_module(
    adapter: Adapter, examples: tuple[torch.Tensor, ...], *, may_carry: bool = False
) -> Trial:
    """Runs the module as it is, so that its own mistakes are not taken for those of an export.

    Args:
        may_carry: whether outputs may depend on buffers that earlier calls have changed.

    Raises:
        ExportError: where it fails on the example inputs, returns no tensor, gives other outputs the
            second time, or carries a state that its outputs depend on.
    """
    try:
        with torch.no_grad(), quiet():
            return _try(adapter, examples, may_carry)
    except ModelportError:
        raise
    except Exception as error:
        sizes = ", ".join("x".join(map(str, tensor.shape)) or "scalar" for tensor in examples)
        place, path = place_of(error, adapter)
        raise ExportError(
            f"The model itself fails on an input of {sizes}{f' at {place}' if place else ''}: "
            f"{type(error).__name__}: {first_sentence(error)}",
            hint="Check the sizes and element types given with --input; a model that does not accept "
            "random inputs is given some with --examples",
            module_path=path,
        ) from error


def _try(adapter: Adapter, examples: tuple[torch.Tensor, ...], may_carry: bool) -> Trial:
    versions = _versions(adapter.module)
    kept = {name: buffer.clone() for name, buffer in adapter.module.named_buffers()}
    first = _run(adapter, examples)
    changing = [name for name, v in _versions(adapter.module).items() if v != versions.get(name)]
    _restore(adapter.module, kept, changing)
    second = _run(adapter, examples)
    _restore(adapter.module, kept, changing)
    carried, attributes = _carried(adapter, examples)
    _restore(adapter.module, kept, changing)
    if not first.tensors:
        raise ExportError(
            "The model returns no tensor"
            + (f" but {', '.join(first.left_out)}" if first.left_out else ""),
            expected="at least one tensor, alone or in lists, dictionaries and dataclasses",
        )
    if not _alike(first, second):
        raise ExportError(
            "The model gives other outputs each time it runs on the same input",
            hint="Take the random operation out of forward, or make it a layer that rests in "
            "inference mode, as Dropout does",
        )
    if not (may_carry and changing) and not _alike(first, carried):
        raise ExportError(
            f"The outputs depend on what earlier calls left in {', '.join(changing or attributes)}",
            expected="outputs that depend on the inputs alone: a graph has no memory",
            hint="Pass --state to make these buffers inputs and outputs of the graph"
            if changing
            else "Register what is kept with register_buffer, and pass --state",
        )
    return Trial(first.tensors, first.left_out, changing)


def _carried(adapter: Adapter, examples: tuple[torch.Tensor, ...]) -> tuple[Results, list[str]]:
    """What a second call gives where nothing is put back after the first, and what that one set."""
    with forgetting(adapter.module):
        before = _attributes(adapter.module)
        adapter.forgets = False
        try:
            _run(adapter, examples)
            after = _attributes(adapter.module)
            results = _run(adapter, examples)
        finally:
            adapter.forgets = True
    return results, [name for name, value in after.items() if before.get(name) != value]


def _attributes(module: nn.Module) -> dict[str, int]:
    return {
        f"{path}.{name}".lstrip("."): id(value)
        for path, part in module.named_modules()
        for name, value in vars(part).items()
        if not name.startswith("_")
    }


def _run(adapter: Adapter, examples: tuple[torch.Tensor, ...]) -> Results:
    return adapter.results(*(tensor.clone() for tensor in examples))


def _versions(module: nn.Module) -> dict[str, tuple[int, int]]:
    return {name: (id(buffer), buffer._version) for name, buffer in module.named_buffers()}


def _restore(module: nn.Module, kept: dict[str, torch.Tensor], names: Sequence[str]) -> None:
    for name in names:
        path, _, key = name.rpartition(".")
        module.get_submodule(path)._buffers[key] = kept[name].clone()


@contextmanager
def preserved(module: nn.Module, names: Sequence[str]) -> Iterator[None]:
    """Gives buffers their values back when the context ends."""
    kept = {name: module.get_buffer(name).clone() for name in names}
    try:
        yield
    finally:
        _restore(module, kept, names)


def _alike(one: Results, other: Results) -> bool:
    """Equal but for the order in which threads add; a random operation differs by far more."""
    pairs = zip(one.tensors.values(), other.tensors.values(), strict=True)
    return all(a.shape == b.shape and _close(a, b) for a, b in pairs)


def _close(one: torch.Tensor, other: torch.Tensor) -> bool:
    wide = torch.complex128 if one.is_complex() else torch.float64
    return torch.allclose(one.to(wide), other.to(wide), rtol=1e-2, atol=1e-3, equal_nan=True)


class ModuleSession(Session):
    """Runs the module itself, as flat as its graph; buffers that it changes are put back."""

    def __init__(
        self, adapter: Adapter, signature: Signature, changing: Sequence[str] = ()
    ) -> None:
        super().__init__(signature, "PyTorch")
        self._adapter = adapter
        self._changing = list(changing)

    def _run(self, feeds: Feeds) -> Outputs:
        tensors = [torch.from_numpy(np.array(feeds[spec.name])) for spec in self.signature.inputs]
        with torch.no_grad(), quiet(), preserved(self._adapter.module, self._changing):
            results = self._adapter.results(*tensors).tensors.values()
        return {
            spec.name: value.detach().cpu().numpy()
            for spec, value in zip(self.signature.outputs, results, strict=True)
        }


def in_double_precision(adapter: Adapter, signature: Signature, feeds: Feeds) -> Outputs | None:
    """What a copy of the module gives where all its numbers are doubles.

    None where it does not run so, which it need not: it may ask for float32 by name.
    """
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64)
        copied = copy.deepcopy(adapter)
        copied.module.double()
        tensors = [_double(torch.from_numpy(np.array(feeds[s.name]))) for s in signature.inputs]
        with torch.no_grad(), quiet():
            results = copied.results(*tensors).tensors.values()
    except Exception:  # whatever the user's code raises when it meets doubles
        return None
    finally:
        torch.set_default_dtype(before)
    arrays = [value.detach().cpu().numpy() for value in results]
    return {s.name: array for s, array in zip(signature.outputs, arrays, strict=True)}


def _double(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor
