"""Stand-ins for toolchains that cannot be had here: executables that check what the real ones would be given.

Each function is the contract of one tool, from its public documentation or source (the address is beside
it): which flags there are, what the files must be, and what it writes. It exits with a word where anything
differs. A tool may also be made to print an error text that the real one is known to print.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

CONTRACTS: dict[str, Callable[[list[str]], None]] = {}


def contract(name: str) -> Callable[[Callable[[list[str]], None]], Callable[[list[str]], None]]:
    def keep(function: Callable[[list[str]], None]) -> Callable[[list[str]], None]:
        CONTRACTS[name] = function
        return function

    return keep


def install(folder: Path, *names: str, says: str = "", status: int = 0) -> None:
    """Puts executables of those names there; with `says` they print that and do nothing else."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / f"{name}.says").write_text(says, encoding="utf-8")
        script = folder / name
        script.write_text(
            f"#!{sys.executable}\n"
            "import pathlib, sys\n"
            f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
            "import fake_tools\n"
            f"said = pathlib.Path(__file__).with_name({name!r} + '.says').read_text()\n"
            "print(said)\n"
            f"sys.exit({status}) if said else fake_tools.CONTRACTS[{name!r}](sys.argv[1:])\n",
            encoding="utf-8",
        )
        script.chmod(0o755)


def demand(condition: bool, told: str) -> None:
    if not condition:
        sys.exit(f"the contract is broken: {told}")


def model_inputs(
    path: Path, *, opset: int, ir_version: int = 99, static: bool = True
) -> dict[str, list[int]]:
    """Names and shapes of its inputs, -1 for free sizes; checked as the tool's own reader would."""
    import onnx  # noqa: TID251 - as the tools do

    demand(path.is_file(), f"there is no {path}")
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    demand([each.domain for each in model.opset_import] == [""], "there are other domains")
    version = model.opset_import[0].version
    demand(version <= opset, f"the opset is {version}, and {opset} is the newest it knows")
    demand(model.ir_version <= ir_version, f"the IR version is {model.ir_version}")
    weights = {each.name for each in model.graph.initializer}
    found = {}
    for value in model.graph.input:
        if value.name not in weights:
            sizes = value.type.tensor_type.shape.dim
            found[value.name] = [
                each.dim_value if each.HasField("dim_value") else -1 for each in sizes
            ]
    if static:
        demand(all(min(shape, default=1) > 0 for shape in found.values()), "a size is free")
    return found


def count(shape: list[int]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total


@contract("atc")
def atc(arguments: list[str]) -> None:
    """https://www.hiascend.com/document/detail/en/canncommercial/800/devaids/atc/atlasatcparam_16_0016.html"""
    flags = dict(each.removeprefix("--").partition("=")[::2] for each in arguments)
    known = {"framework", "model", "output", "input_shape", "soc_version", "precision_mode", "log",
             "dynamic_batch_size", "dynamic_dims", "input_format"}  # fmt: skip
    demand(
        all(each.startswith("--") and "=" in each for each in arguments), "flags are --name=value"
    )
    demand(set(flags) <= known, f"unknown flags {set(flags) - known}")
    demand(flags["framework"] == "5", "5 is ONNX")
    demand(re.fullmatch(r"Ascend\d\w+", flags["soc_version"]) is not None, "no such chip")
    modes = {"force_fp16", "force_fp32", "allow_mix_precision", "must_keep_origin_dtype"}
    demand(flags["precision_mode"] in modes, "no such mode")
    found = model_inputs(Path(flags["model"]), opset=18, static=False)
    given = {}
    for part in flags["input_shape"].split(";"):
        name, _, sizes = part.partition(":")
        given[name] = [int(size) for size in sizes.split(",")]
    demand(list(given) == list(found), f"the inputs are {list(found)}")
    for name, shape in found.items():
        same = [
            one in (-1, other) or other == one
            for one, other in zip(shape, given[name], strict=True)
        ]
        demand(all(same), f"{name} has shape {shape}")
    _profiles(flags, given)
    Path(f"{flags['output']}.om").write_bytes(b"offline model")
    print("ATC run success, welcome to the next use.")


def _profiles(flags: dict[str, str], given: dict[str, list[int]]) -> None:
    free = sum(size == -1 for shape in given.values() for size in shape)
    told = [name for name in ("dynamic_batch_size", "dynamic_dims") if name in flags]
    demand(len(told) == (1 if free else 0), "free sizes take one of the two flags, fixed ones none")
    if told == ["dynamic_batch_size"]:
        demand(all(-1 not in shape[1:] for shape in given.values()), "only the batch may be free")
        profiles = [[size] for size in flags["dynamic_batch_size"].split(",")]
    elif told:
        demand(flags.get("input_format") == "ND", "dynamic_dims wants the format ND")
        profiles = [each.split(",") for each in flags["dynamic_dims"].split(";")]
        demand(all(len(each) == free for each in profiles), f"{free} sizes are free")
    else:
        return
    demand(1 < len(profiles) <= 100, "there may be 2 to 100 profiles")


@contract("pplnn")
def pplnn(arguments: list[str]) -> None:
    """https://github.com/openppl-public/ppl.nn/blob/master/tools/pplnn.cc"""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for name in ("--use-x86", "--use-cuda", "--use-arm", "--use-fp16", "--no-run"):
        parser.add_argument(name, action="store_true")
    for name in (
        "--onnx-model",
        "--in-shapes",
        "--export-algo-file",
        "--quant-file",
        "--device-id",
    ):
        parser.add_argument(name)
    told = parser.parse_args(arguments)
    demand(told.use_x86 + told.use_cuda + told.use_arm == 1, "one engine")
    demand(
        told.use_cuda or not (told.export_algo_file or told.quant_file), "those are of cuda alone"
    )
    demand(told.use_arm or not told.use_fp16, "that is of arm alone")
    found = model_inputs(Path(told.onnx_model), opset=11, static=False)
    shapes = [[int(size) for size in part.split("_")] for part in told.in_shapes.split(",")]
    demand(len(shapes) == len(found), f"there are {len(found)} inputs")
    for one, other in zip(found.values(), shapes, strict=True):
        demand(all(a in (-1, b) for a, b in zip(one, other, strict=True)), f"a shape is {one}")
    if told.quant_file:
        _ranges(json.loads(Path(told.quant_file).read_text()))
    if told.export_algo_file:
        Path(told.export_algo_file).write_text("{}")
    print(
        "[INFO][2026-11-21 10:00:00.000][pplnn.cc:1180] ppl.nn version: [0.9.2], commit: [76ed936]"
    )


def _ranges(quant: dict[str, Any]) -> None:
    """As opt_graph.cc reads it: numbers must be doubles, and the bit width a whole one."""
    demand(set(quant) == {"quant_info", "op_info"}, "two objects")
    demand(bool(quant["op_info"]), "no node is quantized")
    demand(all(each == {"data_type": "INT8"} for each in quant["op_info"].values()), "INT8")
    for name, entry in quant["quant_info"].items():
        demand(isinstance(entry["per_channel"], bool) and entry["bit_width"] == 8, name)
        for key in ("scale", "tensor_max", "tensor_min", "zero_point"):
            numbers = entry[key] if entry["per_channel"] else [entry[key]]
            demand(all(isinstance(number, float) for number in numbers), f"{key} of {name}")


@contract("convert2tnn")
def convert2tnn(arguments: list[str]) -> None:
    """https://github.com/Tencent/TNN/blob/master/tools/convert2tnn/utils/args_parser.py"""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("command", choices=["onnx2tnn"])
    parser.add_argument("path")
    for name in ("-optimize", "-half", "-debug"):
        parser.add_argument(name, action="store_true")
    for name in ("-v", "-o"):
        parser.add_argument(name)
    told = parser.parse_args(arguments)
    demand(" " not in str(Path.cwd()), "The path can not contain spaces!")
    model_inputs(Path(told.path), opset=11, ir_version=6)
    stem = Path(told.path).stem + (".opt" if told.optimize else "")
    for kind in ("tnnproto", "tnnmodel"):
        (Path(told.o) / f"{stem}.{kind}").write_text("half" if told.half else "float")


@contract("quantization_cmd")
def quantization_cmd(arguments: list[str]) -> None:
    """https://github.com/Tencent/TNN/blob/master/tools/quantization/quantize.cc"""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for name in "pmibwto":
        parser.add_argument(f"-{name}", required=True)
    told = parser.parse_args(arguments)
    demand(Path(told.p).is_file() and Path(told.m).is_file(), "read model_file failed!")
    files = sorted(Path(told.i).glob("*.txt"))
    demand(bool(files), "no valid input file found!")
    (shape,) = model_inputs(Path("model.onnx"), opset=11).values()
    for file in files:
        numbers = [float(line) for line in file.read_text().splitlines()]
        demand(len(numbers) == count(shape), f"{file} has {len(numbers)} numbers")
    for kind in ("tnnproto", "tnnmodel"):
        Path(f"{told.o}.quantized.{kind}").write_text("int8")


@contract("hb_mapper")
def hb_mapper(arguments: list[str]) -> None:
    """https://d-robotics.github.io/rdk_doc/en/Advanced_development/toolchain_development/intermediate/ptq_process"""
    demand(
        arguments == ["makertbin", "--config", "config.yaml", "--model-type", "onnx"], "arguments"
    )
    _bpu(("bernoulli2", "bayes", "bayes-e"), ir_version=7, levels=("O0", "O1", "O2", "O3"))


@contract("hb_compile")
def hb_compile(arguments: list[str]) -> None:
    """https://toolchain.d-robotics.cc/guide/ptq/ptq_tool/hb_compile/convert.html"""
    demand(arguments == ["--config", "config.yaml"], "arguments")
    _bpu(("nash-b", "nash-e", "nash-m", "nash-p"), ir_version=9, levels=("O0", "O1", "O2"))


def _bpu(marches: tuple[str, ...], *, ir_version: int, levels: tuple[str, ...]) -> None:
    import yaml

    told = yaml.safe_load(Path("config.yaml").read_text())
    model, inputs = told["model_parameters"], told["input_parameters"]
    data, compiler = told["calibration_parameters"], told["compiler_parameters"]
    demand(model["march"] in marches, f"march {model['march']}")
    demand(
        compiler["compile_mode"] == "latency" and compiler["optimize_level"] in levels, "compiler"
    )
    demand(data["calibration_type"] == "default", "calibration_type")
    found = model_inputs(Path(model["onnx_model"]), opset=11, ir_version=ir_version)
    demand(inputs["input_name"].split(";") == list(found), "input_name")
    shapes = ["x".join(map(str, shape)) for shape in found.values()]
    demand(inputs["input_shape"].split(";") == shapes, "input_shape")
    for key in ("input_type_rt", "input_type_train", "input_layout_train", "norm_type"):
        demand(len(inputs[key].split(";")) == len(found), key)
    demand(
        set(inputs["input_type_train"].split(";")) <= {"rgb", "bgr", "gray", "featuremap"}, "train"
    )
    for folder, shape in zip(data["cal_data_dir"].split(";"), found.values(), strict=True):
        _bpu_feeds(Path(folder), shape, raw="nash" not in model["march"])
    results = Path(model["working_dir"])
    results.mkdir()
    suffix = "hbm" if "nash" in model["march"] else "bin"
    (results / f"{model['output_model_file_prefix']}.{suffix}").write_bytes(b"bpu")


def _bpu_feeds(folder: Path, shape: list[int], *, raw: bool) -> None:
    import numpy as np

    files = sorted(folder.iterdir())
    demand(bool(files), f"{folder} is empty")
    for file in files:
        if raw:
            demand(np.fromfile(file, np.float32).size == count(shape), f"cannot reshape {file}")
        else:
            array = np.load(file)
            demand(list(array.shape) == shape and array.dtype == np.float32, f"{file}")


@contract("snpe-onnx-to-dlc")
def snpe_onnx_to_dlc(arguments: list[str]) -> None:
    """https://docs.qualcomm.com/bundle/publicresource/topics/80-63442-2/tools.html"""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--input_network", required=True)
    parser.add_argument("--output_path")
    parser.add_argument("--float_bitwidth", choices=["16", "32"])
    parser.add_argument("--input_dim", nargs=2, action="append", default=[])
    parser.add_argument("--input_dtype", nargs=2, action="append", default=[])
    parser.add_argument("--out_node", action="append", default=[])
    parser.add_argument("--preserve_io", nargs="*", action="append")
    told = parser.parse_args(arguments)
    demand(told.preserve_io == [["layout"]], "the layout is to be kept")
    found = model_inputs(Path(told.input_network), opset=21)
    given = {name: [int(size) for size in sizes.split(",")] for name, sizes in told.input_dim}
    demand(given == found, f"the inputs are {found}")
    Path(told.output_path).write_bytes(b"dlc")


@contract("snpe-dlc-quantize")
def snpe_dlc_quantize(arguments: list[str]) -> None:
    """https://docs.qualcomm.com/bundle/publicresource/topics/80-63442-2/tools.html"""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for name in ("--input_dlc", "--input_list", "--output_dlc"):
        parser.add_argument(name, required=True)
    parser.add_argument("--enable_htp", action="store_true")
    parser.add_argument("--htp_socs")
    told = parser.parse_args(arguments)
    demand(Path(told.input_dlc).is_file(), "no model")
    found = model_inputs(Path("model.onnx"), opset=21)
    for line in Path(told.input_list).read_text().splitlines():
        parts = dict(part.partition(":=")[::2] for part in line.split())
        demand(list(parts) == list(found), f"the inputs are {list(found)}")
        for name, file in parts.items():
            demand(Path(file).stat().st_size == 4 * count(found[name]), f"{file} has another size")
    Path(told.output_dlc).write_bytes(b"quantized")


@contract("trtexec")
def trtexec(arguments: list[str]) -> None:
    """https://github.com/NVIDIA/TensorRT/blob/main/samples/common/sampleOptions.cpp"""
    switches = {"skipInference", "noTF32", "bf16", "int8", "stronglyTyped"}
    values = {"onnx", "saveEngine", "timingCacheFile", "calib", "device", "memPoolSize",
              "dynamicPlugins", "minShapes", "optShapes", "maxShapes"}  # fmt: skip
    flags = dict(each.removeprefix("--").partition("=")[::2] for each in arguments)
    demand(set(flags) <= switches | values, f"Unknown option: {set(flags) - switches - values}")
    demand(all(bool(value) == (name in values) for name, value in flags.items()), "values")
    demand(
        not ("stronglyTyped" in flags and flags.keys() & {"int8", "bf16"}),
        "setting a mode is not allowed if graph is strongly typed",
    )
    found = model_inputs(Path(flags["onnx"]), opset=24, static=False)
    _bounds(flags, {name: shape for name, shape in found.items() if -1 in shape})
    demand(
        re.fullmatch(r"workspace:\d+M", flags.get("memPoolSize", "workspace:1M")) is not None, "M"
    )
    if "calib" in flags:
        header, *lines = Path(flags["calib"]).read_text().splitlines()
        demand(re.fullmatch(r"TRT-\d+-\w+Calibration2?", header) is not None, header)
        demand(all(re.fullmatch(r".+: [0-9a-f]{8}", line) for line in lines), "a scale is its bits")
    if "dynamicPlugins" in flags:
        demand(Path(flags["dynamicPlugins"]).is_file(), "no such plugin")
    Path(flags["saveEngine"]).write_bytes(b"an engine")
    Path(flags["timingCacheFile"]).write_bytes(b"times")
    print("&&&& PASSED TensorRT.trtexec [TensorRT v101200]")


def _bounds(flags: dict[str, str], free: dict[str, list[int]]) -> None:
    """Smallest, typical and largest shape of every input with free sizes, and of no other."""
    given = []
    for name in ("minShapes", "optShapes", "maxShapes"):
        parts = [each.rpartition(":") for each in flags.get(name, "").split(",") if each]
        given.append({key: [int(size) for size in sizes.split("x")] for key, _, sizes in parts})
        demand(set(given[-1]) == set(free), f"{name} wants {sorted(free)}")
    for key, shape in free.items():
        for size, *three in zip(shape, *(each[key] for each in given), strict=True):
            fits = three == sorted(three) if size == -1 else three == [size] * 3
            demand(fits, f"{key}: {three} for {size}")
