"""From every kind of source to a bundle that proves itself and runs without PyTorch."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import modelport
from modelport.bundle.read import Bundle
from modelport.errors import (
    BudgetError,
    ExportError,
    ModelportError,
    UsageError,
    VerificationError,
)
from modelport.graph import io, provenance
from modelport.graph.query import operator_counts
from modelport.types import Dim
from modelport.verify.metrics import sqnr_db
from support import CLASSES, TRANSFORMS, enliven, entries, small_net, small_source, write_blocker

FAST: dict[str, Any] = {
    "engines": ["onnxruntime"],
    "precisions": ["fp32"],
    "report": False,
    "threads": 1,
}


def assert_runs_as(bundle: Bundle, module: nn.Module, *tensors: Tensor) -> None:
    """The bundle's first output for ready tensors is that of the module."""
    with torch.inference_mode():
        want = module(*tensors).numpy()
    names = [spec.name for spec in bundle.signature.inputs]
    feeds = {name: tensor.numpy() for name, tensor in zip(names, tensors, strict=True)}
    with modelport.load(bundle.path, threads=1) as predictor:
        got = next(iter(predictor.session.run(feeds).values()))
    assert got.shape == want.shape
    assert sqnr_db(want, got) > 90


def graph_of(bundle: Bundle) -> Any:
    (entry,) = [each for each in bundle.variants if each.name == "onnxruntime-fp32"]
    return io.load(bundle.path / entry.files["model"])


def pixels(*shape: int, seed: int = 5) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# --- sources ------------------------------------------------------------------------------------


def test_from_a_module(tmp_path: Path) -> None:
    module = small_net()
    bundle = modelport.deploy(module, "image=1x3x32x32", output=tmp_path / "bundle", **FAST)
    assert bundle.manifest.name == "SmallNet"
    assert bundle.manifest.task.name == "tensors"
    assert bundle.signature.inputs[0].name == "image"
    assert_runs_as(bundle, module, pixels(1, 3, 32, 32))
    assert modelport.verify(bundle.path).passed


def test_from_a_module_with_example_tensors(tmp_path: Path) -> None:
    module = small_net()
    bundle = modelport.deploy(module, pixels(2, 3, 32, 32), output=tmp_path / "bundle", **FAST)
    assert bundle.signature.inputs[0].shape == (2, 3, 32, 32)
    assert bundle.signature.inputs[0].name == "x", "the parameter of forward lends its name"
    assert_runs_as(bundle, module, pixels(2, 3, 32, 32))


def test_from_a_source(small_bundle: Path, pictures: Path) -> None:
    bundle = Bundle(small_bundle)
    manifest = bundle.manifest
    assert manifest.name == "small"
    assert manifest.licence == "Apache-2.0"
    assert manifest.labels == CLASSES
    assert [entry["kind"] for entry in manifest.transforms] == [t.kind for t in TRANSFORMS]
    assert [spec.name for spec in bundle.signature.outputs] == ["logits"]
    assert manifest.provenance.calibration_samples == 12
    assert manifest.provenance.verification_samples == 12
    assert_runs_as(bundle, small_net(), pixels(1, 3, 32, 32))


def test_from_a_file_and_function(tmp_path: Path) -> None:
    path = tmp_path / "net.py"
    path.write_text(
        textwrap.dedent("""
        from torch import nn
        from helper import WIDTH

        def build():
            return nn.Sequential(nn.Linear(WIDTH, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
        """)
    )
    (tmp_path / "helper.py").write_text("WIDTH = 5\n")
    bundle = modelport.deploy(f"{path}:build", "x=2x5", output=tmp_path / "bundle", **FAST)
    assert bundle.manifest.provenance.source == f"{path.name}:build"
    assert bundle.signature.inputs[0].shape == (2, 5)
    assert modelport.verify(bundle.path).passed


def test_weights_are_loaded_and_recorded(tmp_path: Path) -> None:
    module, trained = small_net(seed=1), small_net(seed=2)
    torch.save({"state_dict": trained.state_dict()}, tmp_path / "w.pth")
    bundle = modelport.deploy(
        module, "image=1x3x32x32", weights=tmp_path / "w.pth", output=tmp_path / "bundle", **FAST
    )
    assert_runs_as(bundle, trained, pixels(1, 3, 32, 32))
    assert bundle.manifest.provenance.weights == "w.pth"
    assert bundle.manifest.provenance.weights_sha256 is not None


def test_from_an_onnx_file(tmp_path: Path, sum_file: Path) -> None:
    bundle = modelport.deploy(sum_file, output=tmp_path / "bundle", **FAST)
    assert bundle.manifest.name == "sum"
    assert [spec.name for spec in bundle.signature.inputs] == ["a", "b"]
    assert modelport.verify(bundle.path).passed
    with modelport.load(bundle.path) as predictor:
        ones = np.ones((1, 4), np.float32)
        assert predictor({"a": ones, "b": ones})["total"].tolist() == [[2.0] * 4]


@pytest.mark.parametrize("exporter", ["torch.export", "TorchScript"])
def test_from_an_onnx_file_that_torch_wrote(exporter: str, tmp_path: Path) -> None:
    module, path = small_net(), tmp_path / "net.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # whoever exported it saw torch's own remarks
        torch.onnx.export(
            module, (pixels(1, 3, 32, 32),), str(path), input_names=["image"],
            dynamo=exporter == "torch.export", verbose=False,
        )  # fmt: skip
    bundle = modelport.deploy(path, output=tmp_path / "bundle", **FAST)
    assert operator_counts(graph_of(bundle)).get("BatchNormalization", 0) == 0
    assert_runs_as(bundle, module, pixels(1, 3, 32, 32))


def test_in_training_mode(tmp_path: Path) -> None:
    """A module fresh from training is exported as it is used: dropout rests, statistics stay."""
    module = nn.Sequential(small_net(), nn.Dropout(0.5)).train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    bundle = modelport.deploy(module, "x=1x3x32x32", output=tmp_path / "bundle", **FAST)
    assert_runs_as(bundle, module.eval(), pixels(1, 3, 32, 32))
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name]), name


# --- free sizes ---------------------------------------------------------------------------------


def test_a_free_batch(batch_bundle: Path) -> None:
    bundle = Bundle(batch_bundle)
    size = bundle.signature.inputs[0].shape[0]
    assert isinstance(size, Dim)
    assert (size.minimum, size.maximum) == (1, 4)
    for count in (1, 2, 3, 4):
        assert_runs_as(bundle, small_net(), pixels(count, 3, 32, 32))
    assert modelport.verify(batch_bundle).passed


class Convolutional(nn.Module):
    """Takes any size and keeps it."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 2, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


def test_free_height_and_width(tmp_path: Path) -> None:
    module = enliven(Convolutional(), torch.empty(4, 3, 32, 32))
    bundle = modelport.deploy(module, "image=1x3x32..96x32..96", output=tmp_path / "bundle", **FAST)
    for height, width in ((32, 32), (33, 32), (48, 80), (96, 96)):
        assert_runs_as(bundle, module, pixels(1, 3, height, width))
    with modelport.load(bundle.path) as predictor:
        for size in (31, 97):
            with pytest.raises(modelport.ModelportError, match=r"1x3x32\.\.96x32\.\.96"):
                predictor.infer(np.zeros((1, 3, size, 32), np.float32))


# --- data ---------------------------------------------------------------------------------------


def test_without_data(tmp_path: Path) -> None:
    bundle = modelport.deploy(
        small_net(), "x=1x3x32x32", output=tmp_path / "bundle",
        engines=["onnxruntime"], report=False, threads=1,
    )  # fmt: skip
    manifest = bundle.manifest
    reasons = {
        entry.name: entry.reason for entry in manifest.variants if entry.verdict == "rejected"
    }
    assert reasons["onnxruntime-int8"].startswith(
        "int8 needs calibration data: point --calibration"
    )
    assert manifest.provenance.calibration_samples == 0
    assert manifest.provenance.verification_data == "random feeds"
    assert any("random feeds, which say little" in note for note in manifest.provenance.notes)
    assert len(manifest.cases) == 4
    assert not any(case.seen_in_calibration for case in manifest.cases)


def test_with_array_feeds(tmp_path: Path) -> None:
    folder = tmp_path / "feeds"
    folder.mkdir()
    for index in range(6):
        np.save(folder / f"{index}.npy", pixels(1, 3, 32, 32, seed=index).numpy())
    bundle = modelport.deploy(
        small_net(), "x=1x3x32x32", output=tmp_path / "bundle", calibration=folder,
        engines=["onnxruntime"], precisions=["fp32", "int8"], budget="100%", report=False, threads=1,
    )  # fmt: skip
    assert bundle.manifest.provenance.calibration_samples == 6
    assert {entry.name for entry in bundle.variants} == {
        "onnxruntime-fp32",
        "onnxruntime-int8",
        "onnxruntime-int8-mixed",
    }
    assert all(case.picture is None for case in bundle.cases)
    check = modelport.verify(bundle.path)
    assert check.passed, check.problems
    assert check.grey_levels is None


def test_held_out_data(tmp_path: Path, pictures: Path) -> None:
    bundle = modelport.deploy(
        small_source(), output=tmp_path / "bundle", verification=pictures, **FAST
    )
    assert bundle.manifest.provenance.held_out
    assert bundle.manifest.provenance.calibration_samples == 0
    assert bundle.manifest.provenance.verification_samples == 12


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(6, 4), nn.Linear(3, 4)

    def forward(self, image: Tensor, mask: Tensor) -> dict[str, Tensor]:
        return {"total": self.left(image) + self.right(mask), "mask": mask.sum(1)}


def test_two_inputs_and_two_outputs(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Pair()
    feeds = {"image": pixels(1, 6).numpy(), "mask": pixels(1, 3, seed=6).numpy()}
    np.savez(tmp_path / "feeds.npz", **feeds)
    bundle = modelport.deploy(
        module, {"image": "1x6", "mask": "1x3"}, output=tmp_path / "bundle",
        verification=tmp_path / "feeds.npz", **FAST,
    )  # fmt: skip
    assert [str(spec) for spec in bundle.signature.inputs] == [
        "image: float32 1x6",
        "mask: float32 1x3",
    ]
    assert [spec.name for spec in bundle.signature.outputs] == ["total", "mask_output"]
    with modelport.load(bundle.path) as predictor, torch.inference_mode():
        got = predictor(feeds)
        want = module(torch.from_numpy(feeds["image"]), torch.from_numpy(feeds["mask"]))
    for array, tensor in zip(got.outputs.values(), want.values(), strict=True):
        np.testing.assert_allclose(array, tensor.numpy(), rtol=1e-5, atol=1e-6)
    assert modelport.verify(bundle.path).passed


def test_named_inputs_go_where_forward_takes_them(tmp_path: Path) -> None:
    """A dictionary has names, so its order must not matter."""
    torch.manual_seed(0)
    module = Pair()
    bundle = modelport.deploy(
        module, {"mask": "1x3", "image": "1x6"}, output=tmp_path / "bundle", **FAST
    )
    assert [spec.name for spec in bundle.signature.inputs] == ["image", "mask"]
    assert [spec.name for spec in bundle.signature.outputs] == ["total", "mask_output"]


@pytest.mark.parametrize(
    "names", [["one"], ["one", "two", "three"], ["one", "one"], ["one", "mask"]], ids=" ".join
)
def test_names_of_outputs_that_cannot_be(names: list[str], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"2 names, each once and none that an input has\."):
        modelport.deploy(
            Pair(), ["1x6", "1x3"], output_names=names, output=tmp_path / "bundle", **FAST
        )
    assert list(tmp_path.iterdir()) == []


class Extra(nn.Module):
    """Returns a structure with holes, as model libraries do."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, x: Tensor, scale: Tensor | None = None, shift: Tensor | None = None) -> Any:
        y = self.layer(x)
        return (y if shift is None else y + shift), None, [y * 2]


def test_outputs_with_holes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Extra()
    bundle = modelport.deploy(module, "x=1x4", output=tmp_path / "bundle", **FAST)
    assert [str(spec) for spec in bundle.signature.outputs] == [
        "output_0: float32 1x2",
        "output_1: float32 1x2",
    ]


def test_inputs_with_a_gap(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Extra()
    inputs = {"x": "1x4", "shift": "1x2"}
    bundle = modelport.deploy(module, inputs, output=tmp_path / "b", **FAST)
    assert [spec.name for spec in bundle.signature.inputs] == ["x", "shift"]
    feeds = {"x": torch.randn(1, 4), "shift": torch.randn(1, 2)}
    want, _, _ = module.eval()(feeds["x"], shift=feeds["shift"])
    with modelport.load(bundle.path) as predictor:
        got = predictor.infer({name: value.numpy() for name, value in feeds.items()})
    np.testing.assert_allclose(got.outputs["output_0"], want.detach(), atol=1e-5)


def test_integers_stay_within_those_of_the_examples(tmp_path: Path) -> None:
    """They index a table of ten rows: anything else would be an error of the model."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 2))
    tokens = torch.tensor([[1, 9, 0, 3]])
    bundle = modelport.deploy(module, tokens, output=tmp_path / "bundle", **FAST)
    assert str(bundle.signature.inputs[0]) == "input: int64 1x4"
    assert_runs_as(bundle, module, tokens.flip(1))


# --- the bundle ---------------------------------------------------------------------------------


def test_verify_proves_every_variant(small_bundle: Path) -> None:
    check = modelport.verify(small_bundle, threads=1)
    assert check.passed, check.problems
    assert check.grey_levels is not None
    assert check.grey_levels <= 1.0
    manifest = Bundle(small_bundle).manifest
    assert check.files == len(manifest.files)
    assert {each.name for each in check.variants} == {
        entry.name for entry in manifest.variants if entry.verdict != "rejected"
    }
    assert all(each.passed for each in check.variants if each.skipped is None)


def test_budget_rejects_what_loses_too_much(tmp_path: Path, pictures: Path) -> None:
    bundle = modelport.deploy(
        small_source(), output=tmp_path / "bundle", calibration=pictures, engines=["onnxruntime"],
        precisions=["fp32", "int8"], budget="0.01%", report=False, threads=1,
    )  # fmt: skip
    verdicts = {entry.name: entry for entry in bundle.manifest.variants}
    assert verdicts["onnxruntime-fp32"].verdict == "chosen"
    rejected = verdicts["onnxruntime-int8"]
    assert rejected.verdict == "rejected"
    assert rejected.fidelity is not None
    assert rejected.fidelity.passed, "it is a sound int8 model, and still over the budget"
    assert rejected.reason.endswith("% is over the budget of 0.01%")
    assert rejected.files == {}
    held = {name.split("/")[1] for name in entries(bundle.path) if name.startswith("artifacts/")}
    assert held == {"onnxruntime-fp32"}


def test_an_archive_answers_as_a_folder(tmp_path: Path, pictures: Path) -> None:
    archive = modelport.deploy(
        small_source(), output=tmp_path / "b.zip", calibration=pictures, **FAST
    )
    folder = modelport.deploy(small_source(), output=tmp_path / "b", calibration=pictures, **FAST)
    assert archive.path.is_file()
    files = sorted(pictures.iterdir())
    with modelport.load(archive.path) as one, modelport.load(folder.path) as other:
        assert one(files) == other(files)
    assert modelport.verify(archive.path).passed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "b.zip"]


def test_a_bundle_is_replaced_whole(tmp_path: Path, sum_file: Path) -> None:
    first = modelport.deploy(sum_file, output=tmp_path / "b", name="first", **FAST)
    second = modelport.deploy(
        sum_file, output=tmp_path / "b", name="second", overwrite=True, **FAST
    )
    assert (first.manifest.name, second.manifest.name) == ("first", "second")
    assert Bundle(tmp_path / "b").manifest.name == "second"
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_two_deployments_differ_in_times_only(tmp_path: Path, pictures: Path) -> None:
    manifests = []
    for name in ("one", "two"):
        bundle = modelport.deploy(
            small_source(), output=tmp_path / name, calibration=pictures, **FAST
        )
        content = bundle.manifest.model_dump(mode="json", exclude={"created", "checksum"})
        for variant in content["variants"]:
            del variant["latency"]
        manifests.append(json.dumps(content, indent=1))
    assert manifests[0] == manifests[1]


def test_a_bundle_names_no_folder_of_the_machine_that_made_it(small_bundle: Path) -> None:
    home, here = str(Path.home()).encode(), str(small_bundle.parent).encode()
    for name in entries(small_bundle):
        if (small_bundle / name).is_file():
            content = (small_bundle / name).read_bytes()
            assert home + b"/" not in content, name
            assert here not in content, name


def test_loads_without_the_compiler(small_bundle: Path, pictures: Path, tmp_path: Path) -> None:
    """A production machine has no PyTorch and no ONNX; nothing of ours may ask for them either."""
    file = sorted(pictures.iterdir())[0]
    code = (
        "import sys, modelport\n"
        f"with modelport.load({str(small_bundle)!r}) as predictor:\n"
        f"    answer = predictor({str(file)!r})\n"
        f"    predictor([{str(file)!r}] * 2)\n"
        f"assert modelport.verify({str(small_bundle)!r}).passed\n"
        "rooms = ('passes', 'graph', 'frontends', 'quantize', 'report')\n"
        "loaded = [n for n in sys.modules if n.startswith(tuple(f'modelport.{r}' for r in rooms))]\n"
        "assert not loaded, loaded\n"
        "print(answer.label)"
    )
    blocked = ["torch", "onnx", "onnx_ir", "onnxscript", "nncf", "matplotlib", "jinja2", "cv2"]
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={"PYTHONPATH": str(write_blocker(tmp_path, blocked))},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == modelport.load(small_bundle)(file).label


def test_report_is_written_beside_the_manifest(tmp_path: Path, pictures: Path) -> None:
    pytest.importorskip("matplotlib", reason="the extra `report` is not installed")
    bundle = modelport.deploy(
        small_source(), output=tmp_path / "b", calibration=pictures, **{**FAST, "report": True}
    )
    page = (bundle.path / "report.html").read_text(encoding="utf-8")
    assert "onnxruntime-fp32" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert bundle.manifest.file("report.html").size_bytes == len(page.encode())
    modelport.deploy(
        small_source(), output=tmp_path / "b.zip", calibration=pictures, **{**FAST, "report": True}
    )
    assert (tmp_path / "b.report.html").is_file()


# --- proofs -------------------------------------------------------------------------------------


class WrongWhenExported(nn.Module):
    """Stands for whatever tracing gets wrong: the graph has a number of its own."""

    def forward(self, x: Tensor) -> Tensor:
        return x * (1.5 if torch.compiler.is_exporting() else 1.0)


class NumberFromTracing(nn.Module):
    """Keeps a Python float of the first thing it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = 1.0

    def forward(self, x: Tensor) -> Tensor:
        if torch.compiler.is_exporting():
            return x * self.scale
        self.scale = 2.0
        return x * self.scale if x.shape[0] > 1 else x * float(x.mean())


class CountingBatch(nn.Module):
    """Right for the batch it was traced with alone."""

    def forward(self, x: Tensor) -> Tensor:
        return x * (2.0 if torch.compiler.is_exporting() else float(x.shape[0]))


TORCH_EXPORT_ALONE = modelport.ExportOptions(exporter="torch.export")


def test_the_other_exporter_may_be_right(tmp_path: Path) -> None:
    bundle = modelport.deploy(WrongWhenExported(), "x=1x4", output=tmp_path / "bundle", **FAST)
    made = bundle.manifest.provenance
    assert made.exporter == "torchscript"
    assert made.export_attempts[0].startswith("torch.export: wrong: The exported graph differs")
    assert any(note.startswith("not used: torch.export: wrong") for note in made.notes)
    assert_runs_as(bundle, WrongWhenExported(), torch.randn(1, 4))


@pytest.mark.parametrize("module", [WrongWhenExported, NumberFromTracing])
def test_a_number_fixed_while_tracing_is_found(module: type[nn.Module], tmp_path: Path) -> None:
    with pytest.raises(VerificationError) as caught:
        modelport.deploy(
            module(), "x=1x4", output=tmp_path / "bundle", export=TORCH_EXPORT_ALONE, **FAST
        )
    assert "The exported graph differs from the source for x [1, 4]: " in str(caught.value)
    assert "fixed while tracing: look for Python numbers computed from tensors" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_size_fixed_while_tracing_is_found(tmp_path: Path) -> None:
    with pytest.raises(ModelportError) as caught:
        modelport.deploy(CountingBatch(), "x=1..8x4", output=tmp_path / "bundle", **FAST)
    assert isinstance(caught.value, (VerificationError, ExportError))
    assert list(tmp_path.iterdir()) == []


def test_outputs_that_do_not_move_are_noted(tmp_path: Path) -> None:
    module = nn.Linear(4, 2)
    nn.init.zeros_(module.weight)
    bundle = modelport.deploy(module, "x=1x4", output=tmp_path / "bundle", **FAST)
    assert any("gave the same outputs" in note for note in bundle.manifest.provenance.notes)


def test_nothing_within_the_budget(tmp_path: Path, pictures: Path) -> None:
    with pytest.raises(BudgetError, match=r"fidelity budget of 0\.00%"):
        modelport.deploy(
            small_source(task="tensors"), output=tmp_path / "bundle", calibration=pictures,
            engines=["onnxruntime"], precisions=["int8"], budget=0, report=False,
        )  # fmt: skip
    assert list(tmp_path.iterdir()) == []


# --- the graph ----------------------------------------------------------------------------------


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = (
            nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )
            if stride > 1 or inputs != outputs
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        short = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(y)) + short)


class ResNet18(nn.Module):
    """The layers of ResNet-18, eight times narrower."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        widths = (8, 8, 16, 32, 64)
        for index in range(4):
            first = Block(widths[index], widths[index + 1], 1 if index == 0 else 2)
            second = Block(widths[index + 1], widths[index + 1], 1)
            setattr(self, f"layer{index + 1}", nn.Sequential(first, second))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    return enliven(ResNet18(), torch.empty(4, 3, 64, 64))


@pytest.fixture(scope="module")
def resnet_bundle(resnet: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    output = tmp_path_factory.mktemp("resnet") / "bundle"
    return modelport.deploy(resnet, "image=1x3x64x64", output=output, **FAST)


def test_no_batchnorm_is_left_of_twenty(resnet: nn.Module, resnet_bundle: Bundle) -> None:
    made = resnet_bundle.manifest.provenance
    assert made.operators_before["BatchNormalization"] == 20
    assert sum(isinstance(part, nn.BatchNorm2d) for part in resnet.modules()) == 20
    after = operator_counts(graph_of(resnet_bundle))
    assert after == made.operators_after
    assert {"Conv": 20, "Relu": 17, "Add": 8, "MaxPool": 1, "Gemm": 1}.items() <= after.items()
    assert "BatchNormalization" not in after
    assert sum(after.values()) <= 49, after
    assert_runs_as(resnet_bundle, resnet, pixels(1, 3, 64, 64))


def test_every_node_knows_its_module(resnet: nn.Module, resnet_bundle: Bundle) -> None:
    paths = dict(resnet.named_modules())
    graph = graph_of(resnet_bundle)
    for node in graph.graph.all_nodes():
        assert provenance.MODULE in node.metadata_props, node.name
        assert provenance.module_of(node) in paths, node.name
    convolutions = {provenance.module_of(n) for n in graph.graph if n.op_type == "Conv"}
    assert convolutions == {path for path, part in paths.items() if isinstance(part, nn.Conv2d)}
    merged = {
        path
        for node in graph.graph
        for path in node.metadata_props.get(provenance.MERGED, "").split()
    }
    assert {path for path, part in paths.items() if isinstance(part, nn.BatchNorm2d)} <= merged


def test_lines_of_the_users_code_are_kept(resnet_bundle: Bundle) -> None:
    lines = {
        node.metadata_props[provenance.LINE]
        for node in graph_of(resnet_bundle).graph
        if node.op_type == "Conv"
    }
    assert all(line.startswith("test_deploy.py:") for line in lines)


@pytest.mark.parametrize("opset", [18, 21])
def test_opset_is_the_one_asked_for(opset: int, tmp_path: Path) -> None:
    bundle = modelport.deploy(
        nn.Linear(4, 2), "x=1x4", output=tmp_path / "bundle", opset=opset, **FAST
    )
    assert bundle.manifest.provenance.opset == opset
    assert graph_of(bundle).opset_imports[""] == opset
