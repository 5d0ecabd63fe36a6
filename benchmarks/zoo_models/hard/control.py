"""Branches and loops on values, and functions with gradients of their own."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch._higher_order_ops.scan import scan
from torch._higher_order_ops.while_loop import while_loop

from zoo_models.case import Case, floats, ints, uniform
from zoo_models.hard.small import case_of

of = partial(case_of, "control")
X = floats((3, 4))


class Branch(nn.Module):
    """`torch.cond` over two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.warm, self.cold = nn.Linear(4, 5), nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cond(x.sum() > 0, self.warm, self.cold, (x,))


class NestedBranch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        def positive(x: Tensor) -> Tensor:
            return torch.cond(x.max() > 1.5, lambda x: x * 2, lambda x: x * 3, (x,))

        return torch.cond(x.mean() > 0, positive, lambda x: -x, (x,))


class BranchByInput(nn.Module):
    """A flag that is a tensor."""

    def forward(self, x: Tensor, wide: Tensor) -> Tensor:
        return torch.cond(wide, torch.cos, torch.sin, (x,))


class ReadBranch(nn.Module):
    """An `if` on a value: frozen into one branch it would be right for half of all inputs."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if x.sum() > 0 else x - 100


class EarlyExit(nn.Module):
    """As ReadBranch, by way of `.item()`."""

    def forward(self, x: Tensor) -> Tensor:
        threshold = x.abs().max().item()
        return x / threshold


class SizeBranch(nn.Module):
    """An `if` on a size is settled while tracing, and holds for the sizes that were promised."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1) if x.shape[1] < 100 else x.sum(1)


class Newton(nn.Module):
    """A while loop until it is close enough."""

    def forward(self, x: Tensor) -> Tensor:
        def unfinished(guess: Tensor, x: Tensor) -> Tensor:
            return ((guess * guess - x).abs() > 1e-4).any()

        def improve(guess: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
            return (guess + x / guess) / 2, x.clone()

        return while_loop(unfinished, improve, (x.clone(), x))[0]


class Scanned(nn.Module):
    def forward(self, x: Tensor) -> Any:
        def step(total: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
            total = torch.tanh(total + row)
            return total, total * 2

        return scan(step, torch.zeros(4), x)


class _Swish(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        context.save_for_backward(x)
        return x * torch.sigmoid(x)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        (x,) = context.saved_tensors
        s = torch.sigmoid(x)
        return gradient * (s + x * s * (1 - s))


class _Quantized(torch.autograd.Function):
    """Rounds forward, lets gradients pass: the straight-through estimator."""

    @staticmethod
    def forward(context: Any, x: Tensor, levels: int) -> Tensor:
        return (x.sigmoid() * levels).round() / levels

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


class OwnGradients(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 6)

    def forward(self, x: Tensor) -> Tensor:
        return _Swish.apply(self.fc(x))


class Gradient(nn.Module):
    """A gradient taken within forward, as in energy models."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.func.grad(lambda x: (x.tanh() ** 2).sum())(x)


class Experts(nn.Module):
    """A mixture of experts: each token goes to the two best ones."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(4, 3)
        self.experts = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        weights, chosen = self.gate(x).softmax(-1).topk(2, -1)
        y = torch.zeros_like(x)
        for index, expert in enumerate(self.experts):
            share = torch.where(chosen == index, weights, 0).sum(-1, keepdim=True)
            y = y + share * expert(x)
        return y


CASES = [
    Case("control/branch", Branch, {"x": floats((3, 4), (5, 4))}),
    Case("control/nested_branch", NestedBranch, {"x": X}),
    Case("control/branch_by_input", BranchByInput, {"x": X, "wide": ints(2, (), dtype=torch.bool)}),
    Case("control/read_branch", ReadBranch, {"x": floats((1, 3))}, options={"branches": "join"}),
    Case("control/early_exit", EarlyExit, {"x": X}),
    Case("control/size_branch", SizeBranch, {"x": floats((2, 5), (3, 9))}),
    Case("control/while_loop", Newton, {"x": uniform(0.5, 9.0, (3, 4))}),
    Case("control/scan", Scanned, {"x": floats((5, 4))}),
    Case("control/own_gradients", OwnGradients, {"x": floats((3, 4), (5, 4))}),
    of("straight_through", {"x": X}, lambda x: _Quantized.apply(x, 15)),
    Case("control/gradient", Gradient, {"x": X}),
    Case("control/experts", Experts, {"x": floats((3, 4), (7, 4))}),
    of("vmap", {"x": floats((3, 4, 4))}, lambda x: torch.vmap(lambda m: (m @ m).diagonal())(x)),
    of(
        "checkpoint",
        {"x": X},
        lambda x: torch.utils.checkpoint.checkpoint(torch.tanh, x, use_reentrant=False),
    ),
    of("loop_over_rows", {"x": X}, lambda x: torch.stack([row.softmax(0) for row in x])),
    of("dropout_asleep", {"x": X}, lambda x: torch.nn.functional.dropout(x, training=False) * 2),
]
