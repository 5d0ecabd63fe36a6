"""MobileNetV3-Small, from the weights of torchvision's `mobilenet_v3_small`.

    modelport deploy examples/networks/mobilenet_v3.py:build -o build/mobilenet_v3

Architecture: Howard et al., "Searching for MobileNetV3", 2019.
"""

from typing import Any

import modelport

STRIDES = (2, 2, 1, 2, 1, 1, 1, 1, 2, 1, 1)
"""Of each block; sizes, and which parts there are, are those of the weights."""

FIRST_SWISH = 4
"""Blocks from this one on use hardswish, those before it relu."""


def conv(net: modelport.Network, x: Any, w: Any, **how: Any) -> Any:
    """A convolution and its batch norm; what is depthwise has one input channel to a weight."""
    kernel = w["0.weight"]
    groups = x.shape[1] if kernel.shape[1] == 1 else 1
    padding = (kernel.shape[-1] - 1) // 2
    x = net.conv2d(x, w["0"], padding=padding, groups=groups, **how)
    return net.batch_norm(x, w["1"], epsilon=0.001)


def excite(net: modelport.Network, x: Any, w: Any) -> Any:
    """Each channel times what all channels together say of it."""
    scale = net.relu(net.conv2d(net.global_avg_pool(x), w["fc1"]))
    return x * net.hardsigmoid(net.conv2d(scale, w["fc2"]))


def block(net: modelport.Network, x: Any, w: Any, stride: int, activate: Any) -> Any:
    """Expansion, depthwise convolution, excitation, projection; the first and third are optional."""
    parts = [w["block"][place] for place in range(len({name.split(".")[1] for name in w}))]
    with net.scope(w):
        y = x
        for part in parts[:-1]:
            if "fc1" in part:
                y = excite(net, y, part)
            else:
                depthwise = part["0.weight"].shape[1] == 1
                y = activate(conv(net, y, part, stride=stride if depthwise else 1))
        y = conv(net, y, parts[-1])
        return x + y if stride == 1 and x.shape[1] == y.shape[1] else y


def build(weights: Any = "mobilenet_v3_small.pth") -> modelport.Network:
    net = modelport.Network("mobilenet_v3_small")
    w = net.weights(weights)
    features = w["features"]

    x = net.input("image=1..16x3x224x224")
    x = net.hardswish(conv(net, x, features[0], stride=2))
    for index, stride in enumerate(STRIDES, start=1):
        activate = net.hardswish if index >= FIRST_SWISH else net.relu
        x = block(net, x, features[index], stride, activate)
    x = net.hardswish(conv(net, x, features[len(STRIDES) + 1]))
    x = net.flatten(net.global_avg_pool(x))
    x = net.hardswish(net.linear(x, w["classifier.0"]))
    net.output(net.linear(x, w["classifier.3"]), "logits")
    return net
