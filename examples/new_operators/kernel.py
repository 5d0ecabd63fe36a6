"""An operator with a kernel of its own for each engine that needs one.

    gcc -shared -fPIC -O2 examples/new_operators/kernels/wave_onnxruntime.c -lm -o libwave.so
    modelport deploy examples/new_operators/kernel.py:build --operators libwave.so -o build/kernel

The graph has the node `example.kernel::Wave`, and nothing that says what it means: ONNX Runtime runs the
kernel of the library. Use this where the kernel does what ONNX cannot say. Where ONNX can, write
`portable.py` and give it a kernel too; engines without one then still run the model.
"""

import torch
from torch import Tensor, nn

import modelport


@torch.library.custom_op("example_kernel::wave", mutates_args=())
def wave(x: Tensor, rate: float) -> Tensor:
    return (x * rate).sin() + x


@wave.register_fake
def _(x: Tensor, rate: float) -> Tensor:
    return torch.empty_like(x)


@modelport.rewrites.operator("example_kernel::wave")
def wave_as_node(x: Tensor, rate: float) -> Tensor:
    """Writes one node of the domain example.kernel."""
    return torch.onnx.ops.symbolic(
        "example.kernel::Wave", [x], {"rate": rate}, dtype=x.dtype, shape=x.shape, version=1
    )


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 4)
        self.act = Wave(1.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.layer(x))


class Wave(nn.Module):
    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        return wave(x, self.rate)


def build() -> modelport.Source:
    torch.manual_seed(0)
    return modelport.Source(Net(), inputs="x=1..4x8", rewrites=[wave_as_node])
