"""An operator that stays one node, with a function that every engine can run instead.

    modelport deploy examples/new_operators/portable.py:build -o build/portable

The graph has one node `example.portable::Wave`. An engine with a kernel for it uses the kernel; any
other runs the body of the function, which travels in the file.
"""

import onnxscript
import torch
from onnxscript import FLOAT
from onnxscript import opset20 as op
from torch import Tensor, nn

import modelport


@torch.library.custom_op("example_portable::wave", mutates_args=())
def wave(x: Tensor, rate: float) -> Tensor:
    return (x * rate).sin() + x


@wave.register_fake
def _(x: Tensor, rate: float) -> Tensor:
    return torch.empty_like(x)


@modelport.rewrites.operator("example_portable::wave", way="function")
@onnxscript.script(onnxscript.values.Opset("example.portable", 1), default_opset=op)
def Wave(x: FLOAT[...], rate: float) -> FLOAT[...]:  # noqa: N802  (the name of the node)
    """sin(rate * x) + x."""
    return op.Add(op.Sin(op.Mul(x, op.Constant(value_float=rate))), x)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(8, 4)
        self.second = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return wave(self.second(wave(self.first(x), 1.5)), 0.5)


def build() -> modelport.Source:
    torch.manual_seed(0)
    return modelport.Source(Net(), inputs="x=1..4x8", rewrites=[Wave])
