"""Applies rewrites for as long as a `with` block runs."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import onnx_ir as ir
import torch
from torch import nn

from modelport.frontends.rewrites.base import (
    TORCH_EXPORT,
    FunctionRewrite,
    ModuleRewrite,
    OperatorRewrite,
    Rewrite,
)
from modelport.frontends.rewrites.choose import BUILT_IN, OF_A_PACKAGE, OWN, Choice, choose
from modelport.frontends.rewrites.fired import Fired, Log
from modelport.frontends.rewrites.patch import (
    functions_replaced,
    modules_replaced,
    noted_translation,
    replacement_of,
    symbolics_registered,
)

Overload = torch._ops.OpOverload


class Applied:
    """Rewrites that are in place.

    Attributes:
        module: the one to export; another than was given only where a rewrite replaced the root.
        translations: for `custom_translation_table` of `torch.onnx.export`.
        decompositions: of operators into others; `decompose` uses them.
        functions: that say what nodes which rewrites write mean.
    """

    def __init__(self, module: nn.Module, log: Log) -> None:
        self.module = module
        self.translations: dict[Overload, Callable[..., Any]] = {}
        self.decompositions: dict[Overload, Callable[..., Any]] = {}
        self.functions: list[ir.Function] = []
        self._rewrites: dict[Overload, OperatorRewrite] = {}
        self._around: set[str] = set()
        self._log = log

    @property
    def fired(self) -> list[Fired]:
        """What was replaced so far, and where."""
        return self._log.fired

    def add(self, overload: Overload, rewrite: OperatorRewrite) -> None:
        """Puts the rewrite of an operator into the tables."""
        translation, decomposition = rewrite.translation(), rewrite.decomposition()
        if translation is not None:
            self.translations[overload] = noted_translation(rewrite, translation, self._log)
        if decomposition is not None:
            self.decompositions[overload] = decomposition
            self._rewrites[overload] = rewrite
            self._around.update(rewrite.inside)

    def decompose(self, program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
        """Breaks up operators; call it between `torch.export.export` and `torch.onnx.export`.

        Returns:
            The program itself where there is nothing to break up, else a new one.
        """
        while around := {node.target for node in _calls(program) if self._is_around(node)}:
            program = _broken_up(program, {op: _own_kernel(op) for op in around})
        table = {}
        for node in _calls(program):
            if self._is_concerned(node):
                self._log.note_node(self._rewrites[node.target].name, node)
                table[node.target] = self.decompositions[node.target]
        return _broken_up(program, table) if table else program

    def _is_concerned(self, node: torch.fx.Node) -> bool:
        rewrite = self._rewrites.get(cast(Overload, node.target))
        if rewrite is None:
            return False
        args, kwargs = torch.fx.map_arg((node.args, node.kwargs), lambda each: each.meta["val"])
        return rewrite.concerns(*args, **kwargs)

    def _is_around(self, node: torch.fx.Node) -> bool:
        target = node.target
        return isinstance(target, Overload) and target._schema.name in self._around


def _broken_up(
    program: torch.export.ExportedProgram, table: dict[Overload, Callable[..., Any]]
) -> torch.export.ExportedProgram:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch warns of its own code
        broken_up: torch.export.ExportedProgram = program.run_decompositions(table)
    return broken_up


def _own_kernel(overload: Overload) -> Callable[..., Any]:
    """How torch itself composes the operator of others."""
    key = torch._C.DispatchKey.CompositeImplicitAutograd
    return functools.partial(overload._op_dk, key)


def _calls(program: torch.export.ExportedProgram) -> Iterator[Any]:
    """The nodes that call an operator, those of branches too."""
    for part in program.graph_module.modules():
        if isinstance(part, torch.fx.GraphModule):
            yield from (node for node in part.graph.nodes if node.op == "call_function")


@contextmanager
def applied(
    module: nn.Module,
    *,
    exporter: str,
    engine: str | None = None,
    extra: Sequence[Rewrite] = (),
    program: bool = False,
) -> Iterator[Applied]:
    """Puts the rewrites that apply in place, and takes them away at the end, whatever happens.

    One thread at a time may do this: functions are replaced for the whole process. Within the block it
    may be done again; the inner rewrites then hold alone for the functions that they replace.

    Args:
        module: what is exported. Modules in it are replaced in the tree itself until the end.
        exporter: `torch.export` or `torchscript`.
        engine: the engine that the graph is for, where there is only one.
        program: whether no graph is to come of it, but a program for engines that take these.
        extra: the user's own; where two have one target, see `rewrites.choose` for the order.

    Raises:
        UsageError: for a target that does not exist, for two rewrites that are level, and for a
            rewrite that can't be meant.
        ExportError: where a rewrite fails to replace a module.
    """
    members = {
        origin: [each for each in found if not (program and each.graph_only)]
        for origin, found in _registered(extra).items()
    }
    chosen = choose(members, exporter=exporter, engine=engine)
    log = Log(module)
    with ExitStack() as stack:
        root = stack.enter_context(modules_replaced(_modules(chosen), module, log))
        stack.enter_context(functions_replaced(_functions(chosen, log), root))
        changes = Applied(root, log)
        operators = [
            (choice.overload, choice.rewrite)
            for choice in chosen
            if choice.overload is not None and isinstance(choice.rewrite, OperatorRewrite)
        ]
        if exporter == TORCH_EXPORT:
            for overload, rewrite in operators:
                changes.add(overload, rewrite)
        else:
            symbolics = {op._schema.name: each for op, each in operators if each.has_symbolic}
            stack.enter_context(symbolics_registered(symbolics, log))
        changes.functions += [each for _, rewrite in operators for each in rewrite.functions()]
        yield changes


def _registered(extra: Sequence[Rewrite]) -> dict[int, list[Rewrite]]:
    from modelport.frontends.rewrites import BUILTINS, REWRITES

    members: dict[int, list[Rewrite]] = {BUILT_IN: [], OF_A_PACKAGE: [], OWN: list(extra)}
    for name in REWRITES:
        members[BUILT_IN if name in BUILTINS else OF_A_PACKAGE].append(REWRITES.get(name))
    return members


def _modules(chosen: list[Choice]) -> dict[type, ModuleRewrite]:
    return {
        choice.place.value: choice.rewrite
        for choice in chosen
        if choice.place is not None and isinstance(choice.rewrite, ModuleRewrite)
    }


def _functions(chosen: list[Choice], log: Log) -> list[Any]:
    return [
        (choice.place, replacement_of(choice.rewrite, choice.place.original, log))
        for choice in chosen
        if choice.place is not None and isinstance(choice.rewrite, FunctionRewrite)
    ]
