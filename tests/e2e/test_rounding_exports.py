"""Networks that magnify rounding are proved by what they give in double precision."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import modelport
from modelport.errors import VerificationError


class Magnifier(nn.Module):
    """The small difference of two large sums: some three digits of it are rounding."""

    def __init__(self, spread: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.one, self.other = nn.Linear(4096, 8), nn.Linear(4096, 8)
        with torch.no_grad():
            self.other.weight.copy_(self.one.weight + spread * torch.randn(8, 4096))
            self.other.bias.copy_(self.one.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (self.one(x + 3) - self.other(x + 3)) * 1e4


X = torch.randn(2, 4096, generator=torch.Generator().manual_seed(3))


def test_rounding_is_told_from_mistakes() -> None:
    exported = modelport.export(Magnifier(1e-6), X)
    assert any("magnifies rounding" in note for note in exported.notes)


def test_nothing_is_proved_where_rounding_is_all_there_is() -> None:
    with pytest.raises(VerificationError, match="differs from the source"):
        modelport.export(Magnifier(1e-10), X)


def test_a_calm_network_has_no_such_note() -> None:
    exported: Any = modelport.export(Magnifier(1e-2), X)
    assert not any("rounding" in note for note in exported.notes)
