"""Attention."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from modelport.frontends.network.core import layer
from modelport.frontends.network.layers.convolutions import Convolutions
from modelport.frontends.network.layers.shapes import Shapes
from modelport.frontends.network.mistakes import Refused
from modelport.frontends.network.tensor import Tensor, written
from modelport.frontends.network.weights import Weights


class Attention(Convolutions, Shapes):
    @layer
    def attention(
        self, query: Any, key: Any, value: Any, mask: Any = None, *, causal: bool = False,
        scale: float | None = None,
    ) -> Tensor:  # fmt: skip
        """`softmax(query @ key.T * scale + mask) @ value` along the last two axes.

        Args:
            query, key, value: ..., length, features.
            mask: added where it is of numbers; where it is of truths, those that count.
            causal: whether each place sees only itself and what is before it.
            scale: one by the root of the features by default.
        """
        query, key, value = (self.taken(each) for each in (query, key, value))
        features = query.shape[-1]
        if not isinstance(features, int) or key.shape[-1] != features:
            raise Refused(
                f"the query has shape {written(query.shape)}, the key {written(key.shape)}",
                expected="equal features, which are known",
            )
        if key.shape[-2] != value.shape[-2]:
            raise Refused(
                f"the key has shape {written(key.shape)}, the value {written(value.shape)}",
                expected="equal lengths",
            )
        factor = 1 / math.sqrt(features) if scale is None else scale
        turned = self.transpose(key, [*range(key.rank - 2), key.rank - 1, key.rank - 2])
        scores = self.one("MatMul", self.one("Mul", query, factor), turned)
        if mask is not None:
            scores = self._masked(scores, self.taken(mask))
        if causal:
            scores = self.one("Add", scores, self._causal(scores, query, key))
        return self.one("MatMul", self.one("Softmax", scores, axis=-1), value)

    @layer
    def multi_head_attention(
        self, x: Any, weights: Weights, heads: int, mask: Any = None, *, causal: bool = False
    ) -> Tensor:
        """Self-attention as `torch.nn.MultiheadAttention(batch_first=True)`.

        Args:
            x: batch, length, features.
            weights: a group with `in_proj_weight`, `in_proj_bias` and `out_proj`.
        """
        x = self.taken(x)
        features = x.shape[-1]
        if x.rank != 3 or not isinstance(features, int) or features % heads:
            raise Refused(
                f"the input has shape {written(x.shape)}", expected=f"{heads} equal heads"
            )
        joint = self.linear(x, weights["in_proj_weight"], weights.get("in_proj_bias"))
        queries, keys, values = (
            self.transpose(self.reshape(part, [0, 0, heads, features // heads]), [0, 2, 1, 3])
            for part in self.split(joint, 3, axis=-1)
        )
        mixed = self.attention(queries, keys, values, mask, causal=causal)
        joined = self.reshape(self.transpose(mixed, [0, 2, 1, 3]), [0, 0, features])
        return self.linear(joined, weights["out_proj"])

    def _masked(self, scores: Tensor, mask: Tensor) -> Tensor:
        if mask.dtype == "bool":
            return self.one("Where", mask, scores, -np.inf)
        return self.one("Add", scores, mask)

    def _causal(self, scores: Tensor, query: Tensor, key: Tensor) -> Tensor:
        rows, columns = query.shape[-2], key.shape[-2]
        if isinstance(rows, int) and isinstance(columns, int):
            kind = scores.value.dtype
            assert kind is not None
            return self.taken(np.triu(np.full((rows, columns), -np.inf), 1).astype(kind.numpy()))
        sizes = self.one(
            "Concat",
            self.one("Shape", query, start=-2, end=-1),
            self.one("Shape", key, start=-2, end=-1),
            axis=0,
        )
        whole = self.one("Expand", self.taken(self.value(-np.inf, scores.value.dtype)), sizes)
        return self.one("Trilu", whole, 1, upper=1)
