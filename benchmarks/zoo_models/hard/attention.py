"""Attention in its many spellings."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as fn
from torch import Tensor, nn

from zoo_models.case import Case, bools, floats
from zoo_models.hard.small import case_of

of = partial(case_of, "attention")
TOKENS = floats((2, 5, 16), (3, 9, 16))
HEADS = floats((2, 4, 5, 8), (3, 4, 7, 8))


class SelfAttention(nn.Module):
    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True, **settings)

    def forward(self, x: Tensor) -> Any:
        return self.attention(x, x, x)


class PaddedAttention(nn.Module):
    """A mask of padding that comes in beside the tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)

    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        padding = torch.cat([torch.zeros_like(padding[:, :1]), padding[:, 1:]], 1)
        return self.attention(x, x, x, key_padding_mask=padding, need_weights=False)[0]


class Encoder(nn.Module):
    def __init__(self, norm_first: bool = False) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            16, 4, 32, batch_first=True, activation="gelu", norm_first=norm_first
        )
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.encoder(x)


class EncoderDecoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.transformer = nn.Transformer(16, 4, 1, 1, 32, batch_first=True)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(target.shape[1])
        return self.transformer(source, target, tgt_mask=mask, tgt_is_causal=True)


class Grouped(nn.Module):
    """Keys and values shared by groups of heads, with rotary positions."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.kv = nn.Linear(16, 16), nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, _ = x.shape
        q = self.q(x).view(batch, length, 4, 4).transpose(1, 2)
        k, v = self.kv(x).view(batch, length, 2, 2, 4).unbind(2)
        angles = torch.outer(torch.arange(length).float(), torch.tensor([1.0, 0.1])).repeat(1, 2)
        q, k = turned(q, angles), turned(k.transpose(1, 2), angles)
        y = fn.scaled_dot_product_attention(
            q, k, v.transpose(1, 2), is_causal=True, enable_gqa=True
        )
        return y.transpose(1, 2).flatten(2)


def turned(x: Tensor, angles: Tensor) -> Tensor:
    left, right = x.chunk(2, -1)
    return x * angles.cos() + torch.cat([-right, left], -1) * angles.sin()


class WindowBias(nn.Module):
    """Swin's attention with a table of biases by relative position."""

    def __init__(self, side: int = 3) -> None:
        super().__init__()
        self.qkv = nn.Linear(16, 48)
        self.table = nn.Parameter(torch.randn((2 * side - 1) ** 2, 4))
        grid = torch.stack(torch.meshgrid(*[torch.arange(side)] * 2, indexing="ij")).flatten(1)
        apart = grid[:, :, None] - grid[:, None] + side - 1
        self.register_buffer("index", apart[0] * (2 * side - 1) + apart[1], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).reshape(*x.shape[:2], 3, 4, 4).permute(2, 0, 3, 1, 4)
        bias = self.table[self.index].permute(2, 0, 1)[None]
        return fn.scaled_dot_product_attention(q, k, v, attn_mask=bias).transpose(1, 2).flatten(2)


def linear_attention(x: Tensor) -> Tensor:
    q, k = fn.elu(x) + 1, fn.elu(x * 0.5) + 1
    context = torch.einsum("bhnd,bhne->bhde", k, x)
    scale = torch.einsum("bhnd,bhd->bhn", q, k.sum(2)).reciprocal()
    return torch.einsum("bhnd,bhde,bhn->bhne", q, context, scale)


def alibi(x: Tensor) -> Tensor:
    length = x.shape[2]
    apart = torch.arange(length)[None] - torch.arange(length)[:, None]
    bias = apart.tril() * torch.tensor([0.5, 0.25, 0.125, 0.0625])[:, None, None]
    scores = x @ x.transpose(-2, -1) / 8**0.5 + bias
    hidden = torch.triu(torch.full((length, length), -torch.inf), 1)
    return (scores + hidden).softmax(-1) @ x


CASES = [
    Case("attention/multihead", SelfAttention, {"x": TOKENS}),
    Case(
        "attention/multihead_extras",
        partial(SelfAttention, add_bias_kv=True, add_zero_attn=True),
        {"x": floats((2, 5, 16))},
    ),
    Case(
        "attention/padding_mask", PaddedAttention, {"x": TOKENS, "padding": bools((2, 5), (3, 9))}
    ),
    Case("attention/encoder", Encoder, {"x": TOKENS}),
    Case("attention/encoder_norm_first", partial(Encoder, True), {"x": TOKENS}),
    Case(
        "attention/encoder_decoder",
        EncoderDecoder,
        {"source": TOKENS, "target": floats((2, 4, 16), (3, 6, 16))},
    ),
    Case("attention/grouped_rotary", Grouped, {"x": TOKENS}),
    Case("attention/window_bias", WindowBias, {"x": floats((2, 9, 16), (5, 9, 16))}),
    of("causal", {"x": HEADS}, lambda x: fn.scaled_dot_product_attention(x, x, x, is_causal=True)),
    of("scaled", {"x": HEADS}, lambda x: fn.scaled_dot_product_attention(x, x, x, scale=0.1)),
    of(
        "bool_mask",
        {"x": floats((2, 4, 5, 8)), "y": bools((2, 1, 1, 5))},
        lambda x, y: fn.scaled_dot_product_attention(x, x, x, attn_mask=y | (torch.arange(5) == 0)),
    ),
    of("linear", {"x": HEADS}, linear_attention),
    of("alibi", {"x": HEADS}, alibi),
]
