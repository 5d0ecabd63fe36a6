"""Programs of torch.export, as converters need them: read, looked over, in another precision."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch._ops import HigherOrderOperator, OpOverload
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.fx import Node
from torch.fx.node import map_arg

from modelport.errors import EngineError

GRAPH_INSTEAD = (
    "Take the way through the graph: choose an engine that compiles graphs with --engines"
)


def read(path: Path) -> ExportedProgram:
    """Raises EngineError: naming an operator that is not registered in this process."""
    with _listening() as said:
        try:
            return torch.export.load(path)
        except Exception as error:
            words = " ".join([str(error), *said])
            unknown = re.search(r"resolve torch\.ops\.([\w.]+) to an operator", words)
            if unknown is None:
                raise
            raise EngineError(
                f"The operator {unknown[1]} is not registered in the process that compiles the program",
                hint=GRAPH_INSTEAD,
            ) from error


@contextmanager
def _listening() -> Iterator[list[str]]:
    """What torch tells its log while it reads: the reasons of a failure are there alone."""
    said: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(logging.Formatter().format(record))

    log, handler = logging.getLogger("torch.export"), Handler()
    log.addHandler(handler)
    try:
        yield said
    finally:
        log.removeHandler(handler)


def changes_inputs(program: ExportedProgram) -> bool:
    """Whether a run writes into its inputs, so that it must be given copies.

    Raises:
        EngineError: where it writes into buffers: each run would depend on those before it.
    """
    written = _written(program)
    kinds = {spec.arg.name: spec for spec in program.graph_signature.input_specs}
    kept = [kinds[name].target or name for name in written if _is_kept(kinds[name].kind)]
    if kept:
        raise EngineError(
            f"The program changes its own {', '.join(sorted(kept))} when it runs, so no run would "
            "be like the one before",
            hint="Make that an input and an output of the module",
        )
    return bool(written)


def _is_kept(kind: InputKind) -> bool:
    return kind is not InputKind.USER_INPUT


def _written(program: ExportedProgram) -> set[str]:
    """Names of placeholders that the program writes into, through views of them too."""
    signature = program.graph_signature
    found = {*signature.buffers_to_mutate.values(), *signature.user_inputs_to_mutate.values()}
    names = {spec.target: spec.arg.name for spec in signature.input_specs if spec.target}
    found = {names.get(name, name) for name in found}
    for node in program.graph.nodes:
        if isinstance(node.target, OpOverload) and node.target._schema.is_mutable:
            arguments = zip(node.target._schema.arguments, node.args, strict=False)
            for argument, value in arguments:
                if argument.alias_info is not None and argument.alias_info.is_write:
                    found |= {root.name for root in _roots(value) if root.op == "placeholder"}
    return found


def _roots(value: Any) -> Iterator[Node]:
    """The nodes whose memory that value may be."""
    if isinstance(value, (list, tuple)):
        for each in value:
            yield from _roots(each)
    while isinstance(value, Node) and _may_be_its_argument(value):
        value = value.args[0]
    if isinstance(value, Node):
        yield value


def _may_be_its_argument(node: Node) -> bool:
    if not isinstance(node.target, OpOverload):
        return node.op == "call_function" and "getitem" in str(node.target)
    schema = node.target._schema
    named = any(each.alias_info is not None for each in schema.returns)
    return bool(node.args) and (named or "dropout" in schema.name)  # which rests, and gives it back


def refuse_branches(program: ExportedProgram, engine: str) -> None:
    """Raises EngineError for operators that hold programs of their own."""
    for node in program.graph.nodes:
        if isinstance(node.target, HigherOrderOperator):
            raise EngineError(
                f"{engine} cannot take torch's {node.target}, which the program has",
                hint=GRAPH_INSTEAD,
            )


COMPUTES = {
    "aten::bmm", "aten::addmm", "aten::baddbmm", "aten::matmul", "aten::mm", "aten::linear",
    "aten::einsum", "aten::scaled_dot_product_attention", "aten::convolution", "aten::conv1d",
    "aten::conv2d", "aten::conv3d", "aten::conv_transpose1d", "aten::conv_transpose2d",
    "aten::conv_transpose3d",
}  # fmt: skip
"""Operators whose arithmetic is most of the work, and is exact enough in bfloat16."""


def compute_in_bf16(program: ExportedProgram) -> None:
    """Convolutions and products in bfloat16, all between them in float32, inputs and outputs too."""
    for node in list(program.graph.nodes):
        if _is_work(node) and _is_float32(node):
            with program.graph.inserting_before(node):
                node.args = map_arg(node.args, _in_bf16)
                node.kwargs = map_arg(node.kwargs, _in_bf16)
            node.meta["val"] = node.meta["val"].to(torch.bfloat16)
            with program.graph.inserting_after(node):
                back = _cast(node, torch.float32)
            node.replace_all_uses_with(
                back, delete_user_cb=lambda user, back=back: user is not back
            )
            _rename_output(program, node.name, back.name)
    program.graph_module.recompile()


def _is_work(node: Node) -> bool:
    """Depthwise convolutions are not: they wait for memory, and lose the most."""
    if not isinstance(node.target, OpOverload) or node.target._schema.name not in COMPUTES:
        return False
    return "conv" not in node.target._schema.name or _channels_of_weight(node) != 1


def _channels_of_weight(convolution: Node) -> int | None:
    weight = convolution.args[1]
    return int(weight.meta["val"].shape[1]) if isinstance(weight, Node) else None


def _in_bf16(node: Node) -> Node:
    return _cast(node, torch.bfloat16) if _is_float32(node) else node


def _is_float32(node: Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and value.dtype == torch.float32


def _cast(node: Node, dtype: torch.dtype) -> Node:
    made = node.graph.call_function(torch.ops.aten.to.dtype, (node, dtype))
    made.meta = {**node.meta, "val": node.meta["val"].to(dtype)}
    return made


def _rename_output(program: ExportedProgram, old: str, new: str) -> None:
    for spec in program.graph_signature.output_specs:
        if spec.arg.name == old:
            spec.arg.name = new
