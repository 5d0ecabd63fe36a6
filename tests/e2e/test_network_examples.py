"""The networks of examples/networks, built from real weights, give what the models they copy give."""

from __future__ import annotations

import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch
from torch import Tensor, nn

import modelport
from modelport.codebases.torchvision_operators import import_torchvision
from modelport.engines import ENGINES
from modelport.engines.scratch import opened
from modelport.errors import WeightsError
from modelport.graph.query import operator_counts
from modelport.types import Target
from support import ROOT, enliven, shared_model

EXAMPLES = ROOT / "examples" / "networks"


def build(name: str) -> Callable[[Any], modelport.Network]:
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))["build"]


class LeNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5, padding=2), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.avg_pool2d(torch.tanh(self.conv1(x)), 2)
        x = nn.functional.avg_pool2d(torch.tanh(self.conv2(x)), 2).flatten(1)
        return self.fc3(torch.tanh(self.fc2(torch.tanh(self.fc1(x)))))


def torchvision_model(name: str) -> nn.Module:
    found = import_torchvision()
    if found is None:
        pytest.skip("torchvision is not installed")
    return getattr(found.models, name)()


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "lenet": (LeNet, (1, 28, 28)),
    "resnet18": (lambda: torchvision_model("resnet18"), (3, 224, 224)),
    "mobilenet_v3": (lambda: torchvision_model("mobilenet_v3_small"), (3, 224, 224)),
}


def lively(name: str) -> nn.Module:
    make, shape = MODELS[name]
    torch.manual_seed(0)
    size = shape if name == "lenet" else (3, 64, 64)
    return enliven(make(), torch.empty(8, *size))


def assert_equal(found: np.ndarray, wanted: np.ndarray) -> None:
    assert wanted.std() > 0.1, "outputs move with the input"
    scale = float(np.abs(wanted).max())
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4 * scale)


@pytest.mark.parametrize("name", MODELS)
def test_example_equals_pytorch_on_two_inputs(name: str) -> None:
    module = lively(name)
    weights = modelport.Network().weights(module)
    net = build(name)(weights)
    assert weights.unused == []
    model = net.build()
    for batch in (1, 2):
        x = torch.randn(batch, *MODELS[name][1], generator=torch.Generator().manual_seed(batch))
        with torch.no_grad():
            wanted = module(x).numpy()
        assert_equal(net.run(x.numpy())["logits"], wanted)
    paths = dict(module.named_modules())
    parts = {node.metadata_props["modelport.module"] for node in model.graph}
    assert parts - {""} <= set(paths), "provenance has PyTorch's names"
    weighted = {node.name for node in model.graph if node.op_type in ("Conv", "Gemm")}
    layers = [key for key, part in paths.items() if isinstance(part, (nn.Conv2d, nn.Linear))]
    assert weighted == {
        f"{key}/{'Conv' if isinstance(paths[key], nn.Conv2d) else 'Gemm'}" for key in layers
    }


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_resnet18_compiles_on_both_engines(engine: str) -> None:
    reason = ENGINES.get(engine).available()
    if reason:
        pytest.skip(reason)
    module = lively("resnet18")
    net = build("resnet18")(module)
    model = modelport.optimize(net).model
    assert "BatchNormalization" not in operator_counts(model)
    x = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        wanted = module(x).numpy()
    for graph in (net.build(), model):
        with opened(ENGINES.get(engine), graph, Target(threads=1)) as session:
            assert_equal(session.run({"image": x.numpy()})["logits"], wanted)


def test_resnet18_in_half_precision() -> None:
    module = lively("resnet18")
    net = build("resnet18")(module).half()
    x = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        wanted = module(x).numpy()
    found = net.run(x.numpy())["logits"]
    assert found.dtype == np.float32
    assert np.abs(found - wanted).max() < 0.02 * np.abs(wanted).max()


def test_examples_read_weights_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the command line calls them: without arguments, from the working folder."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError, match=r"There is no weights file lenet.safetensors"):
        modelport.export(f"{EXAMPLES / 'lenet.py'}:build")
    from safetensors.torch import save_file

    save_file(lively("lenet").state_dict(), "lenet.safetensors")
    exported = modelport.export(f"{EXAMPLES / 'lenet.py'}:build", output="lenet.onnx")
    assert str(exported.signature.inputs[0]) == "image: float32 1..64x1x28x28"
    assert (tmp_path / "lenet.onnx").is_file()


def test_yolox_nano_equals_its_file_on_two_inputs(tmp_path: Path) -> None:
    file = shared_model("yolox_nano.onnx")
    rebuilt = tmp_path / "rebuilt.onnx"
    subprocess.run(
        [sys.executable, EXAMPLES / "yolox_nano.py", file, rebuilt], check=True, timeout=120
    )
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    ours, theirs = (ort.InferenceSession(str(path), options) for path in (rebuilt, file))
    for seed in (0, 1):
        image = np.random.default_rng(seed).uniform(0, 255, (1, 3, 416, 416)).astype(np.float32)
        (found,), (wanted,) = (session.run(None, {"images": image}) for session in (ours, theirs))
        assert_equal(found, wanted)
