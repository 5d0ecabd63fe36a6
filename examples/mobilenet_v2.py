"""MobileNetV2 as torchvision builds it, so that torchvision's ImageNet weights fit.

    modelport deploy examples/mobilenet_v2.py:build --weights mobilenet_v2-b0353104.pth \
        --calibration photos/ --budget 1% -o build/mobilenet_v2

Architecture: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", 2018.
"""

from torch import Tensor, nn

import modelport
from modelport import transforms

# expansion, channels, blocks, stride of the first block
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def conv_block(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1):
    padding = (kernel - 1) // 2
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU6(inplace=True))


class InvertedResidual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        layers = [] if expansion == 1 else [conv_block(inputs, hidden, kernel=1)]
        layers += [
            conv_block(hidden, hidden, kernel=3, stride=stride, groups=hidden),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        ]
        self.conv = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.residual else self.conv(x)


class MobileNetV2(nn.Module):
    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        channels = 32
        layers: list[nn.Module] = [conv_block(3, channels, kernel=3, stride=2)]
        for expansion, outputs, blocks, stride in STAGES:
            for index in range(blocks):
                first = stride if index == 0 else 1
                layers.append(InvertedResidual(channels, outputs, first, expansion))
                channels = outputs
        layers.append(conv_block(channels, 1280, kernel=1))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean((2, 3)))


def build() -> modelport.Source:
    return modelport.Source(
        MobileNetV2(),
        inputs="image=1x3x224x224",
        output_names=["logits"],
        transforms=transforms.imagenet(resize=256, crop=224, interpolation="pil.bilinear"),
        task="classification",
        licence="BSD-3-Clause",  # that of torchvision, whose weights these are
    )
