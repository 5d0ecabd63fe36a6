"""Four real networks that every engine must run: a ResNet, a MobileNetV3, a ViT and a YOLO-like one.

Their weights are seeded so that outputs move with inputs; sizes are small, so that all engines at all
precisions take minutes and not hours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from modelport.codebases.torchvision_operators import import_torchvision
from support import enliven


class ConvBlock(nn.Module):
    def __init__(self, inside: int, outside: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inside, outside, kernel, stride, kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(outside)

    def forward(self, x: Tensor) -> Tensor:
        return functional.silu(self.norm(self.conv(x)))


class SplitStage(nn.Module):
    """A stage whose channels are split, one half going through residual blocks."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.enter = ConvBlock(channels, channels, 1)
        self.blocks = nn.Sequential(ConvBlock(half, half), ConvBlock(half, half))
        self.leave = ConvBlock(channels + half, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.enter(x).chunk(2, 1)
        return self.leave(torch.cat([left, right, right + self.blocks(right)], 1))


class Pooling(nn.Module):
    """Three poolings in a row, joined: SPPF."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.enter = ConvBlock(channels, channels // 2, 1)
        self.pool = nn.MaxPool2d(5, 1, 2)
        self.leave = ConvBlock(channels * 2, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        found = [self.enter(x)]
        for _ in range(3):
            found.append(self.pool(found[-1]))
        return self.leave(torch.cat(found, 1))


class YoloLike(nn.Module):
    """Two scales with an upsampling between; boxes through a softmax over bins, scores by sigmoid."""

    BINS = 8

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        self.stem = nn.Sequential(ConvBlock(3, 16, 3, 2), ConvBlock(16, 32, 3, 2), SplitStage(32))
        self.middle = nn.Sequential(ConvBlock(32, 64, 3, 2), SplitStage(64))
        self.deep = nn.Sequential(ConvBlock(64, 96, 3, 2), SplitStage(96), Pooling(96))
        self.merge = nn.Sequential(ConvBlock(160, 64, 1), SplitStage(64))
        self.heads = nn.ModuleList(
            nn.Conv2d(channels, 4 * self.BINS + classes, 1) for channels in (64, 96)
        )
        self.register_buffer("bins", torch.arange(self.BINS, dtype=torch.float32))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        middle = self.middle(self.stem(x))
        deep = self.deep(middle)
        up = functional.interpolate(deep, scale_factor=2.0, mode="nearest")
        merged = self.merge(torch.cat([up, middle], 1))
        flat = [h(f).flatten(2) for h, f in zip(self.heads, (merged, deep), strict=True)]
        boxes, scores = torch.cat(flat, 2).split([4 * self.BINS, flat[0].shape[1] - 32], 1)
        share = boxes.reshape(boxes.shape[0], 4, self.BINS, -1).softmax(2)
        return (share * self.bins.view(1, 1, -1, 1)).sum(2), scores.sigmoid()


@dataclass(frozen=True)
class Network:
    """Attributes:
    build: makes the module.
    inputs: its specification, with the batch free.
    """

    build: Callable[[], nn.Module]
    side: int

    @property
    def fixed(self) -> str:
        return f"x=1x3x{self.side}x{self.side}"

    @property
    def free(self) -> str:
        return f"x=1..4x3x{self.side}x{self.side}"

    def module(self) -> nn.Module:
        torch.manual_seed(0)
        module = self.build().eval()
        return enliven(module, torch.rand(4, 3, self.side, self.side))


def _timm(name: str, **settings: int) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import_torchvision()
        import timm

        made: nn.Module = timm.create_model(name, pretrained=False, num_classes=10, **settings)
        return made

    return build


NETWORKS = {
    "resnet18": Network(_timm("resnet18"), 64),
    "mobilenetv3": Network(_timm("mobilenetv3_small_100"), 64),
    "vit": Network(_timm("vit_tiny_patch16_224", img_size=64, depth=4), 64),
    "yolo": Network(YoloLike, 96),
}
