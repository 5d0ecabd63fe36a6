"""Inverses of small matrices, and solutions of small systems, by Gauss-Jordan elimination.

Each column takes as its pivot the largest element of the rows that are left. The steps are written out,
so the size must be a known number; matrices of cameras and homographies are of 3 or 4.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from modelport.frontends.rewrites.base import OperatorRewrite

LARGEST = 16


def _eliminated(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """The solution of `left @ solution = right`; [..., n, n] and [..., n, m] give [..., n, m]."""
    size = left.shape[-1]
    both = torch.cat([left, right], -1)
    free = torch.ones_like(left[..., 0])
    rows = []
    for column in range(size):
        candidates = both[..., column].abs() * free + free
        pivot = functional.one_hot(candidates.argmax(-1), size).to(left.dtype)
        row = (pivot.unsqueeze(-1) * both).sum(-2, keepdim=True)
        row = row / row[..., column : column + 1]
        # The pivot's row becomes `row`; of the others this column is cleared.
        both = both - (both[..., column] - pivot).unsqueeze(-1) * row
        free = free * (1 - pivot)
        rows.append(pivot)
    return torch.stack(rows, -2) @ both[..., size:]


def _is_small(matrix: torch.Tensor) -> bool:
    size = matrix.shape[-1]
    return type(size) is int and size <= LARGEST and matrix.is_floating_point()


def _inverse(x: torch.Tensor) -> Any:
    if not _is_small(x):
        return NotImplemented
    unit = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
    return _eliminated(x, unit.expand_as(x))


def _solution(x: torch.Tensor, y: torch.Tensor, *, left: bool = True) -> Any:
    if not _is_small(x):
        return NotImplemented
    if y.dim() == x.dim() - 1:
        return _eliminated(x, y.unsqueeze(-1)).squeeze(-1)
    return _eliminated(x, y) if left else _eliminated(x.mT, y.mT).mT


class _OfSmall(OperatorRewrite):
    def concerns(self, *args: Any, **kwargs: Any) -> bool:
        return _is_small(args[0])


class LinalgInverse(_OfSmall):
    name = "linalg_inv"
    summary = "inverts small matrices by elimination"
    needed_by = "torch.linalg.inv of camera matrices and homographies"
    target = "aten::linalg_inv"

    def decomposition(self) -> Callable[..., Any]:
        return _inverse


class Inverse(_OfSmall):
    name = "inverse"
    summary = "inverts small matrices by elimination"
    needed_by = "torch.inverse of camera matrices: LSS, BEVDet, PETR"
    target = "aten::inverse"

    def decomposition(self) -> Callable[..., Any]:
        return _inverse


class Solve(_OfSmall):
    name = "solve"
    summary = "solves small systems by elimination"
    needed_by = "torch.linalg.solve as in thin plate splines"
    target = "aten::linalg_solve"

    def decomposition(self) -> Callable[..., Any]:
        return _solution
