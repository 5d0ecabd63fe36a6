"""The graph, the calibration feeds, `config.yaml` and the command for hb_mapper or hb_compile.

Parameters are those of the PTQ chapter of D-Robotics' manual. At run time a BPU gets feature maps, which are
the inputs of the graph as they are; or pictures, NV12 from a camera say, when the graph's input is pixels.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modelport.engines.preparing import (
    Prepared,
    calibration_arrays,
    demand_device,
    demand_names,
    joined,
    write_model,
)
from modelport.errors import EngineError
from modelport.graph.query import signature_of
from modelport.types import Feeds, Signature, Target

if TYPE_CHECKING:
    import onnx_ir as ir

CONFIG, FOLDER, RESULTS = "config.yaml", "calibration", "model_output"

DEFAULT_MARCH = "bayes-e"

FEATURES = "featuremap"

TRAINED = {FEATURES: FEATURES, "nv12": "rgb", "rgb": "rgb", "bgr": "bgr", "gray": "gray"}
"""What the graph was trained on, for each kind of input at run time."""

CHANNELS = {"nv12": 3, "rgb": 3, "bgr": 3, "gray": 1}


@dataclass(frozen=True)
class Device:
    """Attributes:
    march: the architecture of the BPU.
    gives: what the model gets at run time.
    """

    march: str
    gives: str

    @property
    def is_nash(self) -> bool:
        return self.march.startswith("nash")


_DEVICE = re.compile(
    r"(?P<march>bernoulli2|bayes-e|bayes|nash-[a-z])(?::(?P<gives>featuremap|nv12|rgb|bgr|gray))?"
)


def write_inputs(
    model: ir.Model, target: Target, directory: Path, calibration: Sequence[Feeds]
) -> Prepared:
    import yaml

    device, notes = _device(target.device)
    signature = signature_of(model)
    demand_names("horizon", signature, ";:'\"")
    _demand_inputs(signature, device)
    files = write_model(model, directory, ir_version=9 if device.is_nash else 6)
    files += _write_feeds(calibration, signature, device, directory)
    settings = _settings(signature, device)
    text = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
    (directory / CONFIG).write_text(text, encoding="utf-8")
    command: tuple[str, ...] = ("hb_mapper", "makertbin", "--config", CONFIG)
    command = ("hb_compile", "--config", CONFIG) if device.is_nash else (
        *command, "--model-type", "onnx",
    )  # fmt: skip
    suffix = "hbm" if device.is_nash else "bin"
    return Prepared(
        (command,),
        {"model": f"{RESULTS}/model.{suffix}"},
        (*files, CONFIG),
        tuple(notes + _notes(device)),
    )


def _device(name: str) -> tuple[Device, list[str]]:
    if name in ("", "cpu"):
        told = (
            f"No device was named, so {DEFAULT_MARCH} (RDK X5) is assumed; --device takes "
            "bernoulli2, bayes, bayes-e or nash-e, and behind a colon what the model gets at run time"
        )
        return Device(DEFAULT_MARCH, FEATURES), [told]
    like = (
        "bernoulli2, bayes, bayes-e or one of nash (nash-e), alone or with what the model gets at run "
        "time behind a colon: " + ", ".join(TRAINED)
    )
    demand_device("horizon", name, lambda each: _DEVICE.fullmatch(each) is not None, like)
    match = _DEVICE.fullmatch(name)
    assert match is not None
    return Device(match["march"], match["gives"] or FEATURES), []


def _demand_inputs(signature: Signature, device: Device) -> None:
    for spec in signature.inputs:
        if spec.dtype != "float32":
            raise EngineError(
                f"horizon takes inputs of float32, and {spec} is of another element type",
                hint="Cast it in the model, or choose another engine",
            )
    if device.gives == FEATURES:
        return
    specs = [str(spec) for spec in signature.inputs]
    shape = signature.inputs[0].smallest()
    wanted = CHANNELS[device.gives]
    if len(specs) != 1 or len(shape) != 4 or shape[1] != wanted:
        raise EngineError(
            f"horizon gives {device.gives} to models with one input of pictures, 1x{wanted}xHxW, and "
            f"this one has {', '.join(specs)}",
            hint=f"Name the device without :{device.gives}",
        )
    if device.gives == "nv12" and (shape[2] % 2 or shape[3] % 2):
        raise EngineError(
            f"horizon takes NV12 of even sizes, and {specs[0]} has an odd one",
            hint="Export the model for even sizes",
        )


def _write_feeds(
    calibration: Sequence[Feeds], signature: Signature, device: Device, directory: Path
) -> list[str]:
    """A folder for each input: raw float32 for hb_mapper, `.npy` for hb_compile."""
    names = []
    for folder in _folders(signature):
        (directory / folder).mkdir(parents=True)
    for number, arrays in calibration_arrays(calibration, signature):
        for folder, array in zip(_folders(signature), arrays, strict=True):
            names.append(f"{folder}/{number}.{'npy' if device.is_nash else 'bin'}")
            if device.is_nash:
                np.save(directory / names[-1], array)
            else:
                array.tofile(directory / names[-1])
    return names


def _folders(signature: Signature) -> list[str]:
    if len(signature.inputs) == 1:
        return [FOLDER]
    return [f"{FOLDER}/{index}" for index in range(len(signature.inputs))]


def _settings(signature: Signature, device: Device) -> dict[str, dict[str, Any]]:
    def each(text: str) -> str:
        return ";".join(text for _ in signature.inputs)

    inputs = {
        "input_name": ";".join(spec.name for spec in signature.inputs),
        "input_shape": ";".join(joined(spec.smallest(), "x") for spec in signature.inputs),
        "input_type_rt": each(device.gives),
        "input_type_train": each(TRAINED[device.gives]),
        "input_layout_train": each("NCHW"),
        "norm_type": each("no_preprocess"),
    }
    if device.gives != "nv12" and not device.is_nash:
        inputs["input_layout_rt"] = each("NCHW")
    return {
        "model_parameters": {
            "onnx_model": "model.onnx",
            "march": device.march,
            "layer_out_dump": False,
            "working_dir": RESULTS,
            "output_model_file_prefix": "model",
        },
        "input_parameters": inputs,
        "calibration_parameters": {
            "cal_data_dir": ";".join(_folders(signature)),
            "cal_data_type": each("float32"),
            "calibration_type": "default",
        },
        "compiler_parameters": {
            "compile_mode": "latency",
            "debug": False,
            "optimize_level": "O2" if device.is_nash else "O3",
        },
    }


def _notes(device: Device) -> list[str]:
    notes = ["The tools come in Docker images of OpenExplorer, one for each family of boards"]
    if device.gives == FEATURES:
        notes.append("At run time the model gets its inputs as they are, as float32 feature maps")
    else:
        notes.append(
            f"At run time the model gets {device.gives}, and the graph {TRAINED[device.gives]} values of "
            "0 to 255: a network that wants them normalised needs norm_type, mean_value and "
            "scale_value in config.yaml, and calibration feeds that are not"
        )
    if device.is_nash:
        notes.append(
            "hb_compile reads opsets 10 to 19 with IR 9; the graph is of opset 11, which both tools read"
        )
        notes.append(
            "That hb_compile takes .npy for calibration is what D-Robotics' model zoo does; its manual "
            "could not be read for that"
        )
    notes.append("20 to 100 calibration feeds are what the manual asks for")
    return notes
