"""YOLOX-Nano, from the weights in an ONNX file of it, whose batch norms are folded already.

    python examples/networks/yolox_nano.py yolox_nano.onnx rebuilt.onnx

The exporter has replaced the names of folded weights by numbers, which rise in the order of use. Layers
here take the next pair, so they are written in that order.

Architecture: Ge et al., "YOLOX: Exceeding YOLO Series in 2021", 2021.
"""

import sys
from collections.abc import Iterator
from typing import Any

import modelport

CLASSES = 80


class Yolox:
    def __init__(self, weights: Any) -> None:
        self.net = modelport.Network("yolox_nano")
        self.weights = self.net.weights(weights)
        self.folded = self._in_order()

    def _in_order(self) -> Iterator[tuple[Any, Any]]:
        numbers = sorted(int(name) for name in self.weights if name.isdigit())
        arrays = [self.weights[number] for number in numbers]
        kernels = [place for place, array in enumerate(arrays) if array.ndim == 4]
        return ((arrays[place], arrays[place + 1]) for place in kernels)

    def conv(self, x: Any, stride: int = 1) -> Any:
        """The next convolution, depthwise where its weight has one input channel."""
        weight, bias = next(self.folded)
        groups = x.shape[1] if weight.shape[1] == 1 else 1
        padding = (weight.shape[-1] - 1) // 2
        x = self.net.conv2d(x, weight, bias, stride=stride, padding=padding, groups=groups)
        return self.net.silu(x)

    def separable(self, x: Any, stride: int = 1) -> Any:
        """A depthwise convolution and one of single pixels."""
        return self.conv(self.conv(x, stride))

    def csp(self, x: Any, blocks: int, shortcut: bool = True) -> Any:
        """Two ways, one of them through bottlenecks."""
        y, aside = self.conv(x), self.conv(x)
        for _ in range(blocks):
            z = self.separable(self.conv(y))
            y = z + y if shortcut else z
        return self.conv(self.net.concat([y, aside]))

    def focus(self, x: Any) -> Any:
        """Each square of four pixels becomes channels."""
        corners = [x[:, :, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.conv(self.net.concat(corners))

    def pyramid(self, x: Any) -> Any:
        """Neighbourhoods of several sizes beside each other."""
        x = self.conv(x)
        pools = [self.net.max_pool2d(x, size, 1, "same") for size in (5, 9, 13)]
        return self.conv(self.net.concat([x, *pools]))

    def backbone(self, x: Any) -> tuple[Any, Any, Any]:
        x = self.csp(self.separable(self.focus(x), 2), 1)
        eighth = self.csp(self.separable(x, 2), 3)
        sixteenth = self.csp(self.separable(eighth, 2), 3)
        x = self.pyramid(self.separable(sixteenth, 2))
        return eighth, sixteenth, self.csp(x, 1, shortcut=False)

    def neck(self, eighth: Any, sixteenth: Any, last: Any) -> tuple[Any, Any, Any]:
        """From coarse to fine, and back."""
        net = self.net
        coarse = self.conv(last)
        x = self.csp(net.concat([net.upsample(coarse, 2), sixteenth]), 1, shortcut=False)
        middle = self.conv(x)
        fine = self.csp(net.concat([net.upsample(middle, 2), eighth]), 1, shortcut=False)
        x = net.concat([self.separable(fine, 2), middle])
        middle = self.csp(x, 1, shortcut=False)
        x = net.concat([self.separable(middle, 2), coarse])
        return fine, middle, self.csp(x, 1, shortcut=False)

    def head(self, x: Any, level: int) -> Any:
        """Box, objectness and classes for each place."""
        net, w = self.net, self.weights["head"]
        x = self.conv(x)
        classes = self.separable(self.separable(x))
        classes = net.sigmoid(net.conv2d(classes, w["cls_preds"][level]))
        boxes = self.separable(self.separable(x))
        scores = net.sigmoid(net.conv2d(boxes, w["obj_preds"][level]))
        boxes = net.conv2d(boxes, w["reg_preds"][level])
        return net.concat([boxes, scores, classes]).reshape(1, 5 + CLASSES, -1)


def build(weights: Any = "yolox_nano.onnx") -> modelport.Network:
    model = Yolox(weights)
    net = model.net
    images = net.input("images=1x3x416x416")
    with net.scope("backbone"):
        features = model.backbone(images)
    with net.scope("neck"):
        features = model.neck(*features)
    levels = []
    for level, feature in enumerate(features):
        with net.scope(f"head.{level}"):
            levels.append(model.head(feature, level))
    net.output(net.concat(levels, axis=2).transpose(0, 2, 1), "output")
    return net


if __name__ == "__main__":
    build(sys.argv[1]).save(sys.argv[2])
