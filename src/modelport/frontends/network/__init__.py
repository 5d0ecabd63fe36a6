"""The builder: a network written layer by layer, with weights from anywhere.

net = modelport.Network("small")
weights = net.weights("small.safetensors")
x = net.input("image=1x3x224x224")
x = net.relu(net.conv2d(x, weights["conv1"], stride=2, padding="same"))
net.output(net.linear(net.flatten(x), weights["fc"]), "logits")
net.save("small.onnx")
"""

from modelport.frontends.network.network import Network
from modelport.frontends.network.tensor import Tensor
from modelport.frontends.network.weights import Weight, Weights, weights_from_bin

__all__ = ["Network", "Tensor", "Weight", "Weights", "weights_from_bin"]
