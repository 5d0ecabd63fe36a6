"""ResNet-18, from the weights of torchvision's module of that name.

    modelport deploy examples/networks/resnet18.py:build -o build/resnet18

Architecture: He et al., "Deep Residual Learning for Image Recognition", 2015.
"""

from typing import Any

import modelport

STRIDES = (1, 2, 2, 2)
"""Of the first block of each stage."""


def block(net: modelport.Network, x: Any, w: Any, stride: int) -> Any:
    with net.scope(w):
        y = net.conv2d(x, w["conv1"], stride=stride, padding=1)
        y = net.relu(net.batch_norm(y, w["bn1"]))
        y = net.conv2d(y, w["conv2"], padding=1)
        y = net.batch_norm(y, w["bn2"])
        if "downsample" in w:
            x = net.conv2d(x, w["downsample.0"], stride=stride)
            x = net.batch_norm(x, w["downsample.1"])
        return net.relu(x + y)


def build(weights: Any = "resnet18.pth") -> modelport.Network:
    net = modelport.Network("resnet18")
    w = net.weights(weights)

    x = net.input("image=1..16x3x224x224")
    x = net.conv2d(x, w["conv1"], stride=2, padding=3)
    x = net.relu(net.batch_norm(x, w["bn1"]))
    x = net.max_pool2d(x, 3, stride=2, padding=1)
    for stage, stride in enumerate(STRIDES, start=1):
        x = block(net, x, w[f"layer{stage}.0"], stride)
        x = block(net, x, w[f"layer{stage}.1"], 1)
    x = net.flatten(net.global_avg_pool(x))
    net.output(net.linear(x, w["fc"]), "logits")
    return net
