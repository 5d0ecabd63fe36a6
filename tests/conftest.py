"""Fixtures that several rooms of tests share."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import onnx  # noqa: TID251 - writes a file as another tool would
import pytest
from hypothesis import settings

import modelport
from modelport.bundle.read import Bundle
from modelport.cli import main
from support import ROOT, Ran, small_source, write_pictures

# A loaded machine may not fail a test, and two runs see the same examples.
settings.register_profile("suite", deadline=None, derandomize=True)
settings.load_profile("suite")

# No test finds another result because another one was there before.
os.environ["MODELPORT_EXPERIENCE"] = "0"


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of twelve generated pictures."""
    return write_pictures(tmp_path_factory.mktemp("data") / "pictures")


@pytest.fixture(scope="session")
def small_bundle(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Path:
    """The small net, deployed once for every test. Nobody may write into it."""
    path = tmp_path_factory.mktemp("bundles") / "small"
    # Its random logits are nearly tied, so the budget is wide: what is tested here is not fidelity.
    modelport.deploy(
        small_source(), output=path, calibration=pictures, budget="100%", threads=1, report=False,
        precisions=["fp32", "bf16", "int8"],  # one that ONNX Runtime lacks among them
    )  # fmt: skip
    return path


@pytest.fixture
def own_bundle(small_bundle: Path, tmp_path: Path) -> Path:
    """A copy of the small bundle that a test may damage."""
    return Path(shutil.copytree(small_bundle, tmp_path / "own"))


@pytest.fixture(scope="session")
def opened_bundle(small_bundle: Path) -> Bundle:
    return Bundle(small_bundle)


@pytest.fixture(scope="session")
def demo_data() -> Path:
    """Real weights and photos, downloaded once; skips where they cannot be had."""
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "demo_data.py"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"the demo data cannot be downloaded: {done.stderr.strip().splitlines()[-1]}")
    return Path(done.stdout.strip())


@pytest.fixture(scope="session")
def batch_bundle(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Path:
    """The small net with a batch of one to four, in fp32 for ONNX Runtime alone."""
    path = tmp_path_factory.mktemp("bundles") / "batch"
    modelport.deploy(
        small_source(inputs="image=1..4x3x32x32"),
        output=path,
        calibration=pictures,
        engines=["onnxruntime"],
        precisions=["fp32"],
        threads=1,
        report=False,
    )
    return path


@pytest.fixture(scope="session")
def sum_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ONNX file of two inputs `a` and `b`, 1x4 each, and two outputs."""
    path = tmp_path_factory.mktemp("onnx") / "sum.onnx"
    onnx.save_model(
        onnx.parser.parse_model(
            '<ir_version: 10, opset_import: ["" : 20]>\n'
            "sum (float[1, 4] a, float[1, 4] b) => (float[1, 4] total, float[1, 4] difference)\n"
            "{ total = Add(a, b)\ndifference = Sub(a, b) }"
        ),
        str(path),
    )
    return path


@pytest.fixture(scope="session")
def sum_bundle(tmp_path_factory: pytest.TempPathFactory, sum_file: Path) -> Path:
    """That file as a bundle without transforms, for the task `tensors`."""
    path = tmp_path_factory.mktemp("bundles") / "sum"
    modelport.deploy(
        sum_file, output=path, engines=["onnxruntime"], precisions=["fp32"], threads=1, report=False
    )
    return path


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Runs the command line in this process."""

    def run(*arguments: str | Path) -> Ran:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["modelport", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            main()
        told = capsys.readouterr()
        return Ran(int(left.value.code or 0), told.out, told.err)

    return run
