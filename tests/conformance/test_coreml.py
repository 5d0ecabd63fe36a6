"""What coremltools wrote computes what PyTorch does, although Core ML itself is not here."""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
from networks import NETWORKS
from test_networks import exported, pictures

from modelport.engines import ENGINES
from modelport.engines.base import Engine
from modelport.errors import EngineError, UsageError
from modelport.types import Artifact, Dim, Feeds, Outputs, Signature, Target, TensorSpec
from modelport.verify.compare import compare


@pytest.fixture
def coreml() -> Engine:
    engine = ENGINES.get("coreml")
    if reason := engine.available():
        pytest.skip(reason)
    if engine.own_python() is None:
        pytest.skip("the check runs in the engine's own environment, which is not installed")
    return engine


def computed(engine: Engine, artifact: Artifact, feeds: Feeds, folder: Path) -> Outputs:
    given, found = folder / "feeds.npz", folder / "outputs.npz"
    np.savez(given, allow_pickle=False, **dict(feeds))
    script = Path(__file__).with_name("ml_program.py")
    done = subprocess.run(
        [engine.own_python(), script, artifact.files["model"].path, given, found],
        capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    with np.load(found) as arrays:
        return {name: arrays[name] for name in arrays.files}


@pytest.mark.parametrize(
    ("network", "precision"),
    [("resnet18", "fp32"), ("mobilenetv3", "fp16"), ("vit", "fp16"), ("yolo", "fp32")],
)
def test_the_program_computes_what_pytorch_does(
    coreml: Engine, network: str, precision: str, tmp_path: Path
) -> None:
    made = exported(network, NETWORKS[network].fixed)
    folder = tmp_path / "artifact"
    folder.mkdir()
    artifact = coreml.compile_program(made.program, made.signature, Target(precision), folder)
    feeds = pictures(NETWORKS[network].side, 1, range(100, 101))
    want = made.want(feeds)
    got = computed(coreml, artifact, feeds[0], tmp_path)
    assert list(got) == [spec.name for spec in made.signature.outputs]
    fidelity = compare(want, [got], made.signature, precision, classes=False)
    assert fidelity.passed, fidelity.reasons


def test_the_package_is_what_a_mac_opens(coreml: Engine, tmp_path: Path) -> None:
    made = exported("resnet18", NETWORKS["resnet18"].free)
    target = Target("fp16", device="macos14")
    artifact = coreml.compile_program(made.program, made.signature, target, tmp_path)
    assert artifact.options == {
        "system": "macOS14", "device": "all", "inputs": ["x"], "outputs": ["output"],
    }  # fmt: skip
    with zipfile.ZipFile(artifact.files["model"].path) as packed:
        names = set(packed.namelist())
    data = "model.mlpackage/Data/com.apple.CoreML"
    assert {"model.mlpackage/Manifest.json", f"{data}/model.mlmodel"} <= names
    assert f"{data}/weights/weight.bin" in names


def test_what_it_has_not_is_refused_in_words(coreml: Engine, tmp_path: Path) -> None:
    made = exported("resnet18", NETWORKS["resnet18"].fixed)
    with pytest.raises(UsageError, match=r"'ios9'\. Expected one of ios15, "):
        coreml.compile_program(made.program, made.signature, Target(device="ios9"), tmp_path)
    (output,) = made.signature.outputs
    for shape, dtype, told in (
        ((Dim(), 3, 64, 64), "float32", "wants an upper bound for every size"),
        ((1, 3, 64, 64), "uint8", "has no uint8 for inputs and outputs, and x is of it"),
    ):
        signature = Signature((TensorSpec("x", dtype, shape),), (output,))
        with pytest.raises(EngineError, match=told):
            coreml.compile_program(made.program, signature, Target(), tmp_path)
