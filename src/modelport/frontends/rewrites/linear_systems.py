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


def _inverse(x: torch.Tensor, *, check_errors: bool = False) -> Any:
    if not _is_small(x):
        return NotImplemented
    unit = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device).expand_as(x)
    return _eliminated(x, unit), torch.zeros_like(x[..., 0, 0], dtype=torch.int32)


def _solution(
    x: torch.Tensor, y: torch.Tensor, *, left: bool = True, check_errors: bool = False
) -> Any:
    vector = y.dim() == x.dim() - 1
    if not _is_small(x) or not (left or not vector):
        return NotImplemented
    if not left:
        solution = _eliminated(x.mT, y.mT).mT
    else:
        solution = _eliminated(x, y.unsqueeze(-1) if vector else y)
        solution = solution.squeeze(-1) if vector else solution
    # Only the gradient reads the factors.
    pivots = torch.zeros_like(x[..., 0], dtype=torch.int32)
    return solution, x, pivots, pivots[..., 0]


class Inverse(OperatorRewrite):
    name = "inverse"
    summary = "inverts small matrices by elimination"
    needed_by = "torch.inverse of camera matrices: LSS, BEVDet, PETR"
    target = "aten::linalg_inv_ex"
    inside = ("aten::inverse", "aten::linalg_inv")

    def decomposition(self) -> Callable[..., Any]:
        return _inverse


class Solve(OperatorRewrite):
    name = "solve"
    summary = "solves small systems by elimination"
    needed_by = "torch.linalg.solve as in thin plate splines"
    target = "aten::_linalg_solve_ex"
    inside = ("aten::linalg_solve", "aten::linalg_solve_ex")

    def decomposition(self) -> Callable[..., Any]:
        return _solution
