"""From PyTorch to cut, edited and joined files: marks in the source, commands, and what they print."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch
from torch import nn

import modelport
from modelport.errors import UsageError
from modelport.graph import extract, io, merge, provenance
from support import Ran, small_net

Cli = Callable[..., Ran]

pytestmark = pytest.mark.filterwarnings("ignore")  # of torch about itself

EXPORTERS = ("torch.export", "torchscript")


class Marked(nn.Module):
    """A backbone with a skip into the head, marked twice; one mark on two tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4))
        self.left, self.right = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
        self.head = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        stem = modelport.mark(self.stem(x), "stem").relu()
        sides = [modelport.mark(side(stem), "sides") for side in (self.left, self.right)]
        return self.head((sides[0] * sides[1] + stem).mean((2, 3)))


class Plain(Marked):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        stem = self.stem(x).relu()
        return self.head((self.left(stem) * self.right(stem) + stem).mean((2, 3)))


def run(path: Path, feeds: dict[str, Any]) -> dict[str, Any]:
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    taken = {value.name: feeds[value.name] for value in session.get_inputs()}
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, taken), strict=True))


def exported(model: nn.Module, exporter: str, **more: Any) -> Any:
    options = modelport.ExportOptions(exporter=exporter)
    return modelport.export(model, "x=1..4x3x8x8", options=options, **more).model


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_marks_survive_and_cost_no_node(exporter: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net, plain = Marked().eval(), Plain().eval()
    model = exported(net, exporter)
    assert {name: len(values) for name, values in extract.marks(model).items()} == {
        "stem": 1,
        "sides": 2,
    }
    assert sorted(node.op_type for node in model.graph) == sorted(
        node.op_type for node in exported(plain, exporter).graph
    )
    assert extract.marks(model)["stem"][0].name == "stem"
    parts = extract.split(model)
    feeds = {"x": np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)}
    expected = net(torch.from_numpy(feeds["x"])).detach().numpy()
    known = dict(feeds)
    for number, part in enumerate(parts):
        io.save(part, tmp_path / f"{number}.onnx")
        known |= run(tmp_path / f"{number}.onnx", known)
    np.testing.assert_allclose(known["output"], expected, rtol=1e-4, atol=1e-5)
    io.save(merge.chain(parts), tmp_path / "whole.onnx")
    np.testing.assert_allclose(
        run(tmp_path / "whole.onnx", feeds)["output"], expected, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_marks_at_the_ends(exporter: str) -> None:
    """On an input, on what is returned, and on what is returned twice."""

    class Ends(nn.Module):
        def forward(self, x: torch.Tensor) -> Any:
            y = modelport.mark(modelport.mark(x, "start") + 1, "end")
            return y, modelport.mark(y * 2, "twice")

    model = exported(Ends(), exporter)
    assert list(extract.marks(model)) == ["start", "end", "twice"]
    assert [node.op_type for node in model.graph] == ["Add", "Mul"]


def test_marks_in_branches_that_are_joined() -> None:
    class Two(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = modelport.mark(x * 3, "before")
            return y + 1 if y.sum() > 0 else y - 1

    options = modelport.ExportOptions(branches="join")
    model = modelport.export(Two(), "x=1x4", options=options).model
    assert list(extract.marks(model)) == ["before"]


def test_a_mark_gives_its_argument_back() -> None:
    x = torch.ones(2)
    assert modelport.mark(x, "here") is x


def test_a_mark_that_cannot_be_a_name() -> None:
    class Bad(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return modelport.mark(x * 2, "the neck")

    with pytest.raises(UsageError, match="A tensor is marked 'the neck'"):
        modelport.export(Bad(), "x=1x4")
    assert modelport.mark(3, "the neck") == 3, "nothing is left behind"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("small") / "small.onnx"
    modelport.export(small_net(), "image=1..4x3x32x32", output=path)
    return path


def test_commands_from_end_to_end(small: Path, tmp_path: Path, cli: Cli) -> None:
    found = cli("inspect", small, "--nodes", "stem", "--json").json["nodes"]
    assert {node["module"] for node in found} == {"stem.0", "stem.2"}
    assert found[0]["merged"] == ["stem.1"]
    told = cli("inspect", small, "--nodes", "stem.0", "--save-weights", tmp_path / "w.safetensors")
    assert "merged: stem.1" in told.stdout
    assert "2 weights:" in told.stdout

    out = tmp_path / "out.onnx"
    done = cli(
        "edit", small, "-o", out, "--set-input", "image:uint8", "--add-output", "pointwise features",
        "--insert-after", "output Softmax axis=-1", "--replace", "depthwise.2 HardSwish",
    )  # fmt: skip
    assert done.status == 0, done.stderr
    assert "+ head: Softmax" in done.stdout
    x = np.random.default_rng(0).integers(0, 256, (2, 3, 32, 32)).astype(np.uint8)
    results = run(out, {"image": x})
    np.testing.assert_allclose(results["output"].sum(1), 1, rtol=1e-5)
    assert results["features"].shape == (2, 32, 16, 16)

    parts = tmp_path / "parts"
    assert cli("extract", small, "-o", parts, "--at", "module:depthwise").status == 0
    assert cli("merge", parts / "1.onnx", parts / "2.onnx", "-o", tmp_path / "m.onnx").status == 0
    assert cli("diff", small, tmp_path / "m.onnx").status == 0
    one = cli("extract", small, "-o", tmp_path / "one.onnx", "--module", "depthwise", "--json").json
    assert [spec.split("x", 1)[1] for spec in one[0]["outputs"]] == ["16x16x16"]
    done = cli("merge", small, small, "-o", tmp_path / "two.onnx", "--beside", "--share", "image")
    assert done.status == 0, done.stderr


def test_provenance_survives_a_round_trip(small: Path, tmp_path: Path) -> None:
    part = extract.module(io.load(small), "pointwise")
    io.save(part, tmp_path / "p.onnx")
    loaded = io.load(tmp_path / "p.onnx")
    assert [dict(node.metadata_props) for node in loaded.graph] == [
        dict(node.metadata_props) for node in part.graph
    ]
    assert {provenance.module_of(node) for node in loaded.graph} == {"pointwise.0", "pointwise.2"}


def test_view_writes_and_serves(
    small: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = tmp_path / "view.onnx"
    assert cli("view", small, "--functions", "--save", saved).status == 0
    assert {name for _, name, _ in io.load(saved).functions} >= {"stem", "depthwise", "pointwise"}
    x = {"image": np.ones((1, 3, 32, 32), np.float32)}
    np.testing.assert_allclose(run(saved, x)["output"], run(small, x)["output"], rtol=1e-5)

    monkeypatch.setitem(sys.modules, "netron", None)
    done = cli("view", small)
    assert done.status == 2
    assert 'pip install "modelport[view]"' in done.stderr

    seen: list[Any] = []

    def start(file: str, address: Any) -> tuple[str, int]:
        seen.append((Path(file).name, Path(file).is_file(), address))
        return "localhost", 8080

    netron = SimpleNamespace(start=start, wait=lambda: seen.append("waited"))
    monkeypatch.setitem(sys.modules, "netron", netron)
    assert cli("view", small, "--port", "8080").status == 0
    assert seen == [("small.onnx", True, ("localhost", 8080)), "waited"]
