"""Sizes that are free: everything that a size can flow into."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as fn
from torch import Tensor, nn

from zoo_models.case import Case, floats, ints, pictures
from zoo_models.hard.small import case_of

of = partial(case_of, "dynamic")
IMAGE = pictures((2, 3, 16, 24), (3, 3, 24, 16), (1, 3, 20, 32))
BATCH = floats((2, 8), (5, 8), (1, 8))
TOKENS = floats((2, 5, 8), (3, 9, 8), (1, 2, 8))


class FlattenHead(nn.Module):
    """`view(x.size(0), -1)`, the oldest way to freeze a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.head = nn.Linear(4 * 8 * 8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(x).relu().view(x.size(0), -1))


class PositionTable(nn.Module):
    """A table of positions, resized to the picture at hand."""

    def __init__(self) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, 8, 4, stride=4)
        self.table = nn.Parameter(torch.randn(1, 8, 4, 4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.proj(x)
        table = fn.interpolate(self.table, size=x.shape[-2:], mode="bilinear")
        return (x + table).flatten(2).transpose(1, 2)


class Anchors(nn.Module):
    """Boxes around every cell of a feature map, as detectors make them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=8, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        offsets = self.conv(x)
        height, width = offsets.shape[-2:]
        ys, xs = torch.meshgrid(
            torch.arange(height, device=x.device), torch.arange(width), indexing="ij"
        )
        centres = torch.stack((xs, ys, xs, ys), dim=0) * 8.0 + 4
        return (centres[None] + offsets).flatten(2).permute(0, 2, 1)


class Skip(nn.Module):
    """A U-Net's joint: upsampled to the very size of what it is joined with."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.out = nn.Conv2d(9, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        low = fn.interpolate(self.down(x), size=x.shape[2:], mode="bilinear", align_corners=False)
        return self.out(torch.cat((low, x), 1))


def windows(x: Tensor) -> Tensor:
    """Swin's windows of 4, after padding to a multiple."""
    batch, channels, height, width = x.shape
    x = fn.pad(x, (0, (4 - width % 4) % 4, 0, (4 - height % 4) % 4))
    x = x.reshape(batch, channels, x.shape[2] // 4, 4, x.shape[3] // 4, 4)
    return x.permute(0, 2, 4, 3, 5, 1).reshape(-1, 16, channels).softmax(1)


def causal_mask(x: Tensor) -> Tensor:
    scores = x @ x.transpose(1, 2)
    mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril()
    return scores.masked_fill(~mask, float("-inf")).softmax(-1) @ x


CASES = [
    Case("dynamic/flatten_head", FlattenHead, {"x": pictures((2, 3, 16, 16), (5, 3, 16, 16))}),
    Case("dynamic/position_table", PositionTable, {"x": IMAGE}),
    Case("dynamic/anchors", Anchors, {"x": pictures((2, 3, 32, 48), (1, 3, 64, 40))}),
    Case("dynamic/unet_skip", Skip, {"x": pictures((2, 3, 17, 24), (3, 3, 20, 31))}),
    of("arange_of_size", {"x": TOKENS}, lambda x: x + torch.arange(x.shape[1])[:, None]),
    of("windows", {"x": pictures((2, 3, 10, 14), (1, 3, 16, 9))}, windows),
    of("causal_mask", {"x": TOKENS}, causal_mask),
    of(
        "expand_and_cat",
        {"x": TOKENS},
        lambda x: torch.cat([x.mean(1, keepdim=True).expand(-1, x.size(1), -1), x], -1),
    ),
    of("divide_by_size", {"x": TOKENS}, lambda x: x.sum(1) / x.shape[1] ** 0.5),
    of(
        "chunk_in_halves",
        {"x": floats((2, 6, 8), (2, 10, 8))},
        lambda x: x[:, : x.shape[1] // 2] - x[:, -(x.shape[1] // 2) :],
    ),
    of("every_other", {"x": TOKENS}, lambda x: x[:, ::2] * 2),
    of("last_step", {"x": TOKENS}, lambda x: x[:, -1]),
    of("size_as_tensor", {"x": TOKENS}, lambda x: x.mean() + torch.tensor(x.shape[1])),
    of("repeat_by_size", {"x": floats((2, 3), (4, 5))}, lambda x: x.repeat(1, x.shape[0])),
    of(
        "new_zeros_of_size",
        {"x": TOKENS},
        lambda x: torch.cat([x.new_zeros(x.shape[0], 1, 8), x], 1),
    ),
    of("sizes_only", {"x": TOKENS}, lambda x: torch.arange(x.shape[1]).float().cos(), moves=False),
    of(
        "two_free_inputs",
        {"x": floats((2, 8), (3, 8)), "y": floats((5, 8), (7, 8))},
        lambda x, y: torch.cdist(x, y),
    ),
    of(
        "shared_free_size",
        {"x": floats((2, 4), (3, 4)), "y": floats((2, 4), (3, 4))},
        lambda x, y: (x * y).sum(1),
    ),
    of(
        "tokens_by_length",
        {"x": ints(100, (2, 7), (3, 11))},
        lambda x: fn.one_hot(x, 100).float().cumsum(1),
    ),
    of(
        "interpolate_by_half",
        {"x": IMAGE},
        lambda x: fn.interpolate(x, scale_factor=0.5, mode="bilinear"),
    ),
    of("unflatten", {"x": BATCH}, lambda x: x.unflatten(1, (2, 4)).transpose(1, 2).flatten(1)),
]
