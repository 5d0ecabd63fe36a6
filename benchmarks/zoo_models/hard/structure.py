"""Modules that are put together, called or changed in unusual ways."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from zoo_models.case import Case, floats, pictures

X = floats((3, 8), (5, 8))


class Lists(nn.Module):
    """ModuleList, ModuleDict, ParameterList and ParameterDict, some by computed names."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))
        self.heads = nn.ModuleDict({"a": nn.Linear(8, 2), "b.c".replace(".", "_"): nn.Linear(8, 3)})
        self.scales = nn.ParameterList(torch.rand(8) + 0.5 for _ in range(3))
        self.shifts = nn.ParameterDict({"a": torch.randn(2), "b_c": torch.randn(3)})

    def forward(self, x: Tensor) -> list[Tensor]:
        for layer, scale in zip(self.layers, self.scales, strict=True):
            x = layer(x).tanh() * scale
        return [head(x) + self.shifts[name] for name, head in self.heads.items()]


class Tied(nn.Module):
    """One weight as embedding and as head, one layer called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.encode, self.decode = nn.Linear(8, 5, bias=False), nn.Linear(5, 8)
        self.decode.weight = nn.Parameter(torch.randn(8, 5))
        self.encode.weight = nn.Parameter(torch.randn(5, 8))
        self.again = nn.Linear(8, 5, bias=False)
        self.again.weight = self.encode.weight
        self.block = nn.Sequential(self.decode, nn.Tanh(), self.again)

    def forward(self, x: Tensor) -> Tensor:
        return self.block(self.block(self.encode(x))) @ self.encode.weight


class OwnCall(nn.Linear):
    """Some libraries override `__call__` itself."""

    def __call__(self, x: Tensor) -> Tensor:
        return super().__call__(x * 2) + 1


class CallsOwnCall(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = OwnCall(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x)


def partial_forward() -> nn.Module:
    """`forward` replaced by a partial, as wrappers for several tasks do."""

    def forward(module: nn.Module, x: Tensor, scale: float) -> Tensor:
        return module.fc(x) * scale

    module = nn.Module()
    module.fc = nn.Linear(8, 4)
    module.forward = partial(forward, module, scale=3.0)
    return module


def hooked() -> nn.Module:
    """Results changed by hooks before and after."""
    module = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))
    module[0].register_forward_pre_hook(lambda _, args: (args[0] + 1,))
    module[2].register_forward_hook(lambda _, __, result: result * 2)
    return module


def keyword_hooked() -> nn.Module:
    module = nn.Linear(8, 4)

    def halve(_: nn.Module, args: Any, kwargs: Any) -> Any:
        return tuple(part / 2 for part in args), {k: v / 2 for k, v in kwargs.items()}

    module.register_forward_pre_hook(halve, with_kwargs=True)
    return module


class Collects(nn.Module):
    """Intermediate results taken by a hook, as feature extractors do."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 4))
        self.found: list[Tensor] = []
        self.body[1].register_forward_hook(self._keep)

    def _keep(self, _: nn.Module, __: Any, result: Tensor) -> None:
        self.found.append(result)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.found.clear()
        y = self.body(x)
        return y, self.found[0]


class Counts(nn.Module):
    """A buffer that every call changes."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.fc = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.fc(x) * self.calls


class Averages(nn.Module):
    """A running mean that is written before it is read."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(8))

    def forward(self, x: Tensor) -> Tensor:
        self.mean.mul_(0.9).add_(0.1 * x.mean(0))
        return x - self.mean


class Remembers(nn.Module):
    """A memory of the last frame, kept as a buffer that is put anew."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("last", torch.zeros(3, 8))

    def forward(self, x: Tensor) -> Tensor:
        change = x - self.last
        self.last = x.clone()
        return change.abs() + self.last


class Attributes(nn.Module):
    """Plain tensors and numbers as attributes, made without register_buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.linspace(-1, 1, 8)
        self.eps = torch.tensor(1e-3)
        self.sizes = {"hidden": 4}

    def forward(self, x: Tensor) -> Tensor:
        kept = x[:, : self.sizes["hidden"]]
        return kept * self.table[:4] / (kept.norm(dim=1, keepdim=True) + self.eps)


class Cached(nn.Module):
    """Makes its grid once and keeps it for the next call of the same size."""

    def __init__(self) -> None:
        super().__init__()
        self.grid: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.grid is None or self.grid.shape[-1] != x.shape[-1]:
            self.grid = torch.arange(x.shape[-1]).float()
        return x * self.grid


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.1 * torch.tanh(self.fc(x))


class RepBlock(nn.Module):
    """Branches with BatchNorms of their own, one of them an identity: RepVGG in training."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4))
        self.narrow = nn.Sequential(nn.Conv2d(4, 4, 1, bias=False), nn.BatchNorm2d(4))
        self.identity = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        return (self.wide(x) + self.narrow(x) + self.identity(x)).relu()


class Centred(nn.Module):
    """A parametrization: weights whose rows sum to zero."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight - weight.mean(1, keepdim=True)


def parametrized() -> nn.Module:
    layer = nn.Linear(8, 4)
    parametrize.register_parametrization(layer, "weight", Centred())
    return layer


def deep() -> nn.Module:
    return nn.Sequential(*(Residual() for _ in range(150)))


def nested_deep() -> nn.Module:
    module: nn.Module = nn.Linear(8, 8)
    for _ in range(40):
        module = nn.Sequential(module, nn.Tanh())
    return module


def _case(name: str, build: Any, inputs: Any = None, **settings: Any) -> Case:
    return Case(f"structure/{name}", build, inputs or {"x": X}, **settings)


_INPUT = {"input": X}
STATE = {"state": True}
CASES = [
    _case("lists", Lists),
    _case("tied", Tied),
    _case("own_call", CallsOwnCall),
    _case("partial_forward", partial_forward),
    _case("hooked", hooked, _INPUT),
    _case("keyword_hooked", keyword_hooked, _INPUT),
    _case("collects", Collects),
    _case("counts", Counts, calls=2, options=STATE),
    _case("averages", Averages, calls=2, options=STATE),
    _case("remembers", Remembers, {"x": floats((3, 8))}, calls=2, options=STATE),
    _case("attributes", Attributes),
    _case("cached", Cached, {"x": floats((3, 8), (3, 6))}),
    _case("rep_block", RepBlock, {"x": pictures((2, 4, 8, 6), (1, 4, 9, 12))}),
    _case("weight_norm", lambda: parametrizations.weight_norm(nn.Linear(8, 4)), _INPUT),
    _case("spectral_norm", lambda: parametrizations.spectral_norm(nn.Linear(8, 4)), _INPUT),
    _case("parametrized", parametrized, _INPUT),
    _case("deep", deep, _INPUT),
    _case("nested_deep", nested_deep, _INPUT),
    _case("frozen", lambda: nn.Linear(8, 4).requires_grad_(False), _INPUT),
]
