"""An operator of your own, written as standard ONNX: `torch.library.custom_op` and a translation.

    modelport deploy examples/new_operators/translated.py:build -o build/translated

torch sees one operator, whatever it does inside. The translation says what it is in ONNX.
"""

import torch
from torch import Tensor, nn

import modelport


@torch.library.custom_op("example_translated::wave", mutates_args=())
def wave(x: Tensor, rate: float) -> Tensor:
    """sin(rate * x) + x, by compiled code that no exporter can look into."""
    return torch.from_numpy((x.double() * rate).sin().numpy()).to(x.dtype) + x


@wave.register_fake
def _(x: Tensor, rate: float) -> Tensor:
    return torch.empty_like(x)


@modelport.rewrites.operator("example_translated::wave", way="translation")
def wave_as_onnx(x, rate):
    """Writes wave with Mul, Sin and Add."""
    from onnxscript import opset20 as op

    return op.Add(op.Sin(op.Mul(x, rate)), x)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return wave(self.layer(x), 1.5)


def build() -> modelport.Source:
    torch.manual_seed(0)
    return modelport.Source(Net(), inputs="x=1..4x8", rewrites=[wave_as_onnx])
