"""Fixtures that several rooms of tests share."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support import ROOT, small_source, write_pictures

import modelport
from modelport.bundle.read import Bundle


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
        small_source(), output=path, calibration=pictures, budget="100%", threads=1, report=False
    )
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
