"""Writes the program that torch.export captured as TorchScript, frozen.

The program is scripted, not traced: a trace would keep the sizes of its example, and a script has them
as the program has them.
"""

from __future__ import annotations

import builtins
import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import fx, nn
from torch._ops import OpOverload, OpOverloadPacket
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, InputSpec
from torch.fx import Node
from torch.fx.node import map_arg

from modelport.engines.conversion import Conversion, Converted
from modelport.engines.torch_programs.programs import (
    GRAPH_INSTEAD,
    changes_inputs,
    compute_in_bf16,
    read,
    refuse_branches,
)
from modelport.errors import EngineError

MODEL = "model.pt"
NHWC = "nhwc"


def convert(job: Conversion) -> Converted:
    warnings.simplefilter("ignore")  # TorchScript is deprecated, and its readers know
    program = read(job.source)
    refuse_branches(program, "TorchScript")
    copies = changes_inputs(program)
    if job.target.precision == "bf16":
        compute_in_bf16(program)
    with torch.no_grad():
        scripted = _scripted(_module(program, job.target.layout))
        # Further, `optimize_for_inference` makes files that cannot be saved, and MobileNets slower.
        torch.jit.freeze(scripted).save(str(job.directory / MODEL))
    return Converted({"model": MODEL}, {"changes_inputs": True} if copies else {})


def _module(program: ExportedProgram, layout: str) -> nn.Module:
    if layout != NHWC:
        return _Flat(program, IN_SCRIPTS).module()
    module = _Flat(program, {**IN_SCRIPTS, **WITHOUT_STRIDES}).module()
    # Convolutions pass the layout of their weights on, elementwise operators that of their inputs.
    for name, value in list(module.named_buffers()):
        if value.dim() == 4:
            setattr(module, name, value.contiguous(memory_format=torch.channels_last))
    return module


def _scripted(module: nn.Module) -> torch.jit.ScriptModule:
    try:
        made: torch.jit.ScriptModule = torch.jit.script(module)
    except (RuntimeError, NotImplementedError) as error:  # torch's own errors of scripts among them
        words = " ".join(str(error).split())[:300]
        raise EngineError(
            f"TorchScript cannot say this program: {words}", hint=GRAPH_INSTEAD
        ) from error
    return made


IN_SCRIPTS: dict[Any, Callable[..., Any]] = {
    torch.ops.aten.sym_size.int: torch.ops.aten.size,
    torch.ops.aten.sym_numel.default: torch.ops.aten.numel,
    torch.sym_max: builtins.max,
    torch.sym_min: builtins.min,
    torch.sym_float: builtins.float,
    torch.sym_int: builtins.int,
}
"""What scripts call otherwise than programs do."""

WITHOUT_STRIDES: dict[Any, Callable[..., Any]] = {
    torch.ops.aten.view.default: torch.ops.aten.reshape,
    torch.ops.aten._unsafe_view.default: torch.ops.aten.reshape,
}
"""A view that was possible in the layout of the program may not be in another one."""

CHECKS = ("aten::_assert", "aten::sym_constrain_range")
"""Beginnings of the names of what only checks. Sizes are checked by the session."""


class _Flat:
    """Builds a module whose weights are its own attributes, and whose code is one plain function."""

    def __init__(self, program: ExportedProgram, calls: Mapping[Any, Callable[..., Any]]) -> None:
        self._program = program
        self._calls = calls
        self._root = nn.Module()
        self._graph = fx.Graph()
        self._count = 0
        self._places = {spec.arg.name: spec for spec in program.graph_signature.input_specs}
        self._made: dict[Node, Any] = {}

    def module(self) -> nn.Module:
        for node in self._program.graph.nodes:
            if node.op == "placeholder":
                self._made[node] = self._input(node, self._places[node.name])
            elif node.op == "call_function" and not _checks(node):
                self._made[node] = self._call(node)
            elif node.op == "output":
                results = self._told(tuple(node.args[0]))
                self._graph.output(results[0] if len(results) == 1 else results)
        self._graph.eliminate_dead_code(_is_operator)  # takes what the checks were about
        return fx.GraphModule(self._root, self._graph).train(False)

    def _input(self, node: Node, spec: InputSpec) -> Node:
        if spec.kind is InputKind.USER_INPUT:
            return self._graph.placeholder(node.name)
        program, name = self._program, str(spec.target)
        weights = program.state_dict if name in program.state_dict else program.constants
        return self._attribute(weights[name])

    def _attribute(self, value: Any) -> Node:
        name = f"value_{self._count}"
        self._count += 1
        if isinstance(value, torch.Tensor):
            self._root.register_buffer(name, value.detach())
        else:
            setattr(self._root, name, value)
        return self._graph.get_attr(name)

    def _call(self, node: Node) -> Node:
        target: Any = self._calls.get(node.target, node.target)
        if isinstance(target, OpOverload):
            target = target._overloadpacket
        return self._graph.call_function(target, self._told(node.args), self._told(node.kwargs))

    def _told(self, values: Any) -> Any:
        return map_arg(
            fx.node.map_aggregate(values, self._plain), lambda node: self._made.get(node, node)
        )

    def _plain(self, value: Any) -> Any:
        """Scripts have no names for numbers beyond all others."""
        beyond = isinstance(value, float) and not math.isfinite(value)
        return self._attribute(value) if beyond else value


def _is_operator(node: Node) -> bool:
    """Those may write into what others read, even where nobody takes their result."""
    return node.op != "call_function" or isinstance(node.target, OpOverloadPacket)


def _checks(node: Node) -> bool:
    return isinstance(node.target, OpOverload) and node.target._schema.name.startswith(CHECKS)
