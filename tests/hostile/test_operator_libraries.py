"""Bundles that bring native code: it never runs unless the caller trusts the bundle."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

import modelport
from modelport.bundle.manifest import MANIFEST_NAME, Manifest, from_json, to_json
from modelport.bundle.read import Bundle
from modelport.bundle.write import _entry
from modelport.errors import BundleError, ChecksumError, EngineUnavailableError

MARK = "ran.txt"
LIBRARY = "artifacts/onnxruntime-fp32/operators_0.so"


@pytest.fixture
def bundle(sum_bundle: Path, tmp_path: Path) -> Path:
    """A bundle with a library that leaves a mark when it is loaded, whatever is called in it."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed, so the library cannot be built")
    path = Path(shutil.copytree(sum_bundle, tmp_path / "bundle"))
    code = (
        "#include <stdio.h>\n__attribute__((constructor)) static void run(void)"
        f'{{ FILE *f = fopen("{tmp_path / MARK}", "w"); fclose(f); }}\n'
        "void *RegisterCustomOps(void *options, const void *base) { return 0; }\n"
    )
    (tmp_path / "evil.c").write_text(code, encoding="utf-8")
    command = ["gcc", "-shared", "-fPIC", tmp_path / "evil.c", "-o", path / LIBRARY]
    subprocess.run(command, check=True)
    change(path, files={"operators_0": LIBRARY})
    return path


def change(path: Path, files: dict[str, str] | None = None, **options: Any) -> None:
    """Rewrites the manifest as whoever controls the bundle can, checksums and all."""
    manifest: Manifest = from_json((path / MANIFEST_NAME).read_bytes(), "it")
    content = json.loads(to_json(manifest))
    (variant,) = content["variants"]
    variant["files"].update(files or {})
    variant["options"].update(options)
    listed = [file for file in path.rglob("*") if file.is_file() and file.name != MANIFEST_NAME]
    content["files"] = [_entry(path, file).model_dump() for file in sorted(listed)]
    (path / MANIFEST_NAME).write_bytes(to_json(Manifest(**content)))


def test_loading_refuses_and_runs_nothing(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError) as caught:
        modelport.load(bundle)
    assert str(caught.value) == (
        f"The variant onnxruntime-fp32 of {bundle} brings native code, which runs when it is "
        f"loaded: {LIBRARY}. Pass trust=True, or --trust, if you know where the bundle comes from."
    )
    assert not (tmp_path / MARK).exists()


def test_verifying_skips_it_and_runs_nothing(bundle: Path, tmp_path: Path) -> None:
    check = modelport.verify(bundle)
    assert not check.passed
    assert check.variants[0].skipped is not None
    assert "brings native code" in check.variants[0].skipped
    assert not (tmp_path / MARK).exists()


def test_inspecting_runs_nothing(bundle: Path, tmp_path: Path) -> None:
    modelport.inspect(bundle)
    assert not (tmp_path / MARK).exists()


def test_with_trust_it_runs(bundle: Path, tmp_path: Path) -> None:
    modelport.load(bundle, trust=True).close()
    assert (tmp_path / MARK).exists()


def test_an_altered_library_is_refused_even_with_trust(bundle: Path, tmp_path: Path) -> None:
    library = bundle / LIBRARY
    data = bytearray(library.read_bytes())
    data[-1] ^= 1
    library.write_bytes(data)
    with pytest.raises(ChecksumError, match=r"operators_0\.so does not match its sha256"):
        modelport.load(bundle, trust=True)
    assert not (tmp_path / MARK).exists()


def test_a_package_counts_as_native_code(sum_bundle: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(sum_bundle, tmp_path / "bundle"))
    change(path, operator_packages=["antigravity"])
    with pytest.raises(BundleError, match=r"runs when it is loaded: the package antigravity\."):
        modelport.load(path)
    change(path, operator_packages="antigravity")
    with pytest.raises(BundleError, match="the package antigravity"):
        modelport.load(path)


def test_a_package_that_is_not_installed_is_named(sum_bundle: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(sum_bundle, tmp_path / "bundle"))
    change(path, operator_packages=["no_such_package"])
    with pytest.raises(EngineUnavailableError, match="pip install no_such_package"):
        modelport.load(path, trust=True)


def test_another_variant_without_native_code_is_offered(bundle: Path) -> None:
    content = json.loads((bundle / MANIFEST_NAME).read_bytes())
    plain = {**content["variants"][0], "name": "plain", "verdict": "accepted"}
    plain["files"] = {role: path for role, path in plain["files"].items() if role == "model"}
    content["variants"].append(plain)
    (bundle / MANIFEST_NAME).write_bytes(to_json(Manifest(**content)))
    with pytest.raises(BundleError, match=r"or choose the variant plain, which brings none\."):
        modelport.load(bundle)
    modelport.load(bundle, variant="plain").close()
    assert Bundle(bundle).manifest.default == "onnxruntime-fp32"
