"""Writes the program that torch.export captured as TorchScript, which pnnx reads."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.fx import GraphModule, Node

from modelport.engines.torch_programs.programs import changes_inputs, read, refuse_branches
from modelport.types import Signature

UNBIND = torch.ops.aten.unbind.int
SELECT = torch.ops.aten.select.int
PERMUTE = torch.ops.aten.permute.default
SIZE = torch.ops.aten.sym_size.int

CHECKS = ("_guards_fn", "aten._assert", "aten.sym_constrain")
"""Beginnings of the names of what only checks. Sizes are checked by the session."""


def write_script(
    program: Path, signature: Signature, shapes: Sequence[Sequence[int]], file: Path
) -> None:
    """Traces the program at these shapes of its inputs.

    Sizes that are free stay so where the program computes with them: it reads them from its inputs, and
    a trace follows that.
    """
    found = read(program)
    refuse_branches(found, "ncnn")
    changes_inputs(found)
    module = found.module()
    assert isinstance(module, GraphModule)
    _write_forms(module)
    kinds = [getattr(torch, spec.dtype) for spec in signature.inputs]
    examples = [torch.zeros(*s, dtype=kind) for s, kind in zip(shapes, kinds, strict=True)]
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated, and its readers know
        traced: Any = torch.jit.trace(module, tuple(examples), check_trace=False)  # type: ignore[no-untyped-call]
        traced.save(str(file))


def _write_forms(module: GraphModule) -> None:
    for node in list(module.graph.nodes):
        if str(node.target).startswith(CHECKS):
            module.graph.erase_node(node)
        elif node.target is SIZE:
            _read_size(node)
        elif node.target is UNBIND:
            _select_rows(node)
    for node in list(module.graph.nodes):
        if node.target is SELECT:
            _select_before_permute(node)
    module.graph.eliminate_dead_code()
    module.recompile()


def _read_size(node: Node) -> None:
    """By the method, whose results traces follow."""
    with node.graph.inserting_before(node):
        node.replace_all_uses_with(node.graph.call_method("size", node.args))


def _select_rows(node: Node) -> None:
    """Instead of taking a tensor apart whole."""
    source, axis = node.args[0], node.args[1] if len(node.args) > 1 else 0
    for reader in list(node.users):
        if reader.target is operator.getitem:
            with node.graph.inserting_before(reader):
                row = node.graph.call_function(SELECT, (source, axis, reader.args[1]))
            reader.replace_all_uses_with(row)


def _select_before_permute(node: Node) -> None:
    """As in attention: pnnx loses the batch where it has been moved among five axes."""
    permute: Any = node.args[0]
    if not isinstance(permute, Node) or permute.target is not PERMUTE:
        return
    order: Any = permute.args[1]
    axis = order[int(str(node.args[1])) % len(order)] % len(order)
    with node.graph.inserting_before(node):
        row = node.graph.call_function(SELECT, (permute.args[0], axis, node.args[2]))
        left = [each % len(order) for each in order if each % len(order) != axis]
        moved = node.graph.call_function(PERMUTE, (row, [each - (each > axis) for each in left]))
    node.replace_all_uses_with(moved)
