"""The callers of `examples/end_to_end`, in their own languages, give what the predictor gives."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import modelport
from support import ROOT, picture

EXAMPLES = ROOT / "examples" / "end_to_end"
ONNXRUNTIME_NODE = "onnxruntime-node@1.30.0"
PHOTOS = [(3, (48, 40)), (7, (121, 77))]


@pytest.fixture(scope="module")
def folder(small_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("callers")
    modelport.export_end_to_end(small_bundle, path / "model.onnx", check=False)
    for seed, size in PHOTOS:
        picture(seed, size).save(path / f"{seed}.ppm")
    return path


@pytest.fixture(scope="module")
def wanted(small_bundle: Path, folder: Path) -> dict[str, tuple[int, str, float]]:
    with modelport.load(small_bundle, variant="onnxruntime-fp32", threads=1) as predictor:
        found = {f"{seed}.ppm": predictor(folder / f"{seed}.ppm") for seed, _ in PHOTOS}
    return {name: (each.index, each.label, each.score) for name, each in found.items()}


def said(command: list[str], **environment: str) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **environment}, timeout=240,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def check(line: str, wanted: tuple[int, str, float], *, label: bool = False) -> None:
    name, score = line.rsplit(" ", 1)
    assert name == (wanted[1] if label else str(wanted[0]))
    assert float(score) == pytest.approx(wanted[2], abs=0.02)


def test_python(folder: Path, wanted: dict[str, tuple[int, str, float]]) -> None:
    for name, want in wanted.items():
        script, model = str(EXAMPLES / "caller.py"), str(folder / "model.onnx")
        check(said([sys.executable, script, model, str(folder / name)]), want, label=True)


def test_cpp(folder: Path, wanted: dict[str, tuple[int, str, float]]) -> None:
    openvino = pytest.importorskip("openvino", reason="openvino is not installed")
    place = Path(openvino.__file__).parent
    (library,) = (place / "libs").glob("libopenvino.so.*")
    program = folder / "caller"
    said(
        [
            tool("g++"), "-std=c++17", str(EXAMPLES / "caller.cpp"), f"-I{place / 'include'}", "-o",
            str(program), str(library), f"-Wl,-rpath,{place / 'libs'}",
        ]
    )  # fmt: skip
    for name, want in wanted.items():
        check(said([str(program), str(folder / "model.onnx"), str(folder / name)]), want)


def test_javascript(folder: Path, wanted: dict[str, tuple[int, str, float]]) -> None:
    modules = _node_modules()
    for name, want in wanted.items():
        script, model = str(EXAMPLES / "caller.js"), str(folder / "model.onnx")
        line = said([tool("node"), script, model, str(folder / name)], NODE_PATH=str(modules))
        check(line, want)


def _node_modules() -> Path:
    """onnxruntime-node, installed once into the cache; its own binaries are in the package."""
    cache = Path(os.environ.get("MODELPORT_CACHE") or ROOT / ".cache") / "node"
    modules = cache / ONNXRUNTIME_NODE.replace("@", "-")
    if not (modules / "node_modules" / "onnxruntime-node").is_dir():
        modules.mkdir(parents=True, exist_ok=True)
        command = [tool("npm"), "install", "--ignore-scripts", "--prefix", str(modules)]
        done = subprocess.run(
            [*command, ONNXRUNTIME_NODE], capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"{ONNXRUNTIME_NODE} cannot be had here: {done.stderr[-160:]}")
    return modules / "node_modules"


def test_java(folder: Path, wanted: dict[str, tuple[int, str, float]]) -> None:
    jar = os.environ.get("MODELPORT_ONNXRUNTIME_JAR")
    if not jar:
        pytest.skip("MODELPORT_ONNXRUNTIME_JAR does not name the jar of ONNX Runtime")
    for name, want in wanted.items():
        png = (folder / name).with_suffix(".png")
        picture(int(png.stem), dict(PHOTOS)[int(png.stem)]).save(png)
        command = [tool("java"), "-cp", jar, str(EXAMPLES / "Caller.java")]
        check(said([*command, str(folder / "model.onnx"), str(png)]), want)
