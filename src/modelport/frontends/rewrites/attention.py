"""Attention whose result torch's exporter takes to lie in memory in two ways.

The traced kernel leaves batch, sequence, head beside each other; the exporter's second look at the graph
takes it for batch, head, sequence, and then finds that a later `view` is impossible. In memory of the
common order both see the same. The graph has no memory order: nothing is added to it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from modelport.frontends.rewrites.base import TORCH_EXPORT, FunctionRewrite


class AttentionLayout(FunctionRewrite):
    name = "attention_layout"
    summary = "gives the result of attention the common order in memory"
    needed_by = (
        "F.scaled_dot_product_attention in a free batch, then transpose and reshape: BEiT, T5, "
        "Grounding DINO"
    )
    target = "torch.nn.functional.scaled_dot_product_attention"
    exporters = (TORCH_EXPORT,)

    def replace(
        self, original: Callable[..., Any], /, query: torch.Tensor, *args: Any, **kwargs: Any
    ) -> Any:
        if all(type(size) is int for size in query.shape):
            return NotImplemented
        # `contiguous` would be left out where the tracer takes the result for contiguous already.
        return original(query, *args, **kwargs).clone(memory_format=torch.contiguous_format)
