"""An operator with a gradient of its own: a `torch.autograd.Function`.

    modelport deploy examples/new_operators/autograd.py:build -o build/autograd

Both exporters look into `forward`, so there is nothing to write as long as that is made of torch's
operators. Where it calls compiled code, or an engine has something better, a rewrite of `apply` says
what to export instead.
"""

from typing import Any

import torch
from torch import Tensor, nn

import modelport


class RoundThrough(torch.autograd.Function):
    """Rounds to steps, and lets the gradient through as if it had not."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, steps: float) -> Tensor:
        ctx.save_for_backward(x)
        return torch.round(x * steps) / steps

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return gradient * (x.abs() <= 1), None


class Compiled(torch.autograd.Function):
    """Stands for a function whose forward is compiled code: no exporter can look into numpy."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return torch.from_numpy(abs(x.numpy()))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        raise NotImplementedError


@modelport.rewrites.function(f"{__name__}.Compiled.apply")
def plain_absolute(original: Any, x: Tensor) -> Tensor:
    """Writes the compiled function with torch's own operator."""
    return x.abs()


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return RoundThrough.apply(Compiled.apply(self.layer(x)), 16.0)


def build() -> modelport.Source:
    torch.manual_seed(0)
    return modelport.Source(Net(), inputs="x=1..4x8", rewrites=[plain_absolute])
