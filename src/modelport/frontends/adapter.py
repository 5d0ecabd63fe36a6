"""One shape of module for every exporter: flat tensors in, flat tensors out.

Users' modules take dictionaries, dataclasses and optional arguments, and return nested results. The
adapter stands around such a module, so an exporter need not know of any of that.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from copy import copy
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import nn
from torch.fx import Tracer
from torch.utils._pytree import tree_map_only

from modelport.errors import UsageError
from modelport.frontends.fixed_reads import FixedReads
from modelport.frontends.inputs import Inputs, leaves
from modelport.types import Array

PREFIX = "model"
"""Name of the user's module inside the adapter; `unprefixed` takes it off module paths."""


_OF_TORCH = frozenset(vars(nn.Module()))
"""Attributes that every module has: parameters, buffers, hooks."""


@contextmanager
def forgetting(module: nn.Module) -> Iterator[None]:
    """Puts plain attributes back at the end: what a call keeps in them is no part of a graph.

    Networks keep grids and masks of the last size there, which would fix that size while tracing.
    """
    parts = [part for part in module.modules() if not isinstance(part, torch.jit.ScriptModule)]
    kept = [(vars(part), _plain(vars(part))) for part in parts]
    try:
        yield
    finally:
        for now, before in kept:
            for name in [name for name in now if name not in before and name not in _OF_TORCH]:
                del now[name]
            for name, (value, content) in before.items():
                now[name] = value
                _refill(value, content)


def _plain(attributes: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Attributes that are not torch's own, with a copy of what containers among them hold."""
    return {
        name: (value, copy(value) if type(value) in (dict, list, set) else None)
        for name, value in attributes.items()
        if name not in _OF_TORCH
    }


def _refill(container: Any, content: Any) -> None:
    if content is None:
        return
    container.clear()
    container.extend(content) if isinstance(container, list) else container.update(content)


@dataclass(frozen=True)
class Results:
    """What a module returned: its tensors by name, and the names of what is no tensor."""

    tensors: dict[str, torch.Tensor]
    left_out: list[str]


class Adapter(nn.Module):
    """Calls the module with the tree that its flat inputs stand for, and flattens what it returns.

    Args:
        cuts: paths of modules whose outputs are returned in place of the model's own. The first call
            finds out how often each of them runs; later ones stop after the last.
        state: names of buffers that become inputs, and with their values after the call outputs.
    """

    def __init__(
        self,
        module: nn.Module,
        inputs: Inputs,
        *,
        cuts: Sequence[str] = (),
        state: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.add_module(PREFIX, module)
        self._inputs = inputs
        self._cuts = list(cuts)
        self._state = list(state)
        self._calls: dict[str, int] = {}
        self.training = module.training
        self.forgets = True
        self.fixed: dict[str, Array] = {}
        """Values that Python may read while torch traces; see `fixed_reads`."""

    @property
    def module(self) -> nn.Module:
        found = getattr(self, PREFIX)
        assert isinstance(found, nn.Module)
        return found

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        tracing = bool(self.fixed) and torch.compiler.is_exporting()
        with FixedReads(self.module, self.fixed) if tracing else nullcontext():
            return tuple(_apart(self.results(*tensors).tensors, tensors))

    def results(self, *tensors: torch.Tensor) -> Results:
        count = len(tensors) - len(self._state)
        given = dict(zip(self._state, tensors[count:], strict=True))
        with ExitStack() as stack:
            if self.forgets:
                stack.enter_context(forgetting(self.module))
            state = stack.enter_context(_replaced(self.module, given))
            args, kwargs = self._inputs.bind(tensors[:count])
            found = _flat(self._call(args, kwargs))
            found.tensors.update(state())
        return found

    def bound(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """What the module itself is called with, a `Leaf` in the place of every tensor."""
        return self._inputs.args, self._inputs.kwargs

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not self._cuts:
            return self.module(*args, **kwargs)
        with _Taps(self.module, self._cuts, self._calls) as taps, _tracers_that_unwind():
            try:
                self.module(*args, **kwargs)
            except Exception:
                if not taps.all_seen():  # else what comes after need not even work
                    raise
        self._calls = taps.calls
        return taps.found()


class _AllReached(Exception):
    """Every wanted output is there; nothing after it need run."""


@contextmanager
def _tracers_that_unwind() -> Iterator[None]:
    """torch.export's tracer counts modules in and out, and forgets those that an exception leaves."""
    original = Tracer.call_module

    def call_module(self: Tracer, *args: Any, **kwargs: Any) -> Any:
        depth = len(self.module_stack)
        try:
            return original(self, *args, **kwargs)
        except _AllReached:
            while len(self.module_stack) > depth:
                self.module_stack.popitem()
            raise

    Tracer.call_module = call_module  # type: ignore[method-assign]
    try:
        yield
    finally:
        Tracer.call_module = original  # type: ignore[method-assign]


class _Taps:
    """Keeps what named modules return, while the context is open; of several calls the last counts.

    Args:
        known: how often each of them is called, if that is known: after the last call the model stops.
    """

    def __init__(self, module: nn.Module, paths: Sequence[str], known: Mapping[str, int]) -> None:
        self._wanted = list(paths)
        self._known = known
        self.calls = dict.fromkeys(paths, 0)
        self._parts = {path: part(module, path) for path in paths}
        self._seen: dict[str, Any] = {}
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> _Taps:
        for path, module in self._parts.items():
            self._hooks.append(module.register_forward_hook(self._keeper(path)))
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def _keeper(self, path: str) -> Any:
        def keep(_: nn.Module, __: Any, result: Any) -> None:
            # What follows may change the tensor in place.
            self._seen[path] = tree_map_only(torch.Tensor, torch.clone, result)
            self.calls[path] += 1
            if self._known and all(self.calls[each] >= self._known[each] for each in self._wanted):
                raise _AllReached

        return keep

    def all_seen(self) -> bool:
        return all(self.calls.values())

    def found(self) -> dict[str, Any]:
        missing = [path for path in self._wanted if path not in self._seen]
        if missing:
            raise UsageError(
                f"The model never runs {', '.join(missing)} on its inputs",
                hint="Choose modules whose forward is called",
            )
        return {path: self._seen[path] for path in self._wanted}


def part(module: nn.Module, path: str) -> nn.Module:
    """The module at that dotted path; raises UsageError that offers the nearest ones."""
    known: dict[str, nn.Module] = dict(module.named_modules())
    if path in known:
        return known[path]
    near = difflib.get_close_matches(path, list(known), n=3)
    top = [name for name, _ in module.named_children()]
    raise UsageError(
        f"{type(module).__name__} has no module {path!r}",
        expected=f"a path below one of {', '.join(top)}" if top else None,
        hint=f"Perhaps you meant {' or '.join(map(repr, near))}" if near else None,
    )


def _flat(result: Any) -> Results:
    entries = list(leaves(result))
    if not _has_keys(result):
        entries = list(zip(_positions(entries), (value for _, value in entries), strict=True))
    tensors = {
        name: torch.view_as_real(value.resolve_conj()) if value.is_complex() else value
        for name, value in entries
        if isinstance(value, torch.Tensor)
    }
    left_out = [
        f"{name} ({type(value).__name__})"
        for name, value in entries
        if not isinstance(value, torch.Tensor) and value is not None
    ]
    return Results(tensors, left_out)


def _positions(entries: list[tuple[str, Any]]) -> list[str]:
    """`output` for a single tensor, else `output_0` on; with the keys of what is inside."""
    if any(not part.isdigit() for name, _ in entries for part in name.split(".") if part):
        return [f"output_{name}" if name else "output" for name, _ in entries]
    tensors = [isinstance(value, torch.Tensor) for _, value in entries]
    if sum(tensors) == 1:
        return [
            ("output" if is_one else f"output_{name}")
            for is_one, (name, _) in zip(tensors, entries, strict=True)
        ]
    counts = accumulate(tensors, initial=0)
    return [
        f"output_{count}" if is_one else f"output at {name}" if name else "output"
        for is_one, count, (name, _) in zip(tensors, counts, entries, strict=False)
    ]


def _has_keys(result: Any) -> bool:
    return (
        isinstance(result, Mapping)
        or dataclasses.is_dataclass(result)
        or hasattr(result, "_fields")
    )


def _apart(
    results: dict[str, torch.Tensor], inputs: Sequence[torch.Tensor]
) -> Iterator[torch.Tensor]:
    """A graph's outputs are values of their own: neither an input nor another output."""
    seen = {id(tensor) for tensor in inputs}
    for tensor in results.values():
        yield tensor.clone() if id(tensor) in seen else tensor
        seen.add(id(tensor))


@contextmanager
def _replaced(module: nn.Module, state: dict[str, torch.Tensor]) -> Iterator[Any]:
    """Puts tensors in the place of buffers; the yielded call gives what they have become."""
    owners = {name: _owner(module, name) for name in state}
    before = {name: owner._buffers[key] for name, (owner, key) in owners.items()}
    try:
        for name, (owner, key) in owners.items():
            owner._buffers[key] = state[name].clone()  # an input must not change under its caller
        yield lambda: {f"{name}.next": o._buffers[key] for name, (o, key) in owners.items()}
    finally:
        for name, (owner, key) in owners.items():
            owner._buffers[key] = before[name]


def _owner(module: nn.Module, name: str) -> tuple[nn.Module, str]:
    path, _, key = name.rpartition(".")
    owner = module.get_submodule(path)
    if key not in owner._buffers:
        raise UsageError(f"{type(module).__name__} has no buffer {name!r}")
    return owner, key


def unprefixed(path: str) -> str:
    """A path inside the adapter as the user knows it."""
    return "" if path == PREFIX else path.removeprefix(f"{PREFIX}.")
