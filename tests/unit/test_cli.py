"""Each command prints what it should, for people and for programs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import modelport
from modelport.bundle.read import Bundle
from modelport.cli import main
from modelport.engines import ENGINES
from modelport.passes import PASSES
from modelport.passes.pipelines import PORTABLE
from modelport.quantize import SCHEMES
from modelport.runtime.tasks import TASKS
from support import Ran, command, write_blocker

Cli = Callable[..., Ran]

COMMANDS = (
    "deploy",
    "run",
    "verify",
    "inspect",
    "optimize",
    "edit",
    "extract",
    "merge",
    "diff",
    "view",
    "engines",
    "passes",
    "schemes",
    "tasks",
)
COMPILER = (
    "torch",
    "onnx",
    "onnx_ir",
    "onnxscript",
    "openvino",
    "nncf",
    "matplotlib",
    "jinja2",
    "cv2",
)


# --- help and version ---------------------------------------------------------------------------


def test_version(cli: Cli) -> None:
    done = cli("--version")
    assert (done.status, done.stdout.strip()) == (0, modelport.__version__)


@pytest.mark.parametrize("asked", [["--help"], ["-h"], []], ids=["--help", "-h", "nothing"])
def test_help_lists_every_command(asked: list[str], cli: Cli) -> None:
    done = cli(*asked)
    assert done.status == 0
    assert all(name in done.stdout for name in COMMANDS)


def test_help_needs_no_compiler_and_no_engine(tmp_path: Path) -> None:
    """On a production machine, every command must at least say what it is for."""
    code = (
        "import sys\n"
        "from modelport.cli import main\n"
        f"for name in {COMMANDS}:\n"
        "    sys.argv = ['modelport', name, '--help']\n"
        "    try:\n"
        "        main()\n"
        "    except SystemExit as left:\n"
        "        assert not left.code, name\n"
    )
    blocker = write_blocker(tmp_path, [*COMPILER, "onnxruntime"])
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
        check=False,
        env={"PYTHONPATH": str(blocker), "COLUMNS": "120", "PYTHONIOENCODING": "utf-8"},
    )
    assert done.returncode == 0, done.stderr
    assert all(f"Usage: modelport {name}" in done.stdout for name in COMMANDS)


def test_help_and_version_as_a_program(tmp_path: Path) -> None:
    done = command("--version", block=[*COMPILER, "onnxruntime"], folder=tmp_path)
    assert (done.status, done.stdout.strip(), done.stderr) == (0, modelport.__version__, "")


# --- registries ---------------------------------------------------------------------------------


def test_engines(cli: Cli) -> None:
    rows = cli("engines", "--json").json
    assert [row["name"] for row in rows] == list(ENGINES)
    by_name = {row["name"]: row for row in rows}
    assert by_name["onnxruntime"]["status"] == "ready"
    assert by_name["onnxruntime"]["precisions"] == "fp32, int8"
    assert by_name["null"]["status"] == "ready (for tests)"
    shown = cli("engines")
    assert shown.status == 0
    assert all(name in shown.stdout for name in ENGINES)


def test_engines_say_why_they_are_missing(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    (row,) = [row for row in cli("engines", "--json").json if row["name"] == "openvino"]
    assert row["status"] == 'openvino is not installed: pip install "modelport[openvino]"'
    assert row["precisions"] == ""


def test_passes(cli: Cli) -> None:
    rows = cli("passes", "--json").json
    assert {row["name"] for row in rows} == set(PASSES)
    everywhere = [row["name"] for row in rows if row["engines"] == "all"]
    assert everywhere == [name for name, _ in PORTABLE]
    engines = {row["name"]: row["engines"] for row in rows}
    assert engines["decompose_prelu"] == "onnxruntime"
    assert engines["inline_functions"].startswith("openvino, ")
    assert engines["repair_prelu"] == "none unless asked for"
    assert all(row["does"] and row["result"] for row in rows)
    assert "fold_batchnorm" in cli("passes").stdout


def test_passes_are_listed_in_the_order_they_run(cli: Cli) -> None:
    rows = cli("passes", "--json").json
    assert [row["name"] for row in rows][: len(PORTABLE)] == [name for name, _ in PORTABLE]


def test_schemes(cli: Cli) -> None:
    rows = cli("schemes", "--json").json
    assert [row["name"] for row in rows] == list(SCHEMES)
    assert "int8-mixed" in cli("schemes").stdout


def test_tasks(cli: Cli) -> None:
    rows = cli("tasks", "--json").json
    assert [row["name"] for row in rows] == list(TASKS)
    assert "classification" in cli("tasks").stdout


# --- inspect, verify, run -----------------------------------------------------------------------


def test_inspect_a_bundle(cli: Cli, small_bundle: Path) -> None:
    found = cli("inspect", small_bundle, "--json").json
    assert found["kind"] == "bundle"
    assert found["name"] == "small"
    assert found["facts"]["task"] == "classification"
    assert found["facts"]["labels"] == 10
    assert found["facts"]["licence"] == "Apache-2.0"
    assert found["signature"]["inputs"][0] == {
        "name": "image",
        "dtype": "float32",
        "shape": [1, 3, 32, 32],
    }
    assert found["operators"]["Conv"] == 3
    assert "BatchNormalization" not in found["operators"]
    assert found["cost"]["multiply_adds"] == (16 * 27 + 16 * 9 + 32 * 16) * 16 * 16 + 32 * 10
    assert found["size_bytes"] == sum(e.size_bytes for e in Bundle(small_bundle).manifest.files)
    assert found["variants"][0]["name"] == "onnxruntime-fp32"
    shown = cli("inspect", small_bundle)
    assert shown.status == 0
    assert "input image: float32 1x3x32x32" in shown.stdout
    assert "onnxruntime-fp32" in shown.stdout


def test_inspect_an_onnx_file(cli: Cli, sum_file: Path) -> None:
    found = cli("inspect", sum_file, "--json").json
    assert found["kind"] == "onnx"
    assert found["operators"] == {"Add": 1, "Sub": 1}
    assert found["facts"]["opset"] == 20
    assert found["size_bytes"] == sum_file.stat().st_size
    assert "operators: 2 (Add 1, Sub 1)" in cli("inspect", sum_file).stdout


def test_verify(cli: Cli, small_bundle: Path) -> None:
    done = cli("verify", small_bundle, "--json", "--threads", "1")
    assert done.status == 0
    found = done.json
    assert found["passed"]
    assert found["problems"] == []
    assert found["cases"] == 4
    assert found["grey_levels"] <= 1.0
    names = [variant["name"] for variant in found["variants"]]
    assert names == [variant.name for variant in Bundle(small_bundle).variants]
    shown = cli("verify", small_bundle)
    assert shown.status == 0
    assert "The bundle holds." in shown.stdout


def test_verify_skips_what_this_machine_lacks(
    cli: Cli, small_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ENGINES.get("openvino"), "available", lambda: "openvino went away")
    done = cli("verify", small_bundle, "--json")
    skipped = {each["name"]: each["skipped"] for each in done.json["variants"] if each["skipped"]}
    assert done.status == 0
    assert skipped
    assert all(name.startswith("openvino-") for name in skipped)
    assert set(skipped.values()) == {"openvino went away"}
    assert "skipped" in cli("verify", small_bundle).stdout


def test_run(cli: Cli, small_bundle: Path, pictures: Path) -> None:
    one = pictures / "picture_00.png"
    (found,) = cli("run", small_bundle, one, "--json").json
    answer = modelport.load(small_bundle)(one)
    assert found["file"] == str(one)
    assert found["label"] == answer.label
    assert found["score"] == pytest.approx(answer.score)
    assert list(found["timing_ms"]) == ["decode", "resize", "normalize", "inference", "result"]
    shown = cli("run", small_bundle, one, "--threads", "1")
    assert shown.status == 0
    assert f"{one}: {answer.label} {answer.score:.2f}" in shown.stdout
    assert "variant onnxruntime-fp32" in shown.stdout
    assert "total" in shown.stdout


def test_run_takes_folders_and_a_variant(cli: Cli, small_bundle: Path, pictures: Path) -> None:
    found = cli("run", small_bundle, pictures, "--variant", "onnxruntime-int8", "--json").json
    assert [Path(each["file"]).name for each in found] == sorted(p.name for p in pictures.iterdir())


def test_run_draws(cli: Cli, small_bundle: Path, pictures: Path, tmp_path: Path) -> None:
    drawings = tmp_path / "new" / "drawings"
    assert cli("run", small_bundle, pictures, "--draw", drawings).status == 0
    assert sorted(p.name for p in drawings.iterdir()) == sorted(p.name for p in pictures.iterdir())
    with (
        Image.open(drawings / "picture_03.png") as drawn,
        Image.open(pictures / "picture_03.png") as plain,
    ):
        assert drawn.size == plain.size
        assert drawn.tobytes() != plain.convert("RGB").tobytes()


def test_run_feeds_a_model_without_transforms(
    cli: Cli, small_bundle: Path, sum_bundle: Path, tmp_path: Path
) -> None:
    feeds = tmp_path / "feeds.npz"
    np.savez(feeds, a=np.ones((1, 4), np.float32), b=np.full((1, 4), 2, np.float32))
    done = cli("run", sum_bundle, feeds, "--json")
    assert done.status == 0, done.stderr
    (found,) = done.json
    assert found["total"] == [[3.0] * 4]
    told = cli("run", sum_bundle, feeds).stdout
    assert f"{feeds}: total float32 1x4, difference float32 1x4" in told
    wrong = cli("run", small_bundle, feeds)
    assert wrong.status == 2
    assert f"{feeds} does not fit the model: The feeds are named ['a', 'b']." in wrong.stderr


def test_run_feeds_a_ready_tensor(
    cli: Cli, small_bundle: Path, pictures: Path, tmp_path: Path
) -> None:
    predictor = modelport.load(small_bundle)
    np.save(tmp_path / "tensor.npy", predictor.preprocessor(pictures / "picture_00.png"))
    (found,) = cli("run", small_bundle, tmp_path / "tensor.npy", "--json").json
    assert found["label"] == predictor(pictures / "picture_00.png").label


# --- optimize, deploy ---------------------------------------------------------------------------


def test_optimize(cli: Cli, sum_file: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.onnx"
    done = cli("optimize", sum_file, "-o", output, "--json")
    assert done.status == 0
    assert [record["name"] for record in done.json] == [name for name, _ in PORTABLE]
    assert output.is_file()
    shown = cli("optimize", sum_file, "-o", output)
    assert "passes found nothing to do" in shown.stdout
    assert "fold_batchnorm" not in shown.stdout
    unchecked = cli("optimize", sum_file, "-o", output, "--no-check")
    assert "The results were not compared." in unchecked.stdout


def test_optimize_makes_the_folder_of_its_output(cli: Cli, sum_file: Path, tmp_path: Path) -> None:
    output = tmp_path / "new" / "out.onnx"
    assert cli("optimize", sum_file, "-o", output).status == 0
    assert output.is_file()


def test_optimize_says_why_not(cli: Cli, sum_file: Path) -> None:
    done = cli("optimize", sum_file, "--why-not", "fold_batchnorm")
    assert done.status == 0
    assert done.stdout.startswith("fold_batchnorm: nothing to do")
    assert "remove_unused" not in done.stdout


def test_deploy_prints_the_manifest(cli: Cli, sum_file: Path, tmp_path: Path) -> None:
    output = tmp_path / "bundle"
    done = cli(
        "deploy", sum_file, "-o", output, "--engines", "onnxruntime", "--precisions", "fp32",
        "--no-report", "--json", "--name", "adder", "--licence", "MIT", "--budget", "2%",
    )  # fmt: skip
    assert (done.status, done.stderr) == (0, "")
    manifest = done.json
    assert manifest["name"] == "adder"
    assert manifest["licence"] == "MIT"
    assert manifest["default"] == "onnxruntime-fp32"
    assert manifest["provenance"]["budget"] == 0.02
    assert manifest == json.loads((output / "modelport.json").read_text())


def test_deploy_tells_its_stages_and_its_verdict(cli: Cli, sum_file: Path, tmp_path: Path) -> None:
    output = tmp_path / "bundle"
    done = cli("deploy", sum_file, "-o", output, "--engines", "onnxruntime", "--no-report")
    assert done.status == 0
    assert [line.split(" ", 1)[1].rsplit(" ", 2)[0] for line in done.stderr.splitlines()] == [
        "Open the source",
        "Export, and prove the export",
        "Run the source on the data",
        "Optimise",
        "Compile the variants",
        "Compare with the source, time in turn, choose",
        "Write the bundle",
    ]
    assert "onnxruntime-fp32" in done.stdout
    assert "chosen" in done.stdout
    assert "int8 needs calibration data" in done.stdout
    assert f"Bundle: {output}" in done.stdout
    assert "random feeds, which say little about real ones" in done.stdout


# --- what goes wrong ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nosuch"], "Error: No such command 'nosuch'. See modelport --help.\n"),
        (["engines", "--nope"], "Error: No such option: --nope. See modelport engines --help.\n"),
        (["--nope"], "Error: No such option: --nope. See modelport --help.\n"),
        (["run", "bundle"], "Error: Missing argument 'inputs'. See modelport run --help.\n"),
        (
            ["deploy", "m.onnx"],
            "Error: Missing option '--output' / '-o'. See modelport deploy --help.\n",
        ),
    ],
)
def test_misuse_is_one_line(arguments: list[str], said: str, cli: Cli) -> None:
    done = cli(*arguments)
    assert (done.status, done.stdout) == (2, "")
    assert done.stderr.lower() == said.lower()


def test_numbers_are_checked(cli: Cli) -> None:
    for value in ("x", "-1"):
        done = cli("verify", "bundle", "--threads", value)
        assert done.status == 2
        assert done.stderr.startswith("Error: Invalid value for '--threads': ")
        assert done.stderr.count("\n") == 1


def test_warnings_become_notes(tmp_path: Path, small_bundle: Path, pictures: Path) -> None:
    done = command(
        "run", small_bundle, pictures / "picture_00.png", block=["onnxruntime"], folder=tmp_path
    )
    assert done.status == 0, done.stderr
    assert done.stderr.startswith("Note: The default variant onnxruntime-fp32 cannot run here: ")
    assert "pip install onnxruntime; running openvino-" in done.stderr


def test_a_stop_by_the_user_is_no_traceback(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("modelport.inspection.inspect", stop)
    done = cli("inspect", "model.onnx")
    assert (done.status, done.stdout, done.stderr) == (130, "", "Stopped.\n")


def test_a_mistake_of_ours_keeps_its_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stumble(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("modelport.inspection.inspect", stumble)
    monkeypatch.setattr(sys, "argv", ["modelport", "inspect", "model.onnx"])
    with pytest.raises(ZeroDivisionError):
        main()


def test_tables_keep_what_is_in_brackets(
    cli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rich would take the extra in `modelport[openvino]` for markup and swallow it."""
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert "modelport[openvino]" in cli("engines").stdout.replace("\n", "").replace(" ", "")
