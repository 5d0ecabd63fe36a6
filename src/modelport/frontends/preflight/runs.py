"""Runs a module as it is, and keeps what came out, what was seen and which lines ran."""

from __future__ import annotations

import copy
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, TypeAlias

import torch
from torch import nn

from modelport.frontends.explain import quiet
from modelport.frontends.inputs import leaves
from modelport.frontends.preflight.places import Places, is_code
from modelport.frontends.preflight.watch import Sighting, Watch

Arguments: TypeAlias = tuple[tuple[Any, ...], dict[str, Any]]
Tracer: TypeAlias = Callable[[FrameType, str, Any], Any]


@dataclass
class Run:
    """Attributes:
    outputs: the tensors that came out, by name.
    fixed: names of those that were not computed from the inputs.
    error: what was raised instead, where something was.
    """

    outputs: dict[str, torch.Tensor] = field(default_factory=dict)
    fixed: set[str] = field(default_factory=set)
    sightings: list[Sighting] = field(default_factory=list)
    error: Exception | None = None

    def agrees(self, other: Run) -> bool:
        return self.outputs.keys() == other.outputs.keys() and all(
            alike(tensor, other.outputs[name]) for name, tensor in self.outputs.items()
        )


class Runner:
    """Attributes:
    lines: the lines of the user's code, and of model libraries, that have run so far; by file.
    functions: file and name of the functions that they are in.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.places = Places(module, _call.__code__)
        self.lines: dict[str, set[int]] = defaultdict(set)
        self.functions: set[tuple[str, str]] = set()

    def run(self, arguments: Arguments) -> Run:
        """Runs the module once, on copies of the arguments."""
        args, kwargs = copy.deepcopy(arguments)
        watch = Watch(self.places, (args, kwargs))
        run = Run(sightings=watch.sightings)
        try:
            with torch.no_grad(), quiet(), self._noting_lines(), watch:
                result = _call(self.module, args, kwargs)
        except Exception as error:
            run.error = error
            return run
        for name, value in leaves(result):
            if isinstance(value, torch.Tensor):
                run.outputs[name or "output"] = value.detach().clone()
                if not watch.depends(value):
                    run.fixed.add(name or "output")
        return run

    @contextmanager
    def _noting_lines(self) -> Iterator[None]:
        before = sys.gettrace()
        sys.settrace(self._enter)
        try:
            yield
        finally:
            sys.settrace(before)

    def _enter(self, frame: FrameType, event: str, _: Any) -> Tracer | None:
        file = frame.f_code.co_filename
        if file not in self.lines:
            if not is_code(file):
                return None
            self.places.learn(file)
        ran = self.lines[file]
        self.functions.add((file, frame.f_code.co_name))

        def note(inner: FrameType, event: str, _: Any) -> Tracer:
            ran.add(inner.f_lineno)
            return note

        return note


def _call(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return module(*args, **kwargs)


def alike(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Equal but for the order in which threads add."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    wide = torch.complex128 if one.is_complex() else torch.float64
    return torch.allclose(one.to(wide), other.to(wide), rtol=1e-2, atol=1e-3, equal_nan=True)


def varied(arguments: Arguments, seed: int = 1) -> Arguments:
    """Arguments of the same sizes and kinds: elements in another order, real numbers negated."""
    generator = torch.Generator().manual_seed(seed)

    def change(value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or not value.numel():
            return value
        order = torch.randperm(value.numel(), generator=generator)
        mixed = value.detach().reshape(-1)[order].reshape(value.shape)
        return -mixed if value.is_floating_point() or value.is_complex() else mixed

    args, kwargs = torch.utils._pytree.tree_map(change, arguments)
    return args, kwargs
