"""Functions of single elements, and softmax."""

from __future__ import annotations

import math
from typing import Any

from modelport.frontends.network.core import Core, layer
from modelport.frontends.network.mistakes import Refused
from modelport.frontends.network.tensor import Tensor, written


class Activations(Core):
    @layer
    def relu(self, x: Any) -> Tensor:
        return self.one("Relu", x)

    @layer
    def relu6(self, x: Any) -> Tensor:
        """Between 0 and 6."""
        return self.one("Clip", x, 0.0, 6.0)

    @layer
    def leaky_relu(self, x: Any, slope: float = 0.01) -> Tensor:
        return self.one("LeakyRelu", x, alpha=slope)

    @layer
    def prelu(self, x: Any, weight: Any) -> Tensor:
        """Negative elements times `weight`: one number, or one for each channel; or a group with it."""
        x = self.taken(x)
        (slope,) = self.parameters(x, weight, {"weight": "weight"}, {})
        if slope is None:
            raise Refused("there is no weight")
        if slope.rank == 1 and x.rank > 2:
            many = slope.shape[0]
            if many not in (1, x.shape[1]):
                raise Refused(
                    f"the input has {x.shape[1]} channels, the weight has shape "
                    f"{written(slope.shape)}"
                )
            slope = self.one("Reshape", slope, [-1, *[1] * (x.rank - 2)])
        return self.one("PRelu", x, slope)

    @layer
    def elu(self, x: Any, alpha: float = 1.0) -> Tensor:
        return self.one("Elu", x, alpha=alpha)

    @layer
    def silu(self, x: Any) -> Tensor:
        """`x * sigmoid(x)`, also called swish."""
        x = self.taken(x)
        return self.one("Mul", x, self.one("Sigmoid", x))

    @layer
    def gelu(self, x: Any, approximate: str = "none") -> Tensor:
        """`approximate` is `none` or `tanh`."""
        x = self.taken(x)
        if self.opset >= 20:
            return self.one("Gelu", x, approximate=approximate)
        if approximate != "none":
            raise Refused(
                f"opset {self.opset} has no Gelu that approximates by {approximate}",
                hint="It came with opset 20: modelport.Network(name, opset=20)",
            )
        grown = self.one("Erf", self.one("Div", x, math.sqrt(2.0)))
        return self.one("Mul", self.one("Mul", x, self.one("Add", grown, 1.0)), 0.5)

    @layer
    def mish(self, x: Any) -> Tensor:
        return self.one("Mish", x)

    @layer
    def hardswish(self, x: Any) -> Tensor:
        """`x * hardsigmoid(x)`."""
        return self.one("HardSwish", x)

    @layer
    def hardsigmoid(self, x: Any) -> Tensor:
        """`x / 6 + 1/2`, between 0 and 1, as in PyTorch."""
        return self.one("HardSigmoid", x, alpha=1 / 6, beta=0.5)

    @layer
    def sigmoid(self, x: Any) -> Tensor:
        return self.one("Sigmoid", x)

    @layer
    def tanh(self, x: Any) -> Tensor:
        return self.one("Tanh", x)

    @layer
    def softplus(self, x: Any) -> Tensor:
        return self.one("Softplus", x)

    @layer
    def softmax(self, x: Any, axis: int = -1) -> Tensor:
        return self.one("Softmax", x, axis=axis)

    @layer
    def log_softmax(self, x: Any, axis: int = -1) -> Tensor:
        return self.one("LogSoftmax", x, axis=axis)

    @layer
    def exp(self, x: Any) -> Tensor:
        return self.one("Exp", x)

    @layer
    def log(self, x: Any) -> Tensor:
        return self.one("Log", x)

    @layer
    def sqrt(self, x: Any) -> Tensor:
        return self.one("Sqrt", x)

    @layer
    def erf(self, x: Any) -> Tensor:
        return self.one("Erf", x)

    @layer
    def clip(self, x: Any, minimum: Any = None, maximum: Any = None) -> Tensor:
        """Between the two, either of which may be left out."""
        if minimum is None and maximum is None:
            raise Refused("there is neither a minimum nor a maximum")
        inputs = [x, minimum] if maximum is None else [x, minimum, maximum]
        return self.node("Clip", inputs)[0]
