"""Two detectors in the manner of YOLOv8-nano and RTMDet-tiny, up to the raw boxes and scores.

Written for measuring: depths, widths, kernels and strides are those of the published models, the weights
are random. Sources of the figures: the papers and configurations of YOLOv8 (Ultralytics) and RTMDet
(arXiv:2212.07784).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

CLASSES = 80


class Conv(nn.Module):
    def __init__(
        self, inside: int, outside: int, kernel: int = 1, stride: int = 1, groups: int = 1
    ):
        super().__init__()
        self.conv = nn.Conv2d(
            inside, outside, kernel, stride, kernel // 2, groups=groups, bias=False
        )
        self.norm = nn.BatchNorm2d(outside)

    def forward(self, x: Tensor) -> Tensor:
        return functional.silu(self.norm(self.conv(x)))


class Residual(nn.Module):
    """Two convolutions; the input is added where asked."""

    def __init__(self, first: nn.Module, second: nn.Module, *, add: bool) -> None:
        super().__init__()
        self.first, self.second, self.add = first, second, add

    def forward(self, x: Tensor) -> Tensor:
        made = self.second(self.first(x))
        return x + made if self.add else made


class C2f(nn.Module):
    """Half of the channels go through a row of blocks, each of whose results is kept."""

    def __init__(self, inside: int, outside: int, count: int, *, add: bool) -> None:
        super().__init__()
        half = outside // 2
        self.enter = Conv(inside, outside)
        self.blocks = nn.ModuleList(
            Residual(Conv(half, half, 3), Conv(half, half, 3), add=add) for _ in range(count)
        )
        self.leave = Conv((2 + count) * half, outside)

    def forward(self, x: Tensor) -> Tensor:
        found = list(self.enter(x).chunk(2, 1))
        for block in self.blocks:
            found.append(block(found[-1]))
        return self.leave(torch.cat(found, 1))


class PooledInRow(nn.Module):
    """SPPF: the same pooling thrice, one after another."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.enter, self.leave = Conv(channels, channels // 2), Conv(channels * 2, channels)
        self.pool = nn.MaxPool2d(5, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        found = [self.enter(x)]
        for _ in range(3):
            found.append(self.pool(found[-1]))
        return self.leave(torch.cat(found, 1))


class Pyramid(nn.Module):
    """Three scales joined downwards, then upwards again; `block(inside, outside)` works on each join."""

    def __init__(
        self, widths: Sequence[int], block: Callable[[int, int], nn.Module], *, narrow: bool
    ) -> None:
        super().__init__()
        low, middle, high = widths
        self.narrow = nn.ModuleList(
            [Conv(high, middle), Conv(middle, low)] if narrow else [nn.Identity(), nn.Identity()]
        )
        self.down = nn.ModuleList(
            [
                block((middle if narrow else high) + middle, middle),
                block((low if narrow else middle) + low, low),
            ]
        )
        self.steps = nn.ModuleList([Conv(low, low, 3, 2), Conv(middle, middle, 3, 2)])
        ups = (low + (low if narrow else middle), middle + (middle if narrow else high))
        self.up = nn.ModuleList([block(ups[0], middle), block(ups[1], high)])

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        low, middle, high = features
        top = self.narrow[0](high)
        merged = self.down[0](torch.cat([_doubled(top), middle], 1))
        below = self.narrow[1](merged)
        first = self.down[1](torch.cat([_doubled(below), low], 1))
        second = self.up[0](torch.cat([self.steps[0](first), below], 1))
        third = self.up[1](torch.cat([self.steps[1](second), top], 1))
        return [first, second, third]


def _doubled(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")


class YoloV8Like(nn.Module):
    """Boxes as distributions over 16 bins, scores by sigmoid: 1x84x8400 at 640."""

    BINS = 16

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            Conv(3, 16, 3, 2), Conv(16, 32, 3, 2), C2f(32, 32, 1, add=True), Conv(32, 64, 3, 2),
            C2f(64, 64, 2, add=True),
        )  # fmt: skip
        self.middle = nn.Sequential(Conv(64, 128, 3, 2), C2f(128, 128, 2, add=True))
        self.deep = nn.Sequential(
            Conv(128, 256, 3, 2), C2f(256, 256, 1, add=True), PooledInRow(256)
        )
        widths = (64, 128, 256)
        self.neck = Pyramid(widths, lambda a, b: C2f(a, b, 1, add=False), narrow=False)
        self.boxes = nn.ModuleList(_branch(width, 64, 4 * self.BINS) for width in widths)
        self.scores = nn.ModuleList(_branch(width, 80, CLASSES) for width in widths)
        self.register_buffer("bins", torch.arange(self.BINS, dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        low = self.stem(x)
        middle = self.middle(low)
        features = self.neck([low, middle, self.deep(middle)])
        boxes = torch.cat([h(f).flatten(2) for h, f in zip(self.boxes, features, strict=True)], 2)
        scores = torch.cat([h(f).flatten(2) for h, f in zip(self.scores, features, strict=True)], 2)
        share = boxes.reshape(boxes.shape[0], 4, self.BINS, -1).softmax(2)
        distances = (share * self.bins.view(1, 1, -1, 1)).sum(2)
        return torch.cat([distances, scores.sigmoid()], 1)


def _branch(inside: int, width: int, outside: int) -> nn.Sequential:
    return nn.Sequential(
        Conv(inside, width, 3), Conv(width, width, 3), nn.Conv2d(width, outside, 1)
    )


class Separable(nn.Module):
    """A depthwise convolution of five by five, then a pointwise one."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = Conv(channels, channels, 5, groups=channels)
        self.pointwise = Conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(x))


class ChannelAttention(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * functional.hardsigmoid(self.conv(x.mean((2, 3), keepdim=True)))


class CspNext(nn.Module):
    """A cross-stage layer of CSPNeXt blocks, attention over channels at its end where asked."""

    def __init__(
        self, inside: int, outside: int, count: int, *, add: bool, attend: bool = False
    ) -> None:
        super().__init__()
        half = outside // 2
        self.main, self.short = Conv(inside, half), Conv(inside, half)
        self.blocks = nn.Sequential(
            *(Residual(Conv(half, half, 3), Separable(half), add=add) for _ in range(count))
        )
        self.attention = ChannelAttention(outside) if attend else nn.Identity()
        self.leave = Conv(outside, outside)

    def forward(self, x: Tensor) -> Tensor:
        joined = torch.cat([self.blocks(self.main(x)), self.short(x)], 1)
        return self.leave(self.attention(joined))


PRIOR = -4.595
"""Logit of one place in a hundred having something: where such heads start (Lin et al., arXiv:1708.02002)."""


class RtmDetLike(nn.Module):
    """Scores and distances of three scales, as the head of RTMDet gives them before decoding."""

    WIDTH = 96

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(Conv(3, 12, 3, 2), Conv(12, 12, 3), Conv(12, 24, 3))
        widths = (48, 96, 192, 384)
        self.stages = nn.ModuleList()
        inside = 24
        for place, outside in enumerate(widths):
            last = place == len(widths) - 1
            parts = [Conv(inside, outside, 3, 2), *([PooledInRow(outside)] if last else [])]
            count = 1
            parts.append(CspNext(outside, outside, count, add=not last, attend=True))
            self.stages.append(nn.Sequential(*parts))
            inside = outside
        self.neck = Pyramid(widths[1:], lambda a, b: CspNext(a, b, 1, add=False), narrow=True)
        self.even = nn.ModuleList(Conv(width, self.WIDTH, 3) for width in widths[1:])
        # Convolutions are shared between the scales, normalisations are not.
        self.class_convs, self.box_convs = self._shared(), self._shared()
        self.class_norms, self.box_norms = self._norms(), self._norms()
        self.scores, self.boxes = nn.Conv2d(self.WIDTH, CLASSES, 1), nn.Conv2d(self.WIDTH, 4, 1)
        assert self.scores.bias is not None
        nn.init.constant_(self.scores.bias, PRIOR)

    def _shared(self) -> nn.ModuleList:
        return nn.ModuleList(
            nn.Conv2d(self.WIDTH, self.WIDTH, 3, 1, 1, bias=False) for _ in range(2)
        )

    def _norms(self) -> nn.ModuleList:
        return nn.ModuleList(
            nn.ModuleList(nn.BatchNorm2d(self.WIDTH) for _ in range(2)) for _ in range(3)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features, found = self.stem(x), []
        for stage in self.stages:
            features = stage(features)
            found.append(features)
        scores, boxes = [], []
        for scale, feature in enumerate(self.neck(found[1:])):
            even = self.even[scale](feature)
            scores.append(self.scores(_row(even, self.class_convs, self.class_norms[scale])))
            boxes.append(self.boxes(_row(even, self.box_convs, self.box_norms[scale])))
        return (
            torch.cat([each.flatten(2) for each in scores], 2),
            torch.cat([each.flatten(2) for each in boxes], 2),
        )


def _row(x: Tensor, convs: nn.ModuleList, norms: nn.ModuleList) -> Tensor:
    for conv, norm in zip(convs, norms, strict=True):
        x = functional.silu(norm(conv(x)))
    return x
