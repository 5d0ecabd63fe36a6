"""Looking up and selecting elements."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from modelport.frontends.rewrites.base import FunctionRewrite, OperatorRewrite


def _searchsorted(
    sorted_sequence: torch.Tensor,
    values: torch.Tensor,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: torch.Tensor | None = None,
) -> Any:
    if sorter is not None:
        sorted_sequence = sorted_sequence.gather(-1, sorter)
    edges, wanted = sorted_sequence.unsqueeze(-2), values.unsqueeze(-1)
    if sorted_sequence.dim() == 1:
        edges = sorted_sequence
    below = edges <= wanted if right or side == "right" else edges < wanted
    return below.sum(-1, dtype=torch.int32 if out_int32 else torch.int64)


class SearchSorted(OperatorRewrite):
    name = "searchsorted"
    summary = "counts the elements below each value"
    needed_by = "torch.searchsorted as in the sampling of NeRF"
    target = "aten::searchsorted.Tensor"

    def decomposition(self) -> Callable[..., Any]:
        return _searchsorted


def _is_in(
    elements: torch.Tensor,
    test_elements: torch.Tensor,
    *,
    assume_unique: bool = False,
    invert: bool = False,
) -> torch.Tensor:
    found = (elements.unsqueeze(-1) == test_elements.reshape(-1)).any(-1)
    return ~found if invert else found


class IsIn(OperatorRewrite):
    name = "isin"
    summary = "compares with each of the elements"
    needed_by = "torch.isin of a free size, special tokens of Grounding DINO"
    target = "aten::isin.Tensor_Tensor"

    def decomposition(self) -> Callable[..., Any]:
        return _is_in


def _all_true(self: torch.Tensor) -> torch.Tensor:
    return self.all()


class AllTrue(OperatorRewrite):
    name = "is_all_true"
    summary = "writes it as the reduction that it is"
    needed_by = "torch.ops.aten._is_all_true, which torch makes of some masks: Grounding DINO"
    target = "aten::_is_all_true"

    def decomposition(self) -> Callable[..., Any]:
        return _all_true


def _masked_select(self: Any, mask: Any) -> Any:
    from onnxscript import opset18

    op: Any = opset18
    # Expand gives the shape that both have in common.
    chosen = op.Expand(mask, op.Shape(self))
    elements = op.Expand(self, op.Shape(chosen))
    return op.Compress(op.Reshape(elements, [-1]), op.Reshape(chosen, [-1]))


class MaskedSelect(OperatorRewrite):
    name = "masked_select"
    summary = "writes masked_select as Compress"
    needed_by = "torch.masked_select(x, mask); x[mask] needs nothing"
    target = "aten::masked_select"

    def translation(self) -> Callable[..., Any]:
        return _masked_select


class EmbeddingBag(FunctionRewrite):
    name = "embedding_bag"
    summary = "looks every index up, then reduces each bag"
    needed_by = "nn.EmbeddingBag, whose graphs OpenVINO refuses or crashes on"
    target = "torch.nn.functional.embedding_bag"

    def replace(
        self,
        original: Callable[..., Any],
        /,
        input: torch.Tensor,
        weight: torch.Tensor,
        offsets: torch.Tensor | None = None,
        max_norm: float | None = None,
        norm_type: float = 2,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        per_sample_weights: torch.Tensor | None = None,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
    ) -> Any:
        if (
            max_norm is not None
            or padding_idx is not None
            or not (offsets is None) ^ (input.dim() == 1)
        ):
            return NotImplemented
        rows = functional.embedding(input, weight)
        if per_sample_weights is not None:
            rows = rows * per_sample_weights.unsqueeze(-1)
        if offsets is None:
            return rows.amax(1) if mode == "max" else getattr(rows, mode)(1)
        if mode == "max":
            return NotImplemented
        starts = offsets[:-1] if include_last_offset else offsets
        return _reduced(rows, starts, mode)


def _reduced(rows: torch.Tensor, starts: torch.Tensor, mode: str) -> torch.Tensor:
    """Sums or means of the rows of each bag, by a product with a matrix of who belongs where."""
    place = torch.arange(rows.shape[0], device=rows.device)
    bag = (place[:, None] >= starts).sum(1) - 1
    belongs = (bag == torch.arange(starts.shape[0], device=rows.device)[:, None]).to(rows.dtype)
    sums = belongs @ rows
    return sums if mode == "sum" else sums / belongs.sum(1, keepdim=True).clamp(min=1)
