"""Splitting a free size into equal parts.

torch.export's path takes the sizes of the parts from the traced input: others give wrong shapes.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch

from modelport.frontends.rewrites.base import FunctionRewrite


class TensorSplit(FunctionRewrite):
    name = "tensor_split"
    summary = "computes where the parts of a free size begin"
    needed_by = "torch.tensor_split(x, 3, dim) along a free size"
    target = "torch.tensor_split"

    def replace(
        self,
        original: Callable[..., Any],
        /,
        x: torch.Tensor,
        parts: Any = None,
        dim: int = 0,
        *,
        sections: Any = None,
        indices: Any = None,
    ) -> Any:
        size, parts = x.shape[dim], sections if parts is None else parts
        if not isinstance(parts, int) or type(size) is int:
            return NotImplemented
        # The first `size % parts` parts have one element more.
        edges = [index * (size // parts) + _least(index, size % parts) for index in range(parts)]
        edges.append(size)
        return tuple(x.narrow(dim, begin, end - begin) for begin, end in pairwise(edges))


def _least(one: int, other: Any) -> Any:
    least: Any = torch.sym_min
    return least(one, other)
