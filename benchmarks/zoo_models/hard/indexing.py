"""Reading and writing by index: gather, scatter, masks, slices written in place, sorting."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as fn
from torch import Tensor

from zoo_models.case import bools, floats, ints, uniform
from zoo_models.hard.small import case_of

of = partial(case_of, "indexing")
X = floats((4, 6))
CUBE = floats((2, 5, 8), (3, 7, 8))
ROWS = ints(4, (3,))


def slice_written(x: Tensor) -> Tensor:
    y = x.clone()
    y[:, 1:3] = x[:, 3:5] * 2
    y[:, 0] += 1
    y[..., -1].mul_(3)
    return y


def slice_of_argument(x: Tensor) -> Tensor:
    """Writes into what it was given, as much code does."""
    x = x * 1
    x[:, :, 0::2] = -x[:, :, 0::2]
    x[0, 1] = 7.0
    return x


def loop_written(x: Tensor) -> Tensor:
    out = torch.zeros(x.shape[0], 6)
    for column in range(6):
        out[:, column] = x[:, : column + 1].sum(1)
    return out


def mask_written(x: Tensor) -> Tensor:
    y = x.clone()
    y[y < 0] = 0.1
    return y


def put(x: Tensor, y: Tensor) -> Tensor:
    out = x.clone()
    out[y] = out[y] * 10 + 1
    return out


def put_pairs(x: Tensor, y: Tensor) -> Tensor:
    out = torch.zeros_like(x)
    out[y, torch.arange(3)] = x[y, 1:4].sum(1)
    return out


def boxes_by_score(x: Tensor) -> Tensor:
    scores, order = x.sum(-1).topk(3, dim=1)
    picked = x.gather(1, order[..., None].expand(-1, -1, x.shape[-1]))
    return picked * scores[..., None]


def rank(x: Tensor) -> Tensor:
    return x.argsort(dim=1, descending=True).argsort(dim=1).float() + x.sort(dim=1).values


def relative_positions(x: Tensor) -> Tensor:
    size = x.shape[1]
    steps = torch.arange(size)
    return x @ x.transpose(1, 2) + (steps[:, None] - steps[None]).abs().float()


def scatter_mean(x: Tensor, y: Tensor) -> Tensor:
    total = torch.zeros(3, x.shape[1]).index_add(0, y, x)
    count = torch.zeros(3).scatter_add(0, y, torch.ones(y.shape[0]))
    return total / count.clamp(min=1)[:, None]


def shifted_windows(x: Tensor) -> Tensor:
    return torch.roll(x, shifts=(-1, 2), dims=(1, 2)) - x


CASES = [
    of(
        "einsum",
        {"x": floats((2, 3, 4)), "y": floats((2, 4, 5))},
        lambda x, y: torch.einsum("bij,bjk->bki", x, y),
    ),
    of(
        "einsum_ellipsis",
        {"x": floats((2, 3, 5, 4)), "y": floats((4, 6))},
        lambda x, y: torch.einsum("...d,de->...e", x, y),
    ),
    of("einsum_diagonal", {"x": floats((3, 4, 4))}, lambda x: torch.einsum("bii->bi", x)),
    of(
        "einsum_outer",
        {"x": floats((2, 3), (4, 3)), "y": floats((2, 5), (4, 5))},
        lambda x, y: torch.einsum("bi,bj->bij", x, y).tanh(),
    ),
    of("slice_written", {"x": floats((4, 6), (5, 6))}, slice_written),
    of("slice_of_argument", {"x": CUBE}, slice_of_argument),
    of("loop_written", {"x": X}, loop_written),
    of("mask_written", {"x": floats((4, 6), (3, 9))}, mask_written),
    of("mask_read", {"x": X, "y": bools((4, 6))}, lambda x, y: x[y].sum() + x.masked_fill(y, 0)),
    of("mask_selects", {"x": X}, lambda x: x[x > 0]),
    of("where_finds", {"x": X}, lambda x: torch.nonzero(x > 0)),
    of("rows_put", {"x": X, "y": ints(4, (1,))}, put),
    of("pairs_put", {"x": X, "y": ROWS}, put_pairs),
    of(
        "rows_accumulated",
        {"x": X, "y": ROWS},
        lambda x, y: x.index_put((y,), x[:3], accumulate=True),
    ),
    of(
        "pairs_read",
        {"x": floats((4, 5, 6)), "y": ROWS},
        lambda x, y: x[y, [0, 1, 2]] + x[:, 2, [5, 3, 1]][y].sum(),
    ),
    of("pairs_apart", {"x": floats((4, 5, 6)), "y": ROWS}, lambda x, y: x[y, :, y]),
    of("none_and_ellipsis", {"x": CUBE}, lambda x: x[:, None, ..., 1:-1, None] * 2),
    of("negative_index", {"x": CUBE}, lambda x: x[:, -2] - x[..., -3:].sum((1, 2))[:, None]),
    of("gather", {"x": X, "y": ints(6, (4, 3))}, lambda x, y: x.gather(1, y)),
    of("take_along", {"x": X}, lambda x: torch.take_along_dim(x, x.argmax(1, keepdim=True), 1)),
    of("scatter", {"x": X, "y": ints(6, (4, 1))}, lambda x, y: x.scatter(1, y, x[:, :1] * 3)),
    of(
        "scatter_reduce",
        {"x": X, "y": ints(6, (4, 6))},
        lambda x, y: torch.zeros(4, 6).scatter_reduce(1, y, x, "amax", include_self=True),
    ),
    of("scatter_mean", {"x": X, "y": ints(3, (4,))}, scatter_mean),
    of("index_select", {"x": X, "y": ROWS}, lambda x, y: x.index_select(0, y)),
    of("boxes_by_score", {"x": floats((2, 6, 4), (3, 9, 4))}, boxes_by_score),
    of("rank", {"x": floats((3, 7), (2, 9))}, rank),
    of("relative_positions", {"x": CUBE}, relative_positions),
    of("roll", {"x": floats((2, 5, 8), (3, 6, 8))}, shifted_windows),
    of("flip", {"x": CUBE}, lambda x: x.flip(1) + x.flip(-1)),
    of("triangles", {"x": floats((3, 5, 5))}, lambda x: x.triu(1) - x.tril(-1)),
    of("bucketize", {"x": X}, lambda x: torch.bucketize(x, torch.tensor([-1.0, 0.0, 0.5])) + x),
    of("searchsorted", {"x": X}, lambda x: torch.searchsorted(torch.linspace(-2, 2, 9), x)),
    of("cumulative", {"x": CUBE}, lambda x: x.cumsum(1) + x.flip(1).cumsum(1) * 0.1),
    of("cumulative_product", {"x": uniform(0.5, 1.5, (3, 6))}, lambda x: x.cumprod(1)),
    of("unique_values", {"x": ints(5, (9,))}, lambda x: torch.unique(x)),
    of("one_hot", {"x": ints(7, (3, 4))}, lambda x: fn.one_hot(x, 7)),
    of(
        "diagonal",
        {"x": floats((3, 4, 4))},
        lambda x: torch.diag_embed(x.diagonal(dim1=1, dim2=2)) + x,
    ),
    of(
        "unfold_windows",
        {"x": floats((2, 10), (3, 10))},
        lambda x: x.unfold(1, 4, 2).max(-1).values,
    ),
    of(
        "median_and_mode",
        {"x": floats((3, 7))},
        lambda x: x.median(dim=1).values + x.kthvalue(2, dim=1).values,
    ),
    of("strided_view", {"x": floats((4, 6))}, lambda x: x.as_strided((3, 4), (6, 1), 2) * 2),
]
