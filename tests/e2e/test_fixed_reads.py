"""An `if` on buffers alone is no branch on data: every call goes the same way."""

from __future__ import annotations

from pathlib import Path

import onnxruntime as ort
import pytest
import torch
from torch import Tensor, nn

import modelport
from modelport.errors import ExportError


class Scheduled(nn.Module):
    """As EoMT masks attention: a setting in a buffer says how sure."""

    def __init__(self, chance: float) -> None:
        super().__init__()
        self.chances = nn.Buffer(torch.tensor([0.0, chance]))
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        for index in range(2):
            if self.chances[index] * 2 > 0.5:
                x = self.layer(x) * float(self.chances[index])
        return x + int(self.chances.sum().round())


class Counting(nn.Module):
    """Changes what it reads, so that its value is not fixed."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = nn.Buffer(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        limit = self.calls * 1
        limit.add_(x.sum() * 0 + 1)
        return x * 2 if limit > 0.5 else x


@pytest.mark.parametrize("chance", [1.0, 0.125])
def test_python_reads_a_buffer(chance: float, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Scheduled(chance).eval()
    exported = modelport.export(module, "x=1..4x4", output=tmp_path / "m.onnx")
    assert exported.exporter == "torch.export"
    assert "If" not in {node.op_type for node in exported.model.graph}
    session = ort.InferenceSession(str(tmp_path / "m.onnx"))
    for batch in (1, 3):
        x = torch.randn(batch, 4)
        with torch.no_grad():
            want = module(x)
        got = torch.from_numpy(session.run(None, {"x": x.numpy()})[0])
        torch.testing.assert_close(got, want)


def test_what_inputs_take_part_in_is_not_fixed() -> None:
    with pytest.raises(ExportError, match="test_fixed_reads"):
        modelport.export(Counting().eval(), "x=1..4x4")


class Both(nn.Module):
    """A branch on a buffer before one on the data."""

    def __init__(self) -> None:
        super().__init__()
        self.chance = nn.Buffer(torch.tensor([1.0]))

    def forward(self, x: Tensor) -> Tensor:
        x = x * 3 if self.chance > 0.5 else x
        return x + 1 if x.sum() > 0 else x * 2


def test_it_is_no_way_through_the_branches() -> None:
    options = modelport.ExportOptions(branches="join", exporter="torch.export")
    exported = modelport.export(Both().eval(), "x=1..4x4", options=options)
    assert [node.op_type for node in exported.model.graph].count("If") == 1
    assert not [note for note in exported.notes if "no random input" in note]


def test_what_is_written_into_is_not_fixed() -> None:
    class Writes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.limit = nn.Buffer(torch.ones(1))

        def forward(self, x: Tensor) -> Tensor:
            seen = self.limit * 1
            torch.add(seen, x.sum(), out=seen)
            return x * 2 if seen > 0.5 else x

    with pytest.raises(ExportError):
        modelport.export(Writes().eval(), "x=1..4x4")
