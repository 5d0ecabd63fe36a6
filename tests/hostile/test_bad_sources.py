"""Sources that hang, crash, lie or are damaged: one paragraph, status 2, and nothing left behind."""

from __future__ import annotations

import importlib.util
import multiprocessing
import warnings
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from test_bad_input import failed, write_source

from support import Ran, entries

Cli = Callable[..., Ran]

NETS = """
    import os, signal, time
    import torch
    from torch import nn

    def build_hangs():
        while True:
            time.sleep(0.01)

    class Hangs(nn.Module):
        def forward(self, x):
            while True:
                x = x * 1

    class HangsWhenTraced(nn.Module):
        def forward(self, x):
            while torch.jit.is_tracing():
                time.sleep(0.01)
            return x * 2

    class CrashesWhenTraced(nn.Module):
        def forward(self, x):
            if torch.jit.is_tracing():
                os.kill(os.getpid(), signal.SIGKILL)
            return x * 2

    class LeavesWhenTraced(nn.Module):
        def forward(self, x):
            if torch.jit.is_tracing():
                os._exit(7)
            return x * 2

    class Good(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = nn.Linear(4, 4)

        def forward(self, x):
            return self.backbone(x)
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = tmp_path / "outputs"
    folder.mkdir()
    return folder


@pytest.fixture
def nets(tmp_path: Path) -> Path:
    return write_source(tmp_path, NETS, "nets.py")


def line_with(path: Path, text: str) -> int:
    lines = path.read_text(encoding="utf-8").splitlines()
    return 1 + next(index for index, line in enumerate(lines) if text in line)


def export(cli: Cli, place: Path, source: Any, *options: str) -> Ran:
    return cli("export", source, "-o", place / "net.onnx", *options)


def assert_nothing_left(place: Path) -> None:
    assert list(entries(place)) == []
    assert multiprocessing.active_children() == []


# --- what hangs and crashes ---------------------------------------------------------------------


@pytest.mark.parametrize("command", ["export", "deploy"])
def test_a_build_function_that_hangs(command: str, cli: Cli, nets: Path, place: Path) -> None:
    done = cli(
        command, f"{nets}:build_hangs", "-o", place / "net.onnx", "--input", "x=1x4",
        "--time-limit", "0.5",
    )  # fmt: skip
    said = failed(done, "Error: Building the model was stopped after 0.5 s at nets.py:")
    assert f"nets.py:{line_with(nets, 'time.sleep')}." in said or (
        f"nets.py:{line_with(nets, 'while True')}." in said
    )
    assert "raise --time-limit" in said
    assert_nothing_left(place)


def test_a_forward_that_hangs(cli: Cli, nets: Path, place: Path) -> None:
    done = export(cli, place, f"{nets}:Hangs", "--input", "x=1x4", "--time-limit", "3")
    said = failed(done, "Error: Opening the source was stopped after 3 s at nets.py:")
    assert "Traceback" not in said
    assert_nothing_left(place)


def test_an_exporter_that_hangs(cli: Cli, nets: Path, place: Path) -> None:
    done = export(
        cli, place, f"{nets}:HangsWhenTraced", "--input", "x=1x4", "--time-limit", "1.5",
        "--exporter", "torchscript",
    )  # fmt: skip
    failed(done, "The TorchScript-based export was stopped after 1.5 s at nets.py:")
    assert_nothing_left(place)


@pytest.mark.parametrize(
    ("net", "said"),
    [
        ("CrashesWhenTraced", "crashed: the process was ended by SIGKILL."),
        ("LeavesWhenTraced", "crashed: the process left with status 7."),
    ],
)
def test_an_exporter_that_crashes(net: str, said: str, cli: Cli, nets: Path, place: Path) -> None:
    done = export(cli, place, f"{nets}:{net}", "--input", "x=1x4", "--exporter", "torchscript")
    failed(done, f"Error: The TorchScript-based export {said}", "--exporter")
    assert_nothing_left(place)


# --- options ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--input", "x"], ["cannot be read. Expected NAME=SHAPE", "1..16"]),
        (["--input", "x="], ["The input 'x=' cannot be read", "NAME=SHAPE", "1..16"]),
        (["--input", "x=1,4"], ["cannot be read", "sizes joined by 'x'"]),
        (["--input", "x=1x4..2"], ["The size '4..2'", "a named range (n[1..16]"]),
        (["--input", "x=n[1..8x4"], ["cannot be read", "n[1..16]"]),
        (["--input", "x=1..7/8x4"], ["The size '1..7/8'", "a multiple of its step"]),
        (["--input", "x:float33=1x4"], ["unknown element type 'float33'"]),
        (["--exporter", "onnxscript"], ["no exporter 'onnxscript'", "auto, torch.export, torchsc"]),
        (["--branches", "foo"], ["Branches cannot be treated as 'foo'. Expected 'join'"]),
        (["--time-limit", "0"], ["The time limit is 0.0 s. Expected a positive number"]),
        (
            ["--weights-in", "cloud"],
            ["Weights cannot go 'cloud'", "auto, inside, outside, nowhere"],
        ),
        (["--module", "bakbone"], ["Good has no module 'bakbone'", "Perhaps you meant 'backbone'"]),
        (["--outputs", "backbon,x"], ["Good has no module 'backbon'", "'backbone'"]),
        (["--input-names", "a,b"], ["are to be named a, b. Expected 1 different names, for x"]),
        (["--output-names", "x"], ["are to be named x. Expected 1 names, each once and none"]),
        (["--opset", "99"], ["opset 99 cannot be written", "Expected 18 to 25"]),
    ],
    ids=lambda value: " ".join(value) if value[0].startswith("--") else "",
)
def test_options_that_cannot_be(
    options: Sequence[str], said: Sequence[str], cli: Cli, nets: Path, place: Path
) -> None:
    given = options if "--input" in options else ["--input", "x=1x4", *options]
    failed(export(cli, place, f"{nets}:Good", *given), *said)
    assert_nothing_left(place)


def test_an_output_that_is_no_onnx_file(cli: Cli, nets: Path, place: Path) -> None:
    done = cli("export", f"{nets}:Good", "-o", place / "net.pt", "--input", "x=1x4")
    failed(done, "net.pt is no ONNX file. Expected a name ending in .onnx.")
    assert_nothing_left(place)


# --- files --------------------------------------------------------------------------------------


class Touches:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("suffix", [".pt", ".pth"])
def test_a_pickle_is_refused_and_never_run(
    suffix: str, zipped: bool, cli: Cli, tmp_path: Path, place: Path
) -> None:
    path = tmp_path / f"evil{suffix}"
    torch.save(
        {"model": Touches(tmp_path / "touched")}, path, _use_new_zipfile_serialization=zipped
    )
    done = export(cli, place, path, "--input", "x=1x4")
    failed(done, f"Error: {path} is a pickle of a whole module, and reading it can run any code")
    assert not (tmp_path / "touched").exists()
    assert_nothing_left(place)


def write_traced(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(torch.nn.Linear(4, 2), torch.zeros(1, 4)).save(str(path))


def write_program(path: Path) -> None:
    torch.export.save(torch.export.export(torch.nn.Linear(4, 2), (torch.zeros(1, 4),)), path)


WRITERS: dict[str, Callable[[Path], None]] = {".pt": write_traced, ".pt2": write_program}


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
@pytest.mark.parametrize("suffix", WRITERS)
def test_a_truncated_file(suffix: str, share: float, cli: Cli, tmp_path: Path, place: Path) -> None:
    whole, path = tmp_path / f"whole{suffix}", tmp_path / f"cut{suffix}"
    WRITERS[suffix](whole)
    content = whole.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    options = ["--input", "x=1x4"] if suffix == ".pt" else []
    failed(export(cli, place, path, *options), f"Error: {path} cannot be read as ")
    assert_nothing_left(place)


def test_a_package_of_compiled_code(cli: Cli, tmp_path: Path, place: Path) -> None:
    """AOTInductor writes `.pt2` files too; there is no graph in them."""
    path = tmp_path / "compiled.pt2"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("compiled/archive_format", "pt2")
        file.writestr("compiled/archive_version", "0")
        file.writestr("compiled/byteorder", "little")
        file.writestr("compiled/data/aotinductor/model/x.wrapper.so", b"\x7fELF")
    done = export(cli, place, path)
    failed(
        done, f"{path} cannot be read as a torch.export program", "compiled by AOTInductor has no"
    )
    assert_nothing_left(place)


@pytest.mark.parametrize("name", ["net.pt", "net.pt2", "net.pth", "net.onnx"])
def test_a_folder_under_the_name_of_a_file(
    name: str, cli: Cli, tmp_path: Path, place: Path
) -> None:
    (tmp_path / name).mkdir()
    failed(export(cli, place, tmp_path / name), f"There is no file {tmp_path / name}.")


# --- names --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("tim:resnet18", "timm"),
        ("torchvison:resnet18", "torchvision"),
        ("timm:resnet1", "resnet18"),
        ("weights.safetensors", "FILE.py:FUNCTION"),
    ],
)
def test_a_name_that_is_nearly_right(source: str, said: str, cli: Cli, place: Path) -> None:
    if source.startswith("timm:") and importlib.util.find_spec("timm") is None:
        pytest.skip("timm is not installed")
    failed(export(cli, place, source), said)
    assert_nothing_left(place)
