"""TensorRT: what is written for trtexec in each precision, and what of its log is told.

A stand-in takes the place of trtexec; see `fake_tools`. What it needs beyond that is in `test_preparing`.
"""

from __future__ import annotations

import os
import struct
from collections import Counter
from pathlib import Path

import fake_tools
import numpy as np
import onnx  # noqa: TID251 - reads files as another tool would
import onnx_ir as ir
import pytest

from modelport.engines import ENGINES
from modelport.engines.preparing import Prepares
from modelport.errors import EngineError
from modelport.graph import operators
from modelport.graph.io import from_proto
from modelport.graph.query import set_bounds
from modelport.quantize import nncf
from modelport.types import Dim, Feeds, Target, TensorSpec

BODY = "c = Conv <pads = [1, 1, 1, 1]> (image, w) y = Relu (c)"
QUANTIZED = (
    "q = QuantizeLinear (image, s, z) f = DequantizeLinear (q, s, z) "
    "c = Conv <pads = [1, 1, 1, 1]> (f, w) y = Relu (c)"
)


@pytest.fixture
def tensorrt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Prepares:
    """The engine, with the stand-in before all other executables."""
    fake_tools.install(tmp_path / "bin", "trtexec")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    engine = ENGINES.get("tensorrt")
    assert isinstance(engine, Prepares)
    return engine


def net(batch: str = "1", body: str = BODY) -> ir.Model:
    proto = onnx.parser.parse_model(
        f"""<ir_version: 10, opset_import: ["" : 20]>
        net (float[{batch}, 3, 8, 8] image) => (float[{batch}, 4, 8, 8] y) {{ {body} }}"""
    )
    weight = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)
    numbers = {"w": weight, "s": np.float32(0.02), "z": np.uint8(90)}
    for name, array in numbers.items():
        if name == "w" or body == QUANTIZED:
            proto.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(array), name))
    return from_proto(proto)


def free_net() -> ir.Model:
    model = net("batch")
    set_bounds(model.graph.inputs[0], TensorSpec("image", "float32", (Dim(1, 16), 3, 8, 8)))
    return model


def feeds() -> list[Feeds]:
    return [{"image": np.full((1, 3, 8, 8), size, np.float32)} for size in (1, -4)]


@pytest.mark.parametrize(
    ("model", "target", "asked"),
    [
        (
            free_net(),
            Target(device="cuda:1,workspace=512"),
            ["--noTF32", "--minShapes=image:1x3x8x8", "--optShapes=image:4x3x8x8",
             "--maxShapes=image:16x3x8x8", "--device=1", "--memPoolSize=workspace:512M"],
        ),
        (net(), Target("fp16"), ["--stronglyTyped"]),
        (net(), Target("bf16"), ["--bf16"]),
        (net(), Target("int8"), ["--int8", "--calib=calibration.cache"]),
        (net(body=QUANTIZED), Target("int8"), ["--stronglyTyped"]),
    ],
    ids=["free sizes", "fp16", "bf16", "float int8", "quantized int8"],
)  # fmt: skip
def test_trtexec_is_asked_for_no_more_than_the_graph_leaves_open(
    model: ir.Model, target: Target, asked: list[str], tensorrt: Prepares, tmp_path: Path
) -> None:
    """The tool takes it, and the artifact is what it wrote."""
    for name in ("prepared", "artifact"):
        (tmp_path / name).mkdir()
    (command,) = tensorrt.prepare(model, target, tmp_path / "prepared", feeds()).commands
    assert command[:4] == ("trtexec", "--onnx=model.onnx", "--saveEngine=model.engine",
                           "--skipInference")  # fmt: skip
    assert list(command[5:]) == asked
    artifact = tensorrt.compile(model, target, tmp_path / "artifact", feeds())
    assert artifact.files["model"].path.read_bytes() == b"an engine"


def test_precisions_are_in_the_graph(tensorrt: Prepares, tmp_path: Path) -> None:
    for precision, body in (("fp16", BODY), ("int8", QUANTIZED)):
        tensorrt.prepare(net(body=body), Target(precision), tmp_path)
        stored = {each.name: each for each in onnx.load(tmp_path / "model.onnx").graph.initializer}
        if precision == "fp16":
            assert {each.data_type for each in stored.values()} == {onnx.TensorProto.FLOAT16}
        else:  # without the zero point, of which TensorRT knows none
            zeros = [each for each in stored.values() if each.data_type == onnx.TensorProto.INT8]
            assert zeros
            assert not any(onnx.numpy_helper.to_array(zero).any() for zero in zeros)


@pytest.mark.parametrize("body", [BODY, QUANTIZED], ids=["float", "int8"])
def test_float8_is_in_the_graph(body: str, tensorrt: Prepares, tmp_path: Path) -> None:
    if body == BODY and (reason := nncf.available()):
        pytest.skip(reason)
    made = tensorrt.prepare(net(body=body), Target("fp8"), tmp_path, feeds() * 3)
    assert "--stronglyTyped" in made.commands[0]
    model = onnx.load(tmp_path / "model.onnx")
    kinds = Counter(each.data_type for each in model.graph.initializer)
    assert kinds[onnx.TensorProto.FLOAT8E4M3FN] >= 1
    assert not kinds[onnx.TensorProto.INT8] + kinds[onnx.TensorProto.UINT8]
    onnx.checker.check_model(model)


def test_float_graphs_are_calibrated(tensorrt: Prepares, tmp_path: Path) -> None:
    tensorrt.prepare(net(), Target("int8"), tmp_path, feeds())
    header, *lines = (tmp_path / "calibration.cache").read_text().splitlines()
    assert header == "TRT-101200-EntropyCalibration2"
    scales = dict(line.split(": ") for line in lines)
    assert set(scales) == {"image", "c", "y"}
    assert struct.unpack(">f", bytes.fromhex(scales["image"]))[0] == pytest.approx(4 / 127)


def test_plugins_go_along(tensorrt: Prepares, tmp_path: Path) -> None:
    library, folder, model = tmp_path / "libplugins.so", tmp_path / "artifact", net()
    library.write_bytes(b"plugins")
    folder.mkdir()
    operators.declare(model, {"tensorrt": [str(library)]})
    artifact = tensorrt.compile(model, Target("fp16"), folder)
    assert {role: blob.path.name for role, blob in artifact.files.items()} == {
        "model": "model.engine", "operators_0": "operators_0.so",
    }  # fmt: skip
    operators.declare(model, {"tensorrt": ["some_package"]})
    with pytest.raises(EngineError, match="'some_package' is the name of a package"):
        tensorrt.compile(model, Target("fp16"), folder)


@pytest.mark.parametrize(
    ("target", "told"),
    [
        (Target(device="sm89"), "choose tensorrt-rtx, which builds for GPUs elsewhere"),
        (Target("int8"), "wants int8 as a quantized graph, or as a float graph with calibration"),
        (Target("fp8"), "wants fp8 as a quantized graph, or as a float graph with calibration"),
    ],
)
def test_what_cannot_be_built_is_refused(
    target: Target, told: str, tensorrt: Prepares, tmp_path: Path
) -> None:
    with pytest.raises(EngineError, match=told):
        tensorrt.prepare(net(), target, tmp_path)


# In the form that logs of trtexec have in reports to its makers: of TensorRT 10 (open-mmlab/mmdeploy 2758),
# of 8.2 (NVIDIA/TensorRT 1775), and of builders that find no kernel (NVIDIA/TensorRT 2918).
LOGS = {
    "unknown operator": (
        """[11/22/2026-00:21:18] [I] Start parsing network model.
[11/22/2026-00:21:18] [E] [TRT] ModelImporter.cpp:963: While parsing node number 1 [Det -> "y"]:
[11/22/2026-00:21:18] [E] [TRT] ModelImporter.cpp:964: --- Begin node ---
input: "h"
output: "y"
name: "head/Det"
op_type: "Det"

[11/22/2026-00:21:18] [E] [TRT] ModelImporter.cpp:965: --- End node ---
[11/22/2026-00:21:18] [E] [TRT] ModelImporter.cpp:968: ERROR: onnxOpCheckers.cpp:819 In function """
        """checkFallbackPluginImporter:
[6] creator && "Plugin not found, are the plugin name, version, and namespace correct?"
[11/22/2026-00:21:18] [E] [TRT] In node 1 with name: head/Det and operator: Det """
        """(checkFallbackPluginImporter): INVALID_NODE: creator && "Plugin not found, are the plugin """
        """name, version, and namespace correct?"
[11/22/2026-00:21:18] [E] Failed to parse onnx file
[11/22/2026-00:21:18] [E] Parsing model failed
[11/22/2026-00:21:18] [E] Failed to create engine from model or file.
[11/22/2026-00:21:18] [E] Engine set up failed
&&&& FAILED TensorRT.trtexec [TensorRT v101200]""",
        r"It said: Det \(node 'head/Det'\): .*Plugin not found, are the plugin name",
    ),
    "an older one": (
        """[02/03/2022-06:14:51] [E] [TRT] ModelImporter.cpp:720: While parsing node number 4 """
        """[Round -> "r:0"]:
[02/03/2022-06:14:51] [E] [TRT] ModelImporter.cpp:723: --- End node ---
[02/03/2022-06:14:51] [E] [TRT] ModelImporter.cpp:726: ERROR: builtin_op_importers.cpp:4643 In """
        """function importFallbackPluginImporter:
[8] Assertion failed: creator && "Plugin not found, are the plugin name, version, and namespace correct?"
[02/03/2022-06:14:51] [E] Failed to parse onnx file""",
        r"It said: Round \(that gives 'r:0'\)",
    ),
    "no kernel": (
        """[04/28/2023-14:06:47] [E] Error[10]: [optimizer.cpp::computeCosts::3728] Error Code 10: """
        """Internal Error (Could not find any implementation for node conv1.)
[04/28/2023-14:06:47] [E] Engine could not be created from network
[04/28/2023-14:06:47] [E] Building engine failed
[04/28/2023-14:06:47] [E] Engine set up failed""",
        r"It said: Error\[10\]: .*Could not find any implementation for node conv1\.\)",
    ),
    "nothing that is known": ("Segmentation fault", "It said: Segmentation fault"),
}


@pytest.mark.parametrize("case", LOGS)
def test_its_errors_are_told(case: str, tensorrt: Prepares, tmp_path: Path) -> None:
    log, told = LOGS[case]
    fake_tools.install(tmp_path / "bin", "trtexec", says=log, status=1)
    folder = tmp_path / "artifact"
    folder.mkdir()
    with pytest.raises(EngineError, match=told) as caught:
        tensorrt.compile(net(), Target(), folder)
    assert "Engine set up failed" not in str(caught.value)
    assert "trtexec left with status 1" in str(caught.value)
    assert list(folder.iterdir()) == []
