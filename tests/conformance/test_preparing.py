"""Engines whose toolchain is elsewhere: what they write is what the tool takes, and its errors are told."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import fake_tools
import numpy as np
import onnx  # noqa: TID251 - writes and reads files as another tool would
import onnxruntime
import pytest

import modelport
from modelport.engines import ENGINES
from modelport.engines.preparing import NOT_RUN, Prepares, PreparingEngine
from modelport.errors import EngineError, EngineUnavailableError, ModelportError
from modelport.feeds import random_feeds
from modelport.graph import io
from modelport.graph.query import signature_of
from modelport.types import Feeds, Target
from support import Ran

Cli = Callable[..., Ran]

TOOLS = {
    "ascend": ("atc",),
    "horizon": ("hb_mapper", "hb_compile"),
    "pplnn": ("pplnn",),
    "snpe": ("snpe-onnx-to-dlc", "snpe-dlc-quantize"),
    "tensorrt": ("trtexec",),
    "tnn": ("convert2tnn", "quantization_cmd"),
}

CASES = [
    ("ascend", "fp32", None),
    ("ascend", "fp16", "Ascend910B4"),
    ("horizon", "int8", None),
    ("horizon", "int8", "bernoulli2:nv12"),
    ("horizon", "int8", "nash-e:rgb"),
    ("pplnn", "fp32", None),
    ("pplnn", "fp16", "arm"),
    ("pplnn", "fp16", "cuda:1"),
    ("pplnn", "int8", "cuda"),
    ("snpe", "fp32", None),
    ("snpe", "fp16", None),
    ("snpe", "int8", "sm8550"),
    ("tensorrt", "fp32", "cuda:1,workspace=512"),
    ("tensorrt", "fp16", None),
    ("tensorrt", "bf16", None),
    ("tensorrt", "int8", None),
    ("tnn", "fp32", None),
    ("tnn", "fp16", None),
    ("tnn", "int8", None),
]


def weights(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32) * 0.3


def write_net(path: Path, shape: str = "1,3,8,8") -> Path:
    """A network of opset 20 with operators that opset 11 lacks or has in other forms."""
    proto = onnx.parser.parse_model(
        f"""<ir_version: 10, opset_import: ["" : 20, "com.example" : 1]>
        net (float[{shape}] image) => (float[n, 6, 4, 4] heat, float[m, 5] scores) {{
            a = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (image, w, b)
            c = HardSwish (a)
            heat = Softmax <axis = 1> (c)
            d = ReduceMean <keepdims = 0> (c, axes)
            e = LayerNormalization (d, scale, b)
            f = Gelu (e)
            scores = Gemm <transB = 1> (f, v)
        }}"""
    )
    arrays = {"w": weights(6, 3, 3, 3), "b": weights(6), "axes": np.asarray([2, 3], np.int64),
              "scale": weights(6) + 1, "v": weights(5, 6)}  # fmt: skip
    for name, array in arrays.items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    onnx.save_model(proto, str(path))
    return path


def write_two(path: Path) -> Path:
    onnx.save_model(
        onnx.parser.parse_model(
            '<ir_version: 10, opset_import: ["" : 20]>\n'
            "net (float[1, 4] left, float[1, 4] right) => (float[1, 4] total)\n"
            "{ total = Add(left, right) }"
        ),
        str(path),
    )
    return path


@pytest.fixture
def net(tmp_path: Path) -> Path:
    return write_net(tmp_path / "net.onnx")


@pytest.fixture
def feeds(tmp_path: Path) -> Path:
    folder = tmp_path / "feeds"
    folder.mkdir()
    for index in range(3):
        np.save(folder / f"{index}.npy", weights(1, 3, 8, 8) + index)
    return folder


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of executables before all others."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def few(count: int = 3) -> list[Feeds]:
    return [{"image": weights(1, 3, 8, 8) + index} for index in range(count)]


# --- contracts ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "precision", "device"), CASES)
def test_the_tool_takes_what_was_written(
    name: str, precision: str, device: str | None, net: Path, path: Path, tmp_path: Path
) -> None:
    """Through the contract of an engine: compile runs the tool, and its results are the artifact."""
    fake_tools.install(path, *TOOLS[name])
    engine, target = ENGINES.get(name), Target(precision, device or "cpu")
    assert engine.refuses(target) is None
    folder = tmp_path / "artifact"
    folder.mkdir()
    model = io.load(net)
    artifact = engine.compile(model, target, folder, few() if precision == "int8" else ())
    assert {blob.path for blob in artifact.files.values()} == set(folder.iterdir())
    assert all(blob.size_bytes for blob in artifact.files.values())
    assert artifact.signature == signature_of(model)
    with pytest.raises(EngineUnavailableError, match=f"Artifacts of {name} do not run on this"):
        engine.load(artifact)


@pytest.mark.parametrize(
    ("name", "precision", "device"),
    [("horizon", "int8", None), ("pplnn", "int8", "cuda"), ("tnn", "int8", None)],
)
def test_the_written_script_runs_the_tool(
    name: str,
    precision: str,
    device: str | None,
    net: Path,
    feeds: Path,
    path: Path,
    tmp_path: Path,
) -> None:
    """Through the user's side: the folder moves, and `convert.sh` does the rest."""
    fake_tools.install(path, *TOOLS[name])
    made = modelport.prepare(
        net, name, tmp_path / "out", precision=precision, device=device, calibration=feeds
    )
    moved = tmp_path / "elsewhere"
    made.path.rename(moved)
    done = subprocess.run(
        [moved / "convert.sh"], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert all((moved / file).is_file() for file in made.prepared.makes.values())


@pytest.mark.parametrize(
    ("name", "opset", "ir_version"),
    [("ascend", 18, 8), ("horizon", 11, 6), ("pplnn", 11, 6), ("snpe", 20, 10), ("tnn", 11, 6)],
)
def test_the_written_graph_is_old_enough_and_equal(
    name: str, opset: int, ir_version: int, net: Path, feeds: Path, tmp_path: Path
) -> None:
    precision = ENGINES.get(name).precisions[0]
    made = modelport.prepare(
        net, name, tmp_path / "out", precision=precision, calibration=feeds
    ).path  # fmt: skip
    written = onnx.load(made / "model.onnx")
    assert [(each.domain, each.version) for each in written.opset_import] == [("", opset)]
    assert written.ir_version == ir_version
    feed = dict(random_feeds(signature_of(io.load(net)), 1))
    want, got = (onnxruntime.InferenceSession(file).run(None, feed)
                 for file in (net, made / "model.onnx"))  # fmt: skip
    for one, other in zip(want, got, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "flags"),
    [
        ("1,3,8,8", []),
        ("n,3,8,8", ["--dynamic_batch_size=1,2,4,8"]),
        ("n,3,8,w", ["--input_format=ND", "--dynamic_dims=1,8;1,16;2,8;2,16"]),
    ],
)
def test_ascend_gets_free_sizes_one_by_one(
    shape: str, flags: list[str], path: Path, tmp_path: Path
) -> None:
    fake_tools.install(path, "atc")
    model = io.load(write_net(tmp_path / "net.onnx", shape))
    bounds = {"n,3,8,8": "0:n[1..8]", "n,3,8,w": "0:n[1..2] 3:w[8..16/8]"}.get(shape, "")
    model.graph.inputs[0].metadata_props["modelport.range"] = bounds
    made = ENGINES.get("ascend").prepare(model, Target(), tmp_path)
    assert [flag for flag in made.commands[0] if "dynamic" in flag or "format" in flag] == flags
    folder = tmp_path / "artifact"
    folder.mkdir()
    ENGINES.get("ascend").compile(model, Target(), folder)


def test_ascend_wants_bounds(tmp_path: Path) -> None:
    model = io.load(write_net(tmp_path / "net.onnx", "n,3,8,8"))
    with pytest.raises(EngineError, match="compiles free sizes one by one, and n has no largest"):
        ENGINES.get("ascend").prepare(model, Target(), tmp_path)


def test_horizon_gives_each_input_its_folder(path: Path, tmp_path: Path) -> None:
    fake_tools.install(path, "hb_mapper", "hb_compile")
    model = io.load(write_two(tmp_path / "two.onnx"))
    two = [{"left": weights(1, 4), "right": weights(1, 4) + 1}] * 2
    for device in ("bayes", "nash-m"):
        folder = tmp_path / device
        folder.mkdir()
        ENGINES.get("horizon").compile(model, Target("int8", device), folder, two)
    prepared = tmp_path / "prepared"
    prepared.mkdir()
    ENGINES.get("horizon").prepare(model, Target("int8", "bayes"), prepared, two)
    right = np.fromfile(prepared / "calibration" / "1" / "00000.bin", np.float32)
    np.testing.assert_array_equal(right, two[0]["right"].reshape(-1))


def test_pplnn_writes_the_ranges_of_the_feeds(net: Path, tmp_path: Path) -> None:
    model = io.load(net)
    ENGINES.get("pplnn").prepare(model, Target("int8", "cuda"), tmp_path, few(2))
    quant = json.loads((tmp_path / "quant.json").read_text())["quant_info"]
    most = max(float(np.abs(each["image"]).max()) for each in few(2))
    assert quant["image"]["tensor_max"] == pytest.approx(most)
    assert quant["image"]["tensor_min"] == -quant["image"]["tensor_max"]
    by_channel = np.abs(weights(6, 3, 3, 3).reshape(6, -1)).max(1)
    np.testing.assert_allclose(quant["w"]["tensor_max"], by_channel, rtol=1e-6)
    assert quant["w"]["per_channel"]


# --- errors of the tools ------------------------------------------------------------------------

RECORDED = [
    # From an issue of mmagic (1068), and the parser of Ascend's own migration tools.
    ("ascend", 255,
     "ATC start working now, please wait for a moment.\n...\n"
     "ATC run failed, Please check the detail log, Try 'atc --help' for more information\n"
     "E19010: No parser is registered for Op [grid_sampler_3140, optype [ai.onnx::11::grid_sampler]].\n"
     "        Model parse to graph failed, graph name:basicvsr.[FUNC:ModelParseToGraph]\n",
     "E19010: No parser is registered for Op [grid_sampler_3140, optype [ai.onnx::11::grid_sampler]]"),
    ("ascend", 255,
     "ATC run failed, Please check the detail log, Try 'atc --help' for more information\n"
     "E10007: [PID: 10490] 2025-03-18-09:02:18.501.341 [--framework] is required. The value must be "
     "[0(Caffe) or 1(MindSpore) or 3(TensorFlow) or 5(Onnx)].\n",
     "E10007: [--framework] is required. The value must be"),
    ("ascend", 255,
     "EZ3003: No supported Ops kernel and engine are found for [AddDsl], optype [AddDsl].\n"
     "        Possible Cause: The operator is not supported by the system.\n",
     "EZ3003: No supported Ops kernel and engine are found for [AddDsl], optype [AddDsl]"),
    # From its source: graph_parser.cc.
    ("pplnn", 255,
     "[ERROR][2026-11-21 10:00:00.001][graph_parser.cc:214] unsupported op: domain[], type[Einsum].\n"
     "[ERROR][2026-11-21 10:00:00.002][pplnn.cc:1214] create OnnxRuntimeBuilder failed: unsupported\n",
     "unsupported op: domain[], type[Einsum]. | create OnnxRuntimeBuilder failed: unsupported"),
    # From its source: onnx2tnn.cc and converter.py, which leaves with 0 after some failures.
    ("tnn", 0,
     "E/tnn: virtual int TNNWriteProto [File onnx2tnn.cc][Line 326] error::op convert failed onnx:Einsum\n"
     "Converter ONNX to TNN model failed!\n",
     "onnx2tnn has no Einsum"),
    ("tnn", 0, "Conversion to  tnn failed :(\n", "Conversion to  tnn failed :("),
    # From guides of RDK X5.
    ("horizon", 1,
     "2026-11-21 10:00:00,001 INFO Start hb_mapper....\n"
     "2026-11-21 10:00:00,002 ERROR *** ERROR-OCCUR-DURING {horizon_nn.build_onnx} ***, error message: "
     "The opset version of the model is 18, the maximum supported version is 11.\n",
     "The opset version of the model is 18, the maximum supported version is 11"),
    # From several reports about QAIRT's converters.
    ("snpe", 1,
     "2026-11-21 10:00:00,001 - 235 - ERROR - Node /sdp/RandomNormalLike: 'No translation registered for "
     "op type onnx_randomnormallike.'\n",
     "the converter has no translation of randomnormallike"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "status", "says", "told"), RECORDED)
def test_the_words_of_a_tool_that_fails_are_told(
    name: str, status: int, says: str, told: str, net: Path, path: Path, tmp_path: Path
) -> None:
    fake_tools.install(path, *TOOLS[name], says=says, status=status)
    folder = tmp_path / "artifact"
    folder.mkdir()
    engine = ENGINES.get(name)
    precision = engine.precisions[0]
    with pytest.raises(EngineError) as caught:
        engine.compile(io.load(net), Target(precision), folder, few())
    assert told in str(caught.value)
    assert f"{name} failed while converting: {TOOLS[name][0]} " in str(caught.value)
    assert f"modelport engines prepare {name}" in str(caught.value)
    assert list(folder.iterdir()) == []


def test_a_tool_without_words_is_told_too(net: Path, path: Path, tmp_path: Path) -> None:
    fake_tools.install(path, "atc", says=" ", status=0)
    with pytest.raises(EngineError, match=r"atc wrote no model\.om\. It said: nothing"):
        ENGINES.get("ascend").compile(io.load(net), Target(), tmp_path)


@pytest.mark.parametrize("name", TOOLS)
def test_without_its_tool_an_engine_says_what_there_is(
    name: str, net: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli
) -> None:
    monkeypatch.setenv("PATH", "")
    engine = ENGINES.get(name)
    assert isinstance(engine, PreparingEngine)
    reason = engine.available()
    assert reason is not None
    assert reason.startswith(f"{NOT_RUN}: {TOOLS[name][0]} is not on PATH; it comes with ")
    assert reason.endswith(f"`modelport engines prepare {name}` writes what it needs")
    (row,) = [row for row in cli("engines", "--json").json if row["name"] == name]
    assert row["status"] == reason
    with pytest.raises(EngineUnavailableError, match=NOT_RUN):
        engine.compile(io.load(net), Target(engine.precisions[0]), tmp_path)


def test_int8_takes_the_second_tool_too(path: Path) -> None:
    fake_tools.install(path, "convert2tnn")
    engine = ENGINES.get("tnn")
    assert engine.refuses(Target("fp32")) is None
    assert "quantization_cmd is not on PATH" in (engine.refuses(Target("int8")) or "")


# --- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("ascend", {"precision": "int8"}, "ascend has no int8; it has fp32, fp16"),
        ("ascend", {"device": "310"}, "ascend knows no device '310'. Expected the name of a chip"),
        ("horizon", {}, "horizon has no fp32; it has int8"),
        ("horizon", {"precision": "int8"}, "horizon quantizes by feeds, and there are none"),
        ("horizon", {"precision": "int8", "device": "bayes-e:mp4", "feeds": True},
         "horizon knows no device 'bayes-e:mp4'"),
        ("horizon", {"precision": "int8", "device": "bayes-e:gray", "feeds": True},
         "horizon gives gray to models with one input of pictures, 1x1xHxW"),
        ("pplnn", {"precision": "fp16"}, "pplnn has no fp16 on x86; it has fp32"),
        ("pplnn", {"device": "riscv"}, "pplnn knows no device 'riscv'"),
        ("snpe", {"precision": "int8", "device": "sm-1", "feeds": True}, "snpe knows no device 'sm-1'"),
        ("tnn", {"precision": "bf16"}, "tnn has no bf16; it has fp32, fp16, int8"),
        ("openvino", {}, "The engine openvino has nothing to prepare: it converts where it is installed"),
        ("nonsense", {}, "There is no engine named 'nonsense'"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(
    name: str, given: dict[str, object], said: str, net: Path, feeds: Path, tmp_path: Path
) -> None:
    words = {key: value for key, value in given.items() if key != "feeds"}
    calibration = feeds if "feeds" in given else None
    with pytest.raises(ModelportError) as caught:
        modelport.prepare(net, name, tmp_path / "out", calibration=calibration, **words)
    assert said in str(caught.value)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["feeds", "net.onnx"]


@pytest.mark.parametrize("name", ["horizon", "snpe", "tnn", "caffe"])
def test_free_sizes_are_refused(name: str, tmp_path: Path, feeds: Path) -> None:
    free = write_net(tmp_path / "net.onnx", "n,3,8,8")
    precision = ENGINES.get(name).precisions[0]
    with pytest.raises(
        EngineError, match=f"{name} takes fixed sizes only, and image: float32 nx3x8x8"
    ):
        modelport.prepare(
            free, name, tmp_path / "out", precision=precision, calibration=feeds
        )  # fmt: skip


def test_operators_that_no_old_opset_has_are_named(tmp_path: Path) -> None:
    proto = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 20]>\n'
        "net (float[2, 3, 4] x) => (float[2, 4, 3] y) "
        '{ a = Relu (x)\ny = Einsum <equation = "abc->acb"> (a) }'
    )
    proto.graph.node[1].metadata_props.add(key="modelport.module", value="head.mix")
    onnx.save_model(proto, str(tmp_path / "net.onnx"))
    with pytest.raises(EngineError) as caught:
        modelport.prepare(tmp_path / "net.onnx", "tnn", tmp_path / "out")
    assert str(caught.value).startswith(
        "tnn failed while preparing: it reads opset 11 at most, and the model is of opset 20. "
        "head.mix: Einsum: opset 11 has no such operator. "
    )


@pytest.mark.parametrize(
    ("name", "precision", "sign"),
    [
        ("ascend", "fp32", ":"),
        ("horizon", "int8", ";"),
        ("pplnn", "fp32", ","),
        ("snpe", "fp32", "="),
    ],
)
def test_names_that_a_command_cannot_say_are_refused(
    name: str, precision: str, sign: str, net: Path, tmp_path: Path
) -> None:
    model = io.load(net)
    model.graph.inputs[0].name = f"image{sign}0"
    feeds = [{f"image{sign}0": each["image"]} for each in few(1)]
    with pytest.raises(EngineError, match="has a meaning in its settings"):
        ENGINES.get(name).prepare(model, Target(precision), tmp_path, feeds)


def test_tnn_refuses_uneven_pads_by_module(tmp_path: Path) -> None:
    proto = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 11]>\n'
        "net (float[1, 3, 8, 8] x) => (float[1, 3, 4, 4] y) "
        "{ y = MaxPool <kernel_shape = [3, 3], strides = [2, 2], pads = [0, 0, 1, 1]> (x) }"
    )
    proto.graph.node[0].metadata_props.add(key="modelport.module", value="stem.pool")
    onnx.save_model(proto, str(tmp_path / "net.onnx"))
    with pytest.raises(EngineError, match=r"stem\.pool \(MaxPool, pads \[0, 0, 1, 1\]\)"):
        modelport.prepare(tmp_path / "net.onnx", "tnn", tmp_path / "out")


# --- the user's side ----------------------------------------------------------------------------


def test_folders_are_replaced_when_they_are_ours_and_it_was_asked(
    net: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    modelport.prepare(net, "snpe", output)
    (output / "old.txt").write_text("of the first time")
    with pytest.raises(ModelportError, match=r"out exists\. Pass --overwrite to replace it"):
        modelport.prepare(net, "snpe", output)
    modelport.prepare(net, "ascend", output, overwrite=True)
    assert not (output / "old.txt").exists()
    assert json.loads((output / "prepared.json").read_text())["engine"] == "ascend"
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "thesis.txt").write_text("years of work")
    with pytest.raises(ModelportError, match="theirs exists and was not written by prepare"):
        modelport.prepare(net, "snpe", theirs, overwrite=True)
    assert (theirs / "thesis.txt").exists()


def test_a_missing_model_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ModelportError, match=r"There is no file .*gone\.onnx"):
        modelport.prepare(tmp_path / "gone.onnx", "snpe", tmp_path / "new" / "out")
    assert list(tmp_path.iterdir()) == []


def test_the_model_that_goes_in_stays_as_it_is(net: Path, tmp_path: Path) -> None:
    model = io.load(net)
    before = io.to_proto(model).SerializeToString(deterministic=True)
    for name in TOOLS:
        engine = ENGINES.get(name)
        assert isinstance(engine, Prepares)
        folder = tmp_path / name
        folder.mkdir()
        engine.prepare(model, Target(engine.precisions[0]), folder, few())
    assert io.to_proto(model).SerializeToString(deterministic=True) == before


def test_the_command_says_what_it_wrote_and_what_it_did_not(
    net: Path, feeds: Path, tmp_path: Path, cli: Cli
) -> None:
    output = tmp_path / "out"
    done = cli("engines", "prepare", "horizon", net, "--output", output, "--precision", "int8",
               "--device", "bayes-e:nv12", "--calibration", feeds)  # fmt: skip
    assert done.status == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == f"Wrote {output} for horizon at int8: {NOT_RUN}"
    assert "  3 files in calibration" in lines
    assert "  hb_mapper makertbin --config config.yaml --model-type onnx" in lines
    assert "The device takes model_output/model.bin" in lines
    assert any(line.startswith("- At run time the model gets nv12") for line in lines)
    again = cli("engines", "prepare", "horizon", net, "--output", output, "--precision", "int8")
    assert again.status == 2
    assert "out exists" in again.stderr


def test_the_command_for_programs(net: Path, tmp_path: Path, cli: Cli) -> None:
    done = cli("engines", "prepare", "ascend", net, "-o", tmp_path / "out", "--json")
    assert done.json["status"] == NOT_RUN
    assert done.json["commands"][0][:2] == ["atc", "--framework=5"]
    assert done.json["makes"] == {"model": "model.om"}
    assert "Ascend310P3 is assumed" in done.json["notes"][0]


def test_caffe_is_written_whole(tmp_path: Path, cli: Cli) -> None:
    """There is no tool to run: what is written is what the device's toolchain takes."""
    done = cli(
        "engines", "prepare", "caffe", write_two(tmp_path / "two.onnx"), "-o", tmp_path / "out"
    )
    assert done.status == 0, done.stderr
    assert "written in full" in done.stdout.splitlines()[0]
    assert "The device takes model.prototxt, model.caffemodel" in done.stdout
    assert not (tmp_path / "out" / "convert.sh").exists()
    assert (tmp_path / "out" / "model.caffemodel").stat().st_size
