"""Programs in half precision between inputs and outputs that stay as they were."""

from __future__ import annotations

from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx.node import map_aggregate

from modelport.engines.executorch.recapture import captured, opened
from modelport.types import Signature


def halved(program: ExportedProgram, signature: Signature) -> ExportedProgram:
    module = opened(program).half()
    for node in module.graph.nodes:  # what the code asks to be single is half too
        node.args = map_aggregate(node.args, _half_type)
        node.kwargs = map_aggregate(node.kwargs, _half_type)
    module.recompile()
    return captured(_Halved(module, signature), program, signature)


def _half_type(value: Any) -> Any:
    return torch.float16 if value is torch.float32 else value


class _Halved(torch.nn.Module):
    """Casts on the way in and out."""

    def __init__(self, module: torch.nn.Module, signature: Signature) -> None:
        super().__init__()
        self.module = module
        self.kinds = [getattr(torch, spec.dtype) for spec in signature.outputs]

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        inside = [each.half() if each.dtype == torch.float32 else each for each in tensors]
        results = self.module(*inside)
        results = results if isinstance(results, (tuple, list)) else (results,)
        return tuple(each.to(kind) for each, kind in zip(results, self.kinds, strict=True))
