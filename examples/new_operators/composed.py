"""A new operator composed of those that exist: nothing to install, every engine runs it.

    modelport deploy examples/new_operators/composed.py:build -o build/composed

torch has `cdist`, and ONNX has not. A decomposition writes it with operators that both have.
"""

import torch
from torch import Tensor, nn

import modelport


@modelport.rewrites.operator("aten::cdist")
def sums_of_differences(x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: int | None = None):
    """Adds up what each pair of rows differs by."""
    differences = (x1.unsqueeze(-2) - x2.unsqueeze(-3)).abs()
    return differences.pow(p).sum(-1).pow(1 / p)


class Prototypes(nn.Module):
    """How far each row is from each of five prototypes, counted along the axes."""

    def __init__(self) -> None:
        super().__init__()
        self.places = nn.Parameter(torch.randn(5, 8))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cdist(x, self.places, p=1.0)


def build() -> modelport.Source:
    torch.manual_seed(0)
    return modelport.Source(Prototypes(), inputs="x=1..4x8", rewrites=[sums_of_differences])
