"""Everything that a user can get wrong ends in one paragraph, status 2, and nothing half-written."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import sys
import textwrap
import zipfile
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from support import Ran, command, entries, small_net, write_pictures

Cli = Callable[..., Ran]
STAGES = ("✓", "✗")


def failed(done: Ran, *said: str, debug: bool = False) -> str:
    """The paragraph of a run that ended as it should; all of `said` must be in it."""
    assert done.status == 2, (done.stdout, done.stderr)
    assert ("Traceback" in done.stderr) is debug
    lines = [line for line in done.stderr.splitlines() if line and not line.startswith(STAGES)]
    errors = [line for line in lines if line.startswith("Error: ")]
    assert len(errors) == 1, done.stderr
    assert lines[-1] == errors[0], "the error must come last"
    if not debug:
        assert lines == errors, done.stderr
    for text in said:
        assert text in errors[0], (text, errors[0])
    assert errors[0].endswith((".", "?", ")")), errors[0]
    return errors[0]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder for outputs; whatever is in it after a failure was left behind."""
    folder = tmp_path / "outputs"
    folder.mkdir()
    return folder


def write_source(folder: Path, code: str, name: str = "net.py") -> Path:
    path = folder / name
    path.write_text(textwrap.dedent(code), encoding="utf-8")
    return path


GOOD = """
    from support import small_source

    def build():
        return small_source()
"""


@pytest.fixture
def good(tmp_path: Path) -> str:
    return f"{write_source(tmp_path, GOOD)}:build"


def line_of(path: Path, text: str) -> int:
    lines = path.read_text(encoding="utf-8").splitlines()
    return 1 + next(index for index, line in enumerate(lines) if text in line)


# --- missing and broken files -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["inspect", "missing"], "There is no bundle at missing."),
        (["verify", "missing.zip"], "There is no bundle at missing.zip."),
        (["run", "missing", "photo.jpg"], "There is no bundle at missing."),
        (["inspect", "missing.onnx"], "There is no file missing.onnx."),
        (["optimize", "missing.onnx", "-o", "out.onnx"], "There is no file missing.onnx."),
        (["deploy", "missing.onnx", "-o", "out"], "There is no file missing.onnx."),
        (["deploy", "missing.py:build", "-o", "out"], "There is no file missing.py."),
        (["deploy", "missing.pth", "-o", "out"], "There is no file missing.pth."),
        (["deploy", "missing", "-o", "out"], "The source 'missing' cannot be read."),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else "",
)
def test_missing_files(
    arguments: list[str], said: str, cli: Cli, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    failed(cli(*arguments), f"Error: {said}")
    assert list(entries(place)) == []


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--weights", "There is no weights file nowhere."),
        ("--calibration", "There is no file or folder nowhere."),
        ("--verification", "There is no file or folder nowhere."),
        ("--labels", "There is no labels file nowhere."),
    ],
)
def test_missing_files_of_options(
    option: str, said: str, cli: Cli, good: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    failed(cli("deploy", good, "-o", "bundle", option, "nowhere"), f"Error: {said}")
    assert list(entries(place)) == []


@pytest.mark.parametrize(
    "content", [b"", b"no model at all", bytes(range(256)) * 40, b"\x08\x0a\x12"], ids=range(4)
)
@pytest.mark.parametrize("action", ["inspect", "optimize", "deploy"])
def test_files_that_are_no_model(
    action: str, content: bytes, cli: Cli, tmp_path: Path, place: Path
) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(content)
    output = [] if action == "inspect" else ["-o", place / "out.onnx"]
    failed(cli(action, path, *output), str(path))
    assert list(entries(place)) == []


def test_a_truncated_model(cli: Cli, sum_file: Path, tmp_path: Path) -> None:
    whole = sum_file.read_bytes()
    for part in (1, 10, len(whole) // 2, len(whole) - 3):
        path = tmp_path / f"cut{part}.onnx"
        path.write_bytes(whole[:part])
        failed(cli("inspect", path), str(path))


CORRUPT: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "text": lambda _: b"I am no picture",
    "cut short": lambda whole: whole[: len(whole) // 2],
    "header only": lambda whole: whole[:20],
    "garbled": lambda whole: whole[:40] + bytes(60) + whole[100:],
}


@pytest.mark.parametrize("damage", CORRUPT)
def test_corrupt_pictures(
    damage: str, cli: Cli, small_bundle: Path, pictures: Path, tmp_path: Path
) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(CORRUPT[damage]((pictures / "picture_00.png").read_bytes()))
    said = failed(cli("run", small_bundle, path), f"{path} cannot be decoded (")
    assert said.endswith(
        "Expected a whole JPEG, PNG, WebP, BMP or TIFF picture. "
        "Check that the file is complete and opens in a viewer."
    )


def test_a_missing_picture(cli: Cli, small_bundle: Path) -> None:
    failed(cli("run", small_bundle, "photo.jpg"), "Error: There is no file or folder photo.jpg.")


def test_a_corrupt_picture_among_the_calibration_data(
    cli: Cli, good: str, place: Path, tmp_path: Path
) -> None:
    folder = write_pictures(tmp_path / "photos", 5)
    (folder / "picture_03.png").write_bytes(b"broken")
    done = cli("deploy", good, "-o", place / "bundle", "--calibration", folder)
    failed(done, f"{folder / 'picture_03.png'} cannot be decoded (")
    assert list(entries(place)) == []


def test_nothing_is_drawn_of_a_corrupt_picture(
    cli: Cli, small_bundle: Path, place: Path, tmp_path: Path
) -> None:
    (tmp_path / "photo.png").write_bytes(b"broken")
    failed(cli("run", small_bundle, tmp_path / "photo.png", "--draw", place / "drawn"))
    assert list(entries(place)) == []


@pytest.mark.parametrize("option", ["--calibration", "--verification"])
def test_an_empty_folder_of_data(
    option: str, cli: Cli, good: str, place: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    (folder / "notes.txt").write_text("nothing here")
    done = cli("deploy", good, "-o", place / "bundle", option, folder)
    failed(done, f"Error: The folder {folder} holds no data. Expected files ending in ", ".jpg")
    assert list(entries(place)) == []


def test_an_empty_folder_of_inputs(cli: Cli, small_bundle: Path, tmp_path: Path) -> None:
    failed(cli("run", small_bundle, tmp_path), f"The folder {tmp_path} holds no data.")


# --- damaged bundles ----------------------------------------------------------------------------


def zipped(bundle: Path, target: Path, method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(target, "w", method) as archive:
        for name in entries(bundle):
            if (bundle / name).is_file():
                archive.write(bundle / name, name)
    return target


def manifest_of(bundle: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((bundle / "modelport.json").read_text(encoding="utf-8"))
    return found


def model_file(bundle: Path) -> Path:
    manifest = manifest_of(bundle)
    (chosen,) = [each for each in manifest["variants"] if each["verdict"] == "chosen"]
    return bundle / chosen["files"]["model"]


def each_reader(bundle: Path, pictures: Path) -> list[Sequence[str | Path]]:
    return [("inspect", bundle), ("verify", bundle), ("run", bundle, pictures / "picture_00.png")]


def test_a_truncated_file_of_a_bundle(cli: Cli, own_bundle: Path, pictures: Path) -> None:
    path = model_file(own_bundle)
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    for arguments in each_reader(own_bundle, pictures):
        failed(
            cli(*arguments),
            f"{path.relative_to(own_bundle).as_posix()} has {len(whole) - 100} bytes. "
            f"Expected {len(whole)} bytes. It was damaged or altered after it was written",
        )


def test_a_tampered_file_of_a_bundle(cli: Cli, own_bundle: Path, pictures: Path) -> None:
    path = model_file(own_bundle)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    for arguments in each_reader(own_bundle, pictures)[1:]:
        failed(
            cli(*arguments),
            f"{path.relative_to(own_bundle).as_posix()} does not match its sha256.",
            "copy or build the bundle again",
        )


def test_a_missing_file_of_a_bundle(cli: Cli, own_bundle: Path, pictures: Path) -> None:
    path = model_file(own_bundle)
    path.unlink()
    for arguments in each_reader(own_bundle, pictures):
        failed(cli(*arguments), f"lacks its file {path.relative_to(own_bundle).as_posix()}.")


def test_a_file_too_many_in_a_bundle(cli: Cli, own_bundle: Path) -> None:
    (own_bundle / "extra.bin").write_bytes(b"?")
    failed(cli("verify", own_bundle), "has a file that its manifest does not list: extra.bin.")


@pytest.mark.parametrize("part", [0, 1, 100, -20])
def test_a_truncated_manifest(part: int, cli: Cli, own_bundle: Path, pictures: Path) -> None:
    path = own_bundle / "modelport.json"
    path.write_bytes(path.read_bytes()[:part])
    for arguments in each_reader(own_bundle, pictures):
        failed(cli(*arguments), "modelport.json is not JSON (", "copy or build the bundle again.")


def test_a_tampered_manifest(cli: Cli, own_bundle: Path, pictures: Path) -> None:
    path = own_bundle / "modelport.json"
    path.write_text(path.read_text().replace('"small"', '"large"'))
    for arguments in each_reader(own_bundle, pictures):
        failed(cli(*arguments), "modelport.json does not match its own checksum.")


def test_a_manifest_of_another_version(cli: Cli, own_bundle: Path) -> None:
    path = own_bundle / "modelport.json"
    path.write_text(json.dumps({**manifest_of(own_bundle), "format_version": 99}))
    failed(cli("inspect", own_bundle), "has format version 99. Expected version 1.")


def test_folders_and_files_that_are_no_bundle(cli: Cli, tmp_path: Path) -> None:
    failed(cli("inspect", tmp_path), f"{tmp_path} has no modelport.json.")
    (tmp_path / "photo.zip").write_bytes(b"no archive")
    failed(cli("inspect", tmp_path / "photo.zip"), "is neither a folder nor a whole zip archive (")
    (tmp_path / "modelport.json").write_text("[]")
    failed(cli("inspect", tmp_path), "is JSON, but not the manifest of a modelport bundle.")


def test_a_truncated_archive(cli: Cli, small_bundle: Path, pictures: Path, tmp_path: Path) -> None:
    archive = zipped(small_bundle, tmp_path / "bundle.zip")
    whole = archive.read_bytes()
    for part in (0, 30, len(whole) // 2, len(whole) - 10):
        archive.write_bytes(whole[:part])
        for arguments in each_reader(archive, pictures):
            failed(cli(*arguments), f"{archive} is neither a folder nor a whole zip archive (")


def test_a_tampered_archive(cli: Cli, small_bundle: Path, pictures: Path, tmp_path: Path) -> None:
    archive = zipped(small_bundle, tmp_path / "bundle.zip")
    content = bytearray(archive.read_bytes())
    model = model_file(small_bundle).read_bytes()
    content[content.index(model) + len(model) // 2] ^= 1
    archive.write_bytes(content)
    for arguments in each_reader(archive, pictures)[1:]:
        failed(cli(*arguments), "does not match its sha256.")


def test_a_compressed_archive(cli: Cli, small_bundle: Path, tmp_path: Path) -> None:
    archive = zipped(small_bundle, tmp_path / "bundle.zip", zipfile.ZIP_DEFLATED)
    failed(cli("inspect", archive), "is compressed. Expected an archive whose entries are stored.")


def test_a_path_that_leaves_the_bundle(cli: Cli, own_bundle: Path) -> None:
    path = model_file(own_bundle)
    outside = own_bundle.parent / "outside.onnx"
    shutil.move(path, outside)
    path.symlink_to(outside)
    failed(cli("inspect", own_bundle), "is a link that leaves the bundle.")


def test_a_bundle_whose_outputs_are_wrong_does_not_verify(cli: Cli, own_bundle: Path) -> None:
    """Every checksum right, and still not the model: golden cases find it."""
    from modelport.bundle.manifest import from_json, to_json
    from modelport.bundle.write import _entry

    case = manifest_of(own_bundle)["cases"][0]["outputs"]
    with np.load(own_bundle / case) as held:
        np.savez(own_bundle / case, **{name: 2 * held[name] for name in held.files})
    manifest = from_json((own_bundle / "modelport.json").read_bytes(), "here")
    files = tuple(_entry(own_bundle, own_bundle / each.path) for each in manifest.files)
    (own_bundle / "modelport.json").write_bytes(
        to_json(manifest.model_copy(update={"files": files}))
    )
    done = cli("verify", own_bundle)
    assert done.status == 2
    assert "Problem: onnxruntime-fp32: logits: sqnr_db is " in done.stdout
    assert "The bundle does not hold." in done.stdout
    assert done.stderr == ""


# --- weights ------------------------------------------------------------------------------------


def save_weights(path: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> Path:
    state = dict(small_net().state_dict())
    change(state)
    torch.save(state, path)
    return path


WEIGHTS: dict[str, tuple[Callable[[dict[str, torch.Tensor]], object], str]] = {
    "a key too few": (lambda state: state.pop("head.weight"), "missing (1): head.weight"),
    "a key too many": (
        lambda state: state.update({"extra.bias": torch.zeros(3)}),
        "not in the module (1): extra.bias",
    ),
    "another shape": (
        lambda state: state.update({"head.weight": torch.zeros(7, 32)}),
        "of another shape (1): head.weight is 7x32, the module has 10x32",
    ),
    "another model": (
        lambda state: (state.clear(), state.update({"fc.weight": torch.zeros(2)})),
        "missing (18): stem.0.weight, stem.1.weight, stem.1.bias, stem.1.running_mean, "
        "stem.1.running_var and 13 more; not in the module (1): fc.weight",
    ),
}


@pytest.mark.parametrize("case", WEIGHTS)
def test_weights_that_do_not_fit_name_their_keys(
    case: str, cli: Cli, good: str, place: Path, tmp_path: Path
) -> None:
    change, said = WEIGHTS[case]
    path = save_weights(tmp_path / "weights.pth", change)
    done = cli("deploy", good, "-o", place / "bundle", "--weights", path)
    failed(
        done,
        f"Error: The weights in {path} do not fit the module: {said}.",
        "keys of SmallNet. Check that the file belongs to this architecture and number of classes.",
    )
    assert list(entries(place)) == []


class Dangerous:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return open, (str(self.trace), "w")


@pytest.mark.parametrize(
    "name", ["weights.pth", "weights.pt", "weights.safetensors", "weights.bin"]
)
@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_weights_with_code_are_never_run(
    name: str, legacy: bool, cli: Cli, good: str, place: Path, tmp_path: Path
) -> None:
    trace, path = tmp_path / "executed", tmp_path / name
    state = {"head.weight": torch.zeros(1), "evil": Dangerous(trace)}
    torch.save(state, path, _use_new_zipfile_serialization=not legacy)
    done = cli("deploy", good, "-o", place / "bundle", "--weights", path)
    said = failed(done, str(path))
    assert not trace.exists()
    if name != "weights.safetensors":
        assert (
            "holds more than tensors, or no weights at all, and loading it could run code" in said
        )
        assert "torch.save(model.state_dict(), path)" in said
    assert list(entries(place)) == []


def test_a_bare_pickle_is_never_run(cli: Cli, good: str, place: Path, tmp_path: Path) -> None:
    trace, path = tmp_path / "executed", tmp_path / "weights.pth"
    path.write_bytes(pickle.dumps(Dangerous(trace)))
    failed(cli("deploy", good, "-o", place / "bundle", "--weights", path), str(path))
    assert not trace.exists()


@pytest.mark.parametrize(
    "content", [b"", b"no weights", bytes(1000)], ids=["empty", "text", "zeros"]
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_files_that_are_no_weights(
    content: bytes, suffix: str, cli: Cli, good: str, place: Path, tmp_path: Path
) -> None:
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    failed(cli("deploy", good, "-o", place / "bundle", "--weights", path), str(path))
    assert list(entries(place)) == []


def test_truncated_weights(cli: Cli, good: str, place: Path, tmp_path: Path) -> None:
    path = save_weights(tmp_path / "weights.pth", lambda state: None)
    path.write_bytes(path.read_bytes()[:-500])
    done = cli("deploy", good, "-o", place / "bundle", "--weights", path)
    failed(done, f"{path} cannot be read as weights (", "Check that the file is complete.")


def test_a_file_without_a_state_dict(cli: Cli, good: str, place: Path, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save([1, 2, 3], path)
    done = cli("deploy", good, "-o", place / "bundle", "--weights", path)
    failed(done, f"{path} holds no state dict. Expected a mapping of names to tensors")


def test_weights_for_an_onnx_file(cli: Cli, sum_file: Path, place: Path) -> None:
    done = cli("deploy", sum_file, "-o", place / "bundle", "--weights", "w.pth")
    failed(done, f"Weights were given for {sum_file}.", "leave --weights out.")


# --- shapes and element types -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((1, 3, 32, 31), np.float32), "'image' has shape [1, 3, 32, 31]"),
        (np.zeros((3, 32, 32), np.float32), "'image' has 3 dimensions, shape [3, 32, 32]"),
        (np.zeros((1, 3, 32, 32), np.float64), "'image' has element type float64"),
        (np.zeros((1, 3, 32, 32), np.uint8), "'image' has element type uint8"),
    ],
    ids=["size", "rank", "double", "bytes"],
)
def test_wrong_shapes_and_types(
    array: Any, said: str, cli: Cli, small_bundle: Path, good: str, place: Path, tmp_path: Path
) -> None:
    path = tmp_path / "feeds.npy"
    np.save(path, array)
    wanted = (
        f"{path} does not fit the model: The input {said}. Expected float32 of shape 1x3x32x32."
    )
    failed(cli("run", small_bundle, path), wanted)
    failed(cli("deploy", good, "-o", place / "bundle", "--calibration", path), wanted)
    assert list(entries(place)) == []


@pytest.mark.parametrize("name", ["feeds.npy", "feeds.npz"])
def test_arrays_that_cannot_be_read(
    name: str, cli: Cli, small_bundle: Path, tmp_path: Path
) -> None:
    path = tmp_path / name
    for content in (b"", b"no arrays", b"\x93NUMPY\x01\x00"):
        path.write_bytes(content)
        failed(cli("run", small_bundle, path), f"{path} cannot be read as arrays (")


def test_arrays_of_objects_are_never_unpickled(
    cli: Cli, small_bundle: Path, tmp_path: Path
) -> None:
    trace, path = tmp_path / "executed", tmp_path / "feeds.npy"
    np.save(path, np.array([Dangerous(trace)], dtype=object), allow_pickle=True)
    failed(cli("run", small_bundle, path), f"{path} cannot be read as arrays (")
    assert not trace.exists()


# --- engines that are not there -----------------------------------------------------------------


def test_a_named_engine_that_is_not_installed(
    small_bundle: Path, pictures: Path, tmp_path: Path
) -> None:
    done = command(
        "run", small_bundle, pictures / "picture_00.png", "--variant", "onnxruntime-fp32",
        block=["onnxruntime"], folder=tmp_path,
    )  # fmt: skip
    failed(
        done,
        "Error: The engine onnxruntime cannot be used here: onnxruntime is not installed: "
        "pip install onnxruntime.",
        "`modelport engines` lists the engines of this machine.",
    )


def test_no_engine_at_all(small_bundle: Path, pictures: Path, tmp_path: Path) -> None:
    done = command(
        "run", small_bundle, pictures / "picture_00.png",
        block=["onnxruntime", "openvino"], folder=tmp_path,
    )  # fmt: skip
    failed(done, "The engine onnxruntime cannot be used here", "pip install")


def test_deploying_without_torch(place: Path, tmp_path: Path) -> None:
    path = write_source(tmp_path, "import torch\n\ndef build():\n    return torch.nn.Linear(4, 2)")
    done = command(
        "deploy",
        f"{path}:build",
        "-o",
        place / "bundle",
        block=["torch"],
        folder=tmp_path / "block",
    )
    failed(done, "imports torch, which is not installed.", "pip install torch")
    assert list(entries(place)) == []


@pytest.mark.parametrize("lacking", ["onnx_ir", "onnx"])
@pytest.mark.parametrize("action", ["deploy", "optimize", "inspect"])
def test_the_compiler_on_a_production_machine(
    lacking: str, action: str, sum_file: Path, place: Path, tmp_path: Path
) -> None:
    output = [] if action == "inspect" else ["-o", place / "out.onnx"]
    done = command(action, sum_file, *output, block=[lacking], folder=tmp_path / "block")
    failed(
        done,
        f"needs the package {lacking}, which is not installed.",
        'pip install "modelport[onnx]"',
    )
    assert list(entries(place)) == []


def test_an_engine_that_is_not_installed_is_no_candidate(
    cli: Cli, sum_file: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    done = cli("deploy", sum_file, "-o", place / "bundle", "--engines", "openvino")
    failed(
        done,
        "No variant stays within",
        'openvino is not installed: pip install "modelport[openvino]"',
    )
    assert list(entries(place)) == []


# --- models that cannot be exported -------------------------------------------------------------

UNEXPORTABLE = {
    "a branch on a value": (
        "if x.sum() > 0:  # here\n            x = x * 2",
        "torch.where",
        "torch.cond",
    ),
    "a number from a tensor": ("x = x[:, : int(x.abs().sum().item())]  # here", "size", "value"),
    "numpy in between": (
        "x = torch.from_numpy(x.numpy() * 2)  # here",
        "numpy",
        "torch operations",
    ),
}


@pytest.mark.parametrize("case", UNEXPORTABLE)
def test_models_that_cannot_be_exported(case: str, cli: Cli, place: Path, tmp_path: Path) -> None:
    line, *advice = UNEXPORTABLE[case]
    code = f"""
import torch
import modelport

class Inner(torch.nn.Module):
    def forward(self, x):
        {line}
        return x

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Linear(4, 4)
        self.inner = Inner()

    def forward(self, x):
        return self.inner(self.first(x)).sum(1)

def build():
    return modelport.Source(Net(), inputs="x=1x4")
"""
    path = write_source(tmp_path, code)
    done = cli("deploy", f"{path}:build", "-o", place / "bundle")
    said = failed(done, "The export stops at ", f"net.py:{line_of(path, '# here')}")
    for word in advice:
        assert word in said, said
    assert "inner" in said, "the module path must be named"
    assert list(entries(place)) == []


def test_outputs_that_differ_from_the_source(cli: Cli, place: Path, tmp_path: Path) -> None:
    """A number that Python took from the traced input is a constant in the graph."""
    code = """
import torch
import modelport

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return x + self.calls

def build():
    return modelport.Source(Net(), inputs="x=1x4")
"""
    path = write_source(tmp_path, code)
    failed(cli("deploy", f"{path}:build", "-o", place / "bundle"))
    assert list(entries(place)) == []


# --- build functions ----------------------------------------------------------------------------

BUILDS: dict[str, tuple[str, str, list[str]]] = {
    "a function that is not there": (
        "def make():\n    pass",
        "build",
        ["net.py has no function 'build'. Expected one of make."],
    ),
    "a name that is no function": ("build = 3", "build", ["has no function 'build'."]),
    "a function that raises": (
        "def build():\n    helper()\n\ndef helper():\n    raise ValueError('no weights here')",
        "build",
        ["net.py:5 raised ValueError: no weights here."],
    ),
    "a mistake in its syntax": (
        "def build(:\n    pass",
        "build",
        ["net.py:1 raised SyntaxError: "],
    ),
    "an import that fails": (
        "import surely_not_installed",
        "build",
        [
            "imports surely_not_installed, which is not installed.",
            "pip install surely_not_installed",
        ],
    ),
    "a file that raises": ("x = 1\n1 / 0", "build", ["net.py:2 raised ZeroDivisionError"]),
    "a function that wants arguments": (
        "def build(size):\n    pass",
        "build",
        ["raised TypeError: build() missing 1 required positional argument: 'size'."],
    ),
    "a function that returns nothing": (
        "def build():\n    pass",
        "build",
        ["The source is a NoneType."],
    ),
    "a function that returns a number": (
        "def build():\n    return 3",
        "build",
        ["The source is a int.", "an nn.Module"],
    ),
    "a module without inputs": (
        "import torch\n\ndef build():\n    return torch.nn.Linear(4, 2)",
        "build",
        ["The inputs of Linear are not known.", "--input image=1x3x224x224"],
    ),
    "a program that leaves": (
        "import sys\n\ndef build():\n    sys.exit(0)",
        "build",
        ["net.py:4 raised SystemExit"],
    ),
    "no function named": ("", "", ["net.py has no function ''."]),
}


@pytest.mark.parametrize("case", BUILDS)
def test_build_functions(case: str, cli: Cli, place: Path, tmp_path: Path) -> None:
    code, name, said = BUILDS[case]
    path = write_source(tmp_path, code)
    failed(cli("deploy", f"{path}:{name}", "-o", place / "bundle"), *said)
    assert list(entries(place)) == []


# --- options ------------------------------------------------------------------------------------

OPTIONS: list[tuple[list[str], str]] = [
    (["--budget", "abc"], "The budget 'abc' cannot be read. Expected a percentage such as 1%"),
    (["--budget", "-1%"], "The budget '-1%' cannot be read."),
    (["--budget", "200%"], "The budget '200%' cannot be read."),
    (["--budget", "nan"], "The budget 'nan' cannot be read."),
    (
        ["--precisions", "fp4"],
        "There is no precision 'fp4'. Expected one of fp32, fp16, bf16, fp8, int8.",
    ),
    (["--precisions", "fp32,fp4"], "There is no precision 'fp4'."),
    (["--engines", "foo"], "There is no engine named 'foo'. Expected one of onnxruntime, openvino"),
    (["--engines", "onxruntime"], "'onnxruntime'"),
    (
        ["--task", "nope"],
        "There is no task named 'nope'. Expected one of classification, text_detection, ",
    ),
    (["--input", "nonsense"], "The input 'x=nonsense' cannot be read. Expected NAME=SHAPE"),
    (["--input", "x=0x3"], "The size '0' in 'x=0x3' cannot be read."),
    (["--input", "x=4..2x3"], "The size '4..2' in 'x=4..2x3' cannot be read."),
    (["--input", "x:float99=1x3"], "names the unknown element type 'float99'."),
    (
        ["--input", "a=1x3", "--input", "b=1x3"],
        "2 inputs were given, and forward of SmallNet takes 1 by position (x).",
    ),
    (["--opset", "3"], "The opset 3 cannot be written"),
    (["--opset", "99"], "The opset 99 cannot be written"),
    (["--opset", "x"], "Invalid value for '--opset'"),
    (["--threads", "-1"], "Invalid value for '--threads'"),
    (["--nonsense"], "No such option: --nonsense."),
]


@pytest.mark.parametrize(
    ("options", "said"), OPTIONS, ids=lambda v: " ".join(v) if isinstance(v, list) else ""
)
def test_options(options: list[str], said: str, cli: Cli, good: str, place: Path) -> None:
    failed(cli("deploy", good, "-o", place / "bundle", *options), said)
    assert list(entries(place)) == []


@pytest.mark.parametrize("option", ["--input", "--opset"])
def test_options_that_an_onnx_file_cannot_have(
    option: str, cli: Cli, sum_file: Path, place: Path
) -> None:
    value = {"--input": "a=1x8", "--opset": "18"}[option]
    failed(cli("deploy", sum_file, "-o", place / "bundle", option, value), str(sum_file), option)
    assert list(entries(place)) == []


def test_options_of_optimize(cli: Cli, sum_file: Path, place: Path) -> None:
    failed(cli("optimize", sum_file), "There is nothing to do with the result.")
    failed(
        cli("optimize", sum_file, "-o", place / "model.txt"), "is no ONNX file.", "ending in .onnx"
    )
    failed(cli("optimize", sum_file, "--why-not", "nope"), "There is no pass named 'nope'.")
    assert list(entries(place)) == []


# --- outputs ------------------------------------------------------------------------------------


def test_an_output_that_exists_stays(cli: Cli, good: str, sum_file: Path, own_bundle: Path) -> None:
    before = {name: (own_bundle / name).stat().st_mtime_ns for name in entries(own_bundle)}
    siblings = list(own_bundle.parent.iterdir())
    done = cli("deploy", sum_file, "-o", own_bundle)
    failed(done, f"Error: {own_bundle} exists. Pass --overwrite to replace it.")
    assert {name: (own_bundle / name).stat().st_mtime_ns for name in entries(own_bundle)} == before
    assert list(own_bundle.parent.iterdir()) == siblings


@pytest.mark.parametrize("option", [[], ["--overwrite"]], ids=["plain", "overwrite"])
def test_what_is_no_bundle_is_never_replaced(
    option: list[str], cli: Cli, sum_file: Path, place: Path
) -> None:
    (place / "thesis").mkdir()
    (place / "thesis" / "chapter.txt").write_text("years of work")
    (place / "file").write_text("more work")
    for name in ("thesis", "file"):
        done = cli("deploy", sum_file, "-o", place / name, *option)
        failed(done, f"{place / name} exists and is not a bundle. Choose another place with -o.")
    assert list(entries(place)) == ["file", "thesis", "thesis/chapter.txt"]


def test_a_failed_replacement_leaves_the_old_bundle(cli: Cli, good: str, own_bundle: Path) -> None:
    before = list(entries(own_bundle.parent))
    done = cli(
        "deploy", good, "-o", own_bundle, "--overwrite", "--budget", "0%", "--precisions", "int8"
    )
    failed(done, "No variant stays within the fidelity budget of 0.00%")
    assert list(entries(own_bundle.parent)) == before
    assert cli("inspect", own_bundle).status == 0


def test_an_output_below_a_file(cli: Cli, sum_file: Path, place: Path) -> None:
    (place / "file").write_text("work")
    failed(
        cli("deploy", sum_file, "-o", place / "file" / "bundle"),
        f"Error: Nothing can be written at {place / 'file'} (",
        "Choose another place with -o.",
    )
    failed(cli("optimize", sum_file, "-o", place / "file" / "out.onnx"), str(place / "file"))
    assert list(entries(place)) == ["file"]


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere"
)
def test_an_output_that_may_not_be_written(cli: Cli, sum_file: Path, place: Path) -> None:
    place.chmod(0o500)
    try:
        done = cli("deploy", sum_file, "-o", place / "bundle")
        failed(done, f"Nothing can be written at {place} (Permission denied).")
        failed(cli("optimize", sum_file, "-o", place / "out.onnx"), "Permission denied")
    finally:
        place.chmod(0o700)
    assert list(entries(place)) == []


def test_folders_made_for_an_output_go_away_with_it(cli: Cli, place: Path) -> None:
    failed(cli("deploy", "missing.onnx", "-o", place / "new" / "folder" / "bundle"))
    assert list(entries(place)) == []


def test_a_disk_that_is_full(
    cli: Cli, sum_file: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", str(place / "bundle"))

    monkeypatch.setattr(import_module("modelport.deploy"), "finish", full)
    done = cli("deploy", sum_file, "-o", place / "bundle", "--no-report")
    failed(done, "No space left on device")
    assert list(entries(place)) == []


def test_an_archive_that_fails_leaves_no_report(
    cli: Cli, sum_file: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(import_module("modelport.deploy"), "finish", full)
    failed(cli("deploy", sum_file, "-o", place / "bundle.zip"), "No space left on device")
    assert list(entries(place)) == []


# --- budgets ------------------------------------------------------------------------------------


def test_no_variant_within_the_budget(cli: Cli, good: str, place: Path, pictures: Path) -> None:
    done = cli(
        "deploy", good, "-o", place / "bundle", "--calibration", pictures,
        "--precisions", "int8", "--budget", "0%", "--task", "tensors",
    )  # fmt: skip
    failed(
        done,
        "Error: No variant stays within the fidelity budget of 0.00% (onnxruntime-int8: its loss of ",
        "is over the budget of 0.00%",
        "Raise --budget, give more calibration data, or allow fp32 with --precisions fp32.",
    )
    assert list(entries(place)) == []


def test_too_few_samples_to_calibrate(cli: Cli, good: str, place: Path, tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "few", 2)
    done = cli(
        "deploy", good, "-o", place / "bundle", "--calibration", folder, "--precisions", "int8"
    )
    failed(done, "Calibration has 2 samples. Expected at least 4, better 100 or more.")
    assert list(entries(place)) == []


# --- the program itself -------------------------------------------------------------------------


def test_as_a_program(place: Path) -> None:
    """The same through a process of its own, as a shell sees it."""
    done = command("deploy", "missing.onnx", "-o", place / "bundle")
    failed(done, "Error: There is no file missing.onnx. Check the path.")
    assert done.stdout == ""
    debug = command("deploy", "missing.onnx", "-o", place / "bundle", "--debug")
    failed(debug, "Error: There is no file missing.onnx.", debug=True)
    first = command("--debug", "inspect", "missing")
    failed(first, "Error: There is no bundle at missing.", debug=True)
    assert list(entries(place)) == []
