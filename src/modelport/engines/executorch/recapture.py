"""Programs as modules that can be changed, and captured again under the sizes of the signature."""

from __future__ import annotations

from typing import Any

import torch
from torch.export import ExportedProgram

from modelport.types import Dim, Signature


def opened(program: ExportedProgram) -> torch.fx.GraphModule:
    """Without the node that checks inputs: what is captured again has checks of its own."""
    module = program.module()
    for node in list(module.graph.nodes):
        if node.op == "call_module" and node.target == "_guards_fn":
            module.graph.erase_node(node)
    module.recompile()
    return module


def captured(
    module: torch.nn.Module, program: ExportedProgram, signature: Signature
) -> ExportedProgram:
    """The module, which takes what the program took, as a program."""
    examples, _ = program.example_inputs or ((), {})
    with torch.no_grad():
        return torch.export.export(
            _Positional(module), tuple(examples), dynamic_shapes=_free(signature), strict=False
        )


class _Positional(torch.nn.Module):
    """Under one name for all inputs, so that sizes can be told by position."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *tensors: torch.Tensor) -> Any:
        return self.module(*tensors)


def _free(signature: Signature) -> Any:
    """For torch.export: one entry, which holds one for each input; None where all sizes are fixed."""
    known: dict[str, Any] = {}
    entries = []
    for index, spec in enumerate(signature.inputs):
        sizes = {}
        for axis, size in enumerate(spec.shape):
            if isinstance(size, Dim):
                name = f"size_{size.name}" if size.name else f"size_{index}_{axis}"
                sizes[axis] = known.setdefault(name, _torch_size(name, size))
        entries.append(sizes)
    return (tuple(entries),) if known else None


def _torch_size(name: str, size: Dim) -> Any:
    if size.step == 1:
        return torch.export.Dim(name, min=size.minimum, max=size.maximum)
    least = -(-size.minimum // size.step)
    most = None if size.maximum is None else size.maximum // size.step
    return size.step * torch.export.Dim(f"{name}_steps", min=least, max=most)
