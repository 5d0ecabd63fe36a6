"""LeNet-5, layer by layer, from the weights of a PyTorch module with the same names.

    modelport export examples/networks/lenet.py:build -o lenet.onnx

Architecture: LeCun et al., "Gradient-Based Learning Applied to Document Recognition", 1998.
"""

from typing import Any

import modelport


def build(weights: Any = "lenet.safetensors") -> modelport.Network:
    net = modelport.Network("lenet")
    w = net.weights(weights)

    x = net.input("image=1..64x1x28x28")
    x = net.tanh(net.conv2d(x, w["conv1"], padding=2))
    x = net.avg_pool2d(x, 2)
    x = net.tanh(net.conv2d(x, w["conv2"]))
    x = net.avg_pool2d(x, 2)
    x = net.flatten(x)
    x = net.tanh(net.linear(x, w["fc1"]))
    x = net.tanh(net.linear(x, w["fc2"]))
    net.output(net.linear(x, w["fc3"]), "logits")
    return net
