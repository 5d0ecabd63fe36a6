"""Order statistics by way of a sort."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from modelport.frontends.rewrites.base import OperatorRewrite


def _kth(x: torch.Tensor, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    values, indices = torch.topk(x, k, dim, largest=False, sorted=True)
    values, indices = values.narrow(dim, k - 1, 1), indices.narrow(dim, k - 1, 1)
    return (values, indices) if keepdim else (values.squeeze(dim), indices.squeeze(dim))


def _median(x: torch.Tensor) -> torch.Tensor:
    flat = x.flatten()
    median: torch.Tensor = _middle(flat, 0, False)[0]
    return median


def _middle(x: torch.Tensor, dim: int, keepdim: bool = False) -> Any:
    """Of an even number torch takes the lower one of the middle."""
    values, indices = torch.sort(x, dim)
    middle = (x.shape[dim] - 1) // 2
    values, indices = values.narrow(dim, middle, 1), indices.narrow(dim, middle, 1)
    return (values, indices) if keepdim else (values.squeeze(dim), indices.squeeze(dim))


def _stable(
    x: torch.Tensor, *, stable: bool | None, dim: int = -1, descending: bool = False
) -> Any:
    # ONNX Runtime's TopK leaves equal elements in any order, so their indices are sorted too.
    values, indices = torch.sort(x.movedim(dim, -1), -1, descending)
    size = values.shape[-1]
    starts = (values.narrow(-1, 1, size - 1) != values.narrow(-1, 0, size - 1)).long()
    group = torch.nn.functional.pad(starts.cumsum(-1), (1, 0))
    indices = torch.sort(group * size + indices, -1)[0] - group * size
    return values.movedim(-1, dim), indices.movedim(-1, dim)


class KthValue(OperatorRewrite):
    name = "kthvalue"
    summary = "takes the last of the k smallest"
    needed_by = "torch.kthvalue"
    target = "aten::kthvalue"

    def decomposition(self) -> Callable[..., Any]:
        return _kth


class Median(OperatorRewrite):
    name = "median"
    summary = "takes the middle of the sorted elements"
    needed_by = "torch.median of a whole tensor"
    target = "aten::median.default"

    def decomposition(self) -> Callable[..., Any]:
        return _median


class MedianAlong(OperatorRewrite):
    name = "median_along"
    summary = "takes the middle of the elements sorted along an axis"
    needed_by = "torch.median(x, dim), as in median filters"
    target = "aten::median.dim"

    def decomposition(self) -> Callable[..., Any]:
        return _middle


class SortStable(OperatorRewrite):
    name = "sort_stable"
    summary = "sorts, then sorts the indices of equal elements"
    needed_by = "torch.sort and torch.argsort with stable=True"
    target = "aten::sort.stable"
    inside = ("aten::argsort",)

    def decomposition(self) -> Callable[..., Any]:
        return _stable
