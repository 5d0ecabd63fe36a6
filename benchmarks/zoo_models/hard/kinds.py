"""Element types, tensors without axes, and batches without rows."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from zoo_models.case import Case, Leaf, bools, floats, ints
from zoo_models.hard.small import case_of

of = partial(case_of, "kinds")


class Bytes(nn.Module):
    """A camera's bytes, normalised within the network."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([123.7, 116.3, 103.5]).view(1, 3, 1, 1))
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, image: Tensor) -> Tensor:
        x = image.permute(0, 3, 1, 2).float()
        return self.conv((x - self.mean) / 57.0)


class Half(nn.Module):
    """Weights of half precision inside, floats outside."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 4).half()

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x.half()).float()


class Double(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 4).double()

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x).tanh()


def mixed(x: Tensor, y: Tensor) -> Tensor:
    """int * float, bool + int, and a comparison back to float."""
    return x * y + (y > 2) * x.sum() + (y % 3).to(x.dtype) // 2


def integer_arithmetic(x: Tensor) -> tuple[Tensor, ...]:
    return x // 7, x % 7, -x // 7, torch.div(x, 7, rounding_mode="trunc"), x / 7, x**2, x >> 1


def bits(x: Tensor) -> tuple[Tensor, ...]:
    return x & 6, x | 1, x ^ 3, ~x


CASES = [
    Case(
        "kinds/uint8_image",
        Bytes,
        {"image": ints(256, (2, 9, 9, 3), (1, 12, 7, 3), dtype=torch.uint8)},
    ),
    Case("kinds/half_weights", Half, {"x": floats((2, 8))}),
    Case(
        "kinds/float16_input",
        lambda: nn.Linear(8, 4).half(),
        {"input": floats((2, 8), dtype=torch.float16)},
    ),
    Case("kinds/float64_input", Double, {"x": floats((2, 8), (3, 8), dtype=torch.float64)}),
    of("bfloat16_inside", {"x": floats((2, 8))}, lambda x: (x.bfloat16() * 2).float() + x),
    of(
        "bool_input",
        {"x": bools((3, 5)), "y": floats((3, 5))},
        lambda x, y: torch.where(x, y, -y) + x,
    ),
    of("bool_output", {"x": floats((3, 5))}, lambda x: (x > 0) & ~(x > 1) | (x < -1)),
    of(
        "bool_reductions",
        {"x": bools((4, 3)), "y": bools((4, 3))},
        lambda x, y: (x.any(1), y.all(0), (x ^ y).sum(1), x.float().mean()),
    ),
    of("int32_input", {"x": ints(50, (3, 4), dtype=torch.int32)}, lambda x: x * 2 + x.max()),
    of("int_arithmetic", {"x": ints(99, (3, 4), low=-99)}, integer_arithmetic),
    of("bits", {"x": ints(64, (3, 4))}, bits),
    of("mixed_types", {"x": floats((3, 4)), "y": ints(9, (3, 4))}, mixed),
    of("no_axes", {"x": floats((3, 4)), "y": floats(())}, lambda x, y: x * y + y.abs().sqrt()),
    of("no_axes_int", {"x": floats((6, 4)), "y": ints(6, ())}, lambda x, y: x[y]),
    of("no_axes_out", {"x": floats((3, 4))}, lambda x: (x.sum(), x.norm(), x.argmax())),
    of(
        "empty_batch",
        {"x": floats((2, 4), (3, 4), (0, 4))},
        lambda x: torch.relu(x) @ torch.ones(4, 2),
        moves=False,
    ),
    of("empty_cat", {"x": floats((3, 4))}, lambda x: torch.cat([x.new_zeros(0, 4), x * 2, x[:0]])),
    of(
        "casts",
        {"x": floats((3, 4))},
        lambda x: (
            x.long(),
            x.to(torch.uint8, copy=True).int() * 0 + x.int(),
            x.bool(),
            x.double(),
        ),
    ),
    of(
        "nan_and_infinity",
        {"x": floats((3, 4))},
        lambda x: (torch.nan_to_num((x - x[:, :1]) / 0 + x), torch.isfinite(1 / (x - x[:, :1]))),
    ),
    of(
        "rounding",
        {"x": floats((3, 9))},
        lambda x: (
            x.round(),
            x.floor(),
            x.ceil(),
            x.trunc(),
            x.frac(),
            x.sign(),
            (x * 2).round() / 2,
        ),
    ),
    Case("kinds/complex_input", lambda: _Magnitude(), {"z": Leaf(((3, 4),), torch.complex64)}),
]


class _Magnitude(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        return (z * z.conj()).real.sqrt() + z.angle()
