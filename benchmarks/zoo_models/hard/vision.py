"""What pictures are put through: sampling, resizing, padding, pooling, deformable convolutions."""

from __future__ import annotations

import math
from functools import partial

import torch
import torch.nn.functional as fn
from torch import Tensor, nn

from zoo_models.case import Case, floats, pictures, uniform
from zoo_models.hard.small import case_of

of = partial(case_of, "vision")
IMAGE = pictures((2, 4, 12, 10), (3, 4, 9, 14))
FIXED = pictures((2, 4, 12, 10))
GRID = uniform(-1.2, 1.2, (2, 5, 6, 2), (3, 7, 4, 2))


class SamePad(nn.Module):
    """TensorFlow's SAME padding, computed from the size at hand."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 5, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        wanted = [max((math.ceil(n / 2) - 1) * 2 + 3 - n, 0) for n in x.shape[-2:]]
        pad = [
            wanted[1] // 2,
            wanted[1] - wanted[1] // 2,
            wanted[0] // 2,
            wanted[0] - wanted[0] // 2,
        ]
        return self.conv(fn.pad(x, pad))


class Deformable(nn.Module):
    """A deformable convolution by grid_sample, modulated, 3x3."""

    def __init__(self) -> None:
        super().__init__()
        self.offset = nn.Conv2d(4, 18, 3, padding=1)
        self.mask = nn.Conv2d(4, 9, 3, padding=1)
        self.weight = nn.Parameter(torch.randn(5, 4, 3, 3) / 6)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        offset = self.offset(x).view(batch, 9, 2, height, width)
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        steps = torch.stack(torch.meshgrid(*[torch.arange(-1, 2)] * 2, indexing="ij"), -1)
        places = torch.stack([rows, columns])[None] + steps.reshape(9, 2, 1, 1) + offset
        ys = 2 * places[:, :, 0] / (height - 1) - 1
        xs = 2 * places[:, :, 1] / (width - 1) - 1
        grid = torch.stack([xs, ys], -1).flatten(1, 2)
        taken = fn.grid_sample(x, grid, align_corners=True)
        taken = taken.view(batch, channels, 9, height, width) * self.mask(x).sigmoid()[:, None]
        return torch.einsum("bckhw,ock->bohw", taken, self.weight.flatten(2))


class MultiScale(nn.Module):
    """Deformable DETR's sampling from feature maps of two levels."""

    def __init__(self) -> None:
        super().__init__()
        self.offsets = nn.Linear(8, 2 * 2 * 3 * 2)
        self.weights = nn.Linear(8, 2 * 2 * 3)

    def forward(self, x: Tensor, low: Tensor, queries: Tensor) -> Tensor:
        batch, count, _ = queries.shape
        offsets = self.offsets(queries).view(batch, count, 2, 2, 3, 2).tanh()
        weights = self.weights(queries).view(batch, count, 2, 6).softmax(-1)
        taken = []
        for level, features in enumerate((x, low)):
            values = features.reshape(batch * 2, 2, *features.shape[-2:])
            grid = offsets[:, :, :, level].transpose(1, 2).flatten(0, 1)
            taken.append(fn.grid_sample(values, grid, align_corners=False))
        weights = weights.transpose(1, 2).reshape(batch * 2, 1, count, 6)
        return (torch.cat(taken, -1) * weights).sum(-1).view(batch, 4, count)


class Backward(nn.Module):
    """Optical flow: a picture warped by a field."""

    def forward(self, x: Tensor, flow: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        ys, xs = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        grid = torch.stack([xs, ys], 0)[None] + flow
        size = torch.tensor([width - 1, height - 1]).view(1, 2, 1, 1)
        grid = (2 * grid / size - 1).permute(0, 2, 3, 1)
        return fn.grid_sample(x, grid, padding_mode="border", align_corners=True)


class Correlation(nn.Module):
    """RAFT's volume of all pairs, pooled."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        volume = torch.matmul(x.flatten(2).transpose(1, 2), y.flatten(2)) / 2
        return fn.avg_pool2d(volume.view(-1, 1, *y.shape[-2:]), 2)


def boxes_decoded(x: Tensor) -> tuple[Tensor, Tensor]:
    """YOLO's head: a distribution over distances to the four sides."""
    batch, _, height, width = x.shape
    sides = x[:, :16].view(batch, 4, 4, -1).softmax(2)
    sides = (sides * torch.arange(4.0).view(1, 1, 4, 1)).sum(2)
    ys, xs = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    centres = torch.stack([xs, ys]).flatten(1)
    boxes = torch.cat([centres - sides[:, :2], centres + sides[:, 2:]], 1)
    return boxes.transpose(1, 2), x[:, 16:].flatten(2).sigmoid().transpose(1, 2)


def standardized(x: Tensor) -> Tensor:
    variance, mean = torch.var_mean(x, dim=(2, 3), keepdim=True, unbiased=False)
    return (x - mean) * torch.rsqrt(variance + 1e-5) + fn.instance_norm(x)


def _resize(name: str, **settings: object) -> Case:
    return of(f"resize_{name}", {"x": IMAGE}, lambda x: fn.interpolate(x, **settings))


def _pad(mode: str) -> Case:
    return of(f"pad_{mode}", {"x": IMAGE}, lambda x: fn.pad(x, (1, 2, 3, 0), mode=mode))


def _grid(name: str, **settings: object) -> Case:
    return of(
        f"grid_{name}", {"x": IMAGE, "y": GRID}, lambda x, y: fn.grid_sample(x, y, **settings)
    )


CASES = [
    Case("vision/same_pad", SamePad, {"x": pictures((2, 4, 13, 10), (3, 4, 16, 15))}),
    Case("vision/same_pad_fixed", SamePad, {"x": pictures((2, 4, 13, 10))}),
    Case(
        "vision/conv_same_word", lambda: nn.Conv2d(4, 5, (4, 3), padding="same"), {"input": IMAGE}
    ),
    Case("vision/deformable", Deformable, {"x": FIXED}),
    Case("vision/deformable_free", Deformable, {"x": IMAGE}),
    Case(
        "vision/multi_scale_deformable",
        MultiScale,
        {"x": FIXED, "low": pictures((2, 4, 6, 5)), "queries": floats((2, 7, 8))},
    ),
    Case("vision/warp", Backward, {"x": IMAGE, "flow": floats((2, 2, 12, 10), (3, 2, 9, 14))}),
    Case("vision/correlation", Correlation, {"x": FIXED, "y": FIXED}),
    _grid("bilinear", align_corners=False),
    _grid("nearest", mode="nearest", align_corners=False),
    _grid("bicubic_reflected", mode="bicubic", padding_mode="reflection", align_corners=True),
    of(
        "grid_3d",
        {"x": floats((2, 3, 4, 5, 6)), "y": uniform(-1, 1, (2, 3, 3, 3, 3))},
        lambda x, y: fn.grid_sample(x, y, align_corners=False),
    ),
    of(
        "affine_grid",
        {"x": FIXED, "y": floats((2, 2, 3))},
        lambda x, y: fn.grid_sample(
            x, fn.affine_grid(y, [2, 4, 6, 6], align_corners=False), align_corners=False
        ),
    ),
    _resize("nearest", scale_factor=2, mode="nearest"),
    _resize("nearest_exact", size=(7, 9), mode="nearest-exact"),
    _resize("corners", size=(7, 9), mode="bilinear", align_corners=True),
    _resize("bicubic", scale_factor=1.5, mode="bicubic"),
    _resize("antialias", size=(5, 6), mode="bilinear", antialias=True),
    _resize("area", size=(5, 6), mode="area"),
    _pad("reflect"),
    _pad("replicate"),
    _pad("circular"),
    of("pool_padded", {"x": IMAGE}, lambda x: fn.max_pool2d(fn.pad(x - 3, (1, 1, 1, 1)), 3, 2)),
    of("pool_ceil", {"x": IMAGE}, lambda x: fn.max_pool2d(x, 3, 2, 1, ceil_mode=True)),
    of(
        "pool_uncounted",
        {"x": IMAGE},
        lambda x: fn.avg_pool2d(x, 3, 2, 1, ceil_mode=True, count_include_pad=False),
    ),
    of(
        "pool_indices",
        {"x": FIXED},
        lambda x: fn.max_unpool2d(*fn.max_pool2d(x, 2, return_indices=True), 2),
    ),
    of("pool_adaptive", {"x": FIXED}, lambda x: fn.adaptive_avg_pool2d(x, (5, 3))),
    of(
        "pool_adaptive_free",
        {"x": pictures((2, 4, 12, 10), (3, 4, 24, 15))},
        lambda x: fn.adaptive_avg_pool2d(x, (3, 5)),
    ),
    of("pool_adaptive_max", {"x": FIXED}, lambda x: fn.adaptive_max_pool2d(x, (4, 5))),
    of("pixel_shuffle", {"x": IMAGE}, lambda x: fn.pixel_shuffle(x, 2)),
    of(
        "pixel_unshuffle",
        {"x": pictures((2, 4, 12, 10), (3, 4, 12, 10))},
        lambda x: fn.pixel_unshuffle(x, 2),
    ),
    of(
        "unfold_and_fold",
        {"x": FIXED},
        lambda x: fn.fold(fn.unfold(x, 3, padding=1), (12, 10), 3, padding=1),
    ),
    of("unfold_free", {"x": IMAGE}, lambda x: fn.unfold(x, 3, padding=1, stride=2)),
    of("channel_shuffle", {"x": IMAGE}, lambda x: fn.channel_shuffle(x, 2)),
    of("boxes_decoded", {"x": pictures((2, 20, 6, 5), (1, 20, 8, 4))}, boxes_decoded),
    of("standardized", {"x": IMAGE}, standardized),
    of("local_response", {"x": IMAGE}, lambda x: fn.local_response_norm(x, 3, alpha=0.5)),
    of("group_norm", {"x": IMAGE}, lambda x: fn.group_norm(x, 2)),
    of("normalize", {"x": IMAGE}, lambda x: fn.normalize(x, dim=1) + fn.softplus(x, beta=2)),
    of("glu", {"x": IMAGE}, lambda x: fn.glu(x, 1) + fn.mish(x[:, :2]) + fn.hardswish(x[:, 2:])),
    Case(
        "vision/transposed",
        lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2),
        {"input": IMAGE},
    ),
    Case(
        "vision/conv_3d",
        lambda: nn.Conv3d(3, 4, (3, 1, 2), stride=(1, 2, 1), dilation=(1, 1, 2)),
        {"input": floats((2, 3, 5, 6, 7), (1, 3, 6, 4, 8))},
    ),
    Case(
        "vision/conv_circular",
        lambda: nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular", groups=4),
        {"input": IMAGE},
    ),
]
