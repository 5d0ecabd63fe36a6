"""Tries torch.export, and asks for each operator whether somebody translates it to ONNX."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import nn
from torch.fx.proxy import _STACK_TRACE_ANCHORS
from torch.onnx._internal.exporter import _dispatching
from torch.onnx._internal.exporter._core import _prepare_exported_program_for_export
from torch.onnx._internal.exporter._registration import ONNXRegistry

from modelport.errors import ModelportError
from modelport.frontends.explain import explained, quiet
from modelport.frontends.preflight.finding import Finding, Place, finding
from modelport.frontends.preflight.places import Places
from modelport.frontends.preflight.runs import Arguments, Runner, alike
from modelport.frontends.rewrites import Applied

# torch 2.13 has no public way to ask which operators its exporter translates, nor for lines in
# functions that `forward` calls.

Target = torch._ops.OpOverload
_DEPENDS = ("data-dependent", "Could not guard")
_NO_PLACE = Place()


@dataclass
class Attempt:
    """Attributes:
    program: what torch.export made of the module, the rewrites applied.
    error: why it made nothing.
    untranslated: findings for the operators that nobody translates.
    translations: of the rewrites, for the exporter's `custom_translation_table`.
    """

    program: torch.export.ExportedProgram | None = None
    error: Exception | None = None
    untranslated: list[Finding] = field(default_factory=list)
    translations: Mapping[Any, Callable[..., Any]] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        return self.program is not None and self.error is None and not self.untranslated


def attempt(
    applied: Applied, runner: Runner, example: Arguments, other: Sequence[Arguments], opset: int
) -> Attempt:
    """Exports the module with the sizes free that differ between the arguments."""
    made = Attempt(translations=applied.translations)
    args, kwargs = _roomy(example, other)
    try:
        with quiet(), _told_lines(runner.functions):
            program = torch.export.export(
                applied.module,
                args,
                kwargs,
                dynamic_shapes=dynamic_shapes(applied.module, example, other),
                strict=False,
            )
            made.program = applied.decompose(program)
            registry = _registry(opset, applied)
            decomposed = _prepare_exported_program_for_export(made.program, registry=registry)
        made.untranslated = list(_untranslated(decomposed, registry, runner.places))
    except Exception as error:
        made.error = error
    return made


@contextmanager
def _told_lines(functions: set[tuple[str, str]]) -> Iterator[None]:
    """Has torch.export note lines in these functions too; by itself it only looks at `forward`."""
    new = functions - _STACK_TRACE_ANCHORS
    _STACK_TRACE_ANCHORS.update(new)
    try:
        yield
    finally:
        _STACK_TRACE_ANCHORS.difference_update(new)


def _registry(opset: int, applied: Applied) -> ONNXRegistry:
    registry = copy.copy(_torchlib(opset))
    registry.functions = {name: list(known) for name, known in registry.functions.items()}
    for operator, translation in applied.translations.items():
        registry.register_op(operator, translation)
    return registry


@cache
def _torchlib(opset: int) -> ONNXRegistry:
    """Made once: that takes torch seconds."""
    return ONNXRegistry.from_torchlib(opset)


def _roomy(example: Arguments, other: Sequence[Arguments]) -> Arguments:
    """The arguments whose smallest free size is the largest.

    torch.export takes sizes of 0 and 1 for constants, also where the code computes them: half of 2.
    """
    axes = _free_axes(example, other)

    def room(arguments: Arguments) -> int:
        tensors = _tensors(arguments)
        return min((tensors[index].shape[axis] for index, axis in axes), default=0)

    return max([example, *other], key=room)


def _free_axes(example: Arguments, other: Sequence[Arguments]) -> set[tuple[int, int]]:
    """Index of the tensor, and axis, of every size that differs."""
    found = set()
    for each in other:
        for index, (one, two) in enumerate(zip(_tensors(example), _tensors(each), strict=False)):
            if one.dim() == two.dim():
                found |= {
                    (index, axis) for axis in range(one.dim()) if one.shape[axis] != two.shape[axis]
                }
    return found


def _tensors(tree: Any) -> list[torch.Tensor]:
    leaves = torch.utils._pytree.tree_leaves(tree)
    return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]


def sizes_vary(example: Arguments, other: Sequence[Arguments]) -> bool:
    return bool(_free_axes(example, other))


def dynamic_shapes(
    module: nn.Module, example: Arguments, other: Sequence[Arguments]
) -> dict[str, Any] | None:
    """What `torch.export` wants to know: by parameter of forward, and there by axis."""
    axes = _free_axes(example, other)
    if not axes:
        return None
    count = iter(range(len(_tensors(example))))

    def free(value: Any) -> dict[int, Any] | None:
        if not isinstance(value, torch.Tensor):
            return None
        index = next(count)
        return {axis: torch.export.Dim.DYNAMIC for place, axis in axes if place == index}

    args, kwargs = torch.utils._pytree.tree_map(free, example)
    return dict(inspect.signature(module.forward).bind(*args, **kwargs).arguments)


def _untranslated(
    program: torch.export.ExportedProgram, registry: ONNXRegistry, places: Places
) -> Iterator[Finding]:
    for part in program.graph_module.modules():
        for node in part.graph.nodes if isinstance(part, torch.fx.GraphModule) else ():
            if node.op == "call_function" and not _known(node, registry):
                name = _name(node.target)
                yield finding(
                    "untranslated",
                    "error",
                    f"The operator {name} has no translation to ONNX",
                    "Compose it of other operators, or register a rewrite that translates it",
                    places.of_node(node),
                )


def _name(target: Any) -> str:
    if not isinstance(target, Target):
        return str(target)
    return str(target.name())  # type: ignore[no-untyped-call]


def _known(node: torch.fx.Node, registry: ONNXRegistry) -> bool:
    function, _ = _dispatching.dispatch(node, registry)
    return function is not None


def failure(error: Exception, places: Places) -> tuple[Finding, bool]:
    """The finding for an export that fails, and whether it does so over the values of a tensor."""
    told = explained(error, places.module)
    depends = any(words in f"{error!r} {error.__cause__!r}" for words in _DEPENDS)
    return (
        finding(
            "branch" if depends else "fails",
            "error",
            told.seen,
            told.hint or "Rewrite that line with tensor operations",
            places.of_error(error),
        ),
        depends,
    )


def run_failure(error: Exception, places: Places) -> Finding:
    """For a module that fails by itself, before anything is exported."""
    seen = error.seen if isinstance(error, ModelportError) else " ".join(str(error).split())[:240]
    return finding(
        "fails",
        "error",
        f"The model itself fails: {type(error).__name__}: {seen or 'no message'}",
        "Check the sizes and element types of the inputs",
        places.of_error(error),
    )


def baked(
    attempted: Attempt, runs: Sequence[tuple[Arguments, dict[str, torch.Tensor]]]
) -> Finding | None:
    """Runs the exported program on other inputs, and compares it with the module."""
    assert attempted.program is not None
    if any("onnx_symbolic" in _name(node.target) for node in attempted.program.graph.nodes):
        return None  # a rewrite put nodes of ONNX there, which torch cannot run
    exported = attempted.program.module()
    for (args, kwargs), expected in runs:
        # A guard of torch.export may refuse the sizes; it names no line that helps.
        with suppress(Exception), torch.no_grad(), quiet():
            found = _tensors(exported(*args, **kwargs))
            wanted = list(expected.values())
            if len(found) == len(wanted) and not all(map(alike, found, wanted)):
                return finding(
                    "baked",
                    "error",
                    "The exported program gives other results than the module on a second input",
                    "Look for what Python computes from the values of tensors, and leave it to "
                    "torch",
                    _NO_PLACE,
                )
    return None
