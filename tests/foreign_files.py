"""Folders and files as other toolkits write them, around small seeded networks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx  # noqa: TID251 - writes files as other toolkits would
from onnx import helper, numpy_helper  # noqa: TID251

NAMES = ("ant", "bee", "cat", "dog", "eel")


def write_onnx(
    path: Path,
    body: str,
    inputs: str,
    outputs: str,
    weights: Mapping[str, Any],
    metadata: Mapping[str, str] | None = None,
    domains: Mapping[str, int] | None = None,
) -> Path:
    """A network in ONNX's text form, with float32 weights and metadata."""
    text = f'<ir_version: 8, opset_import: ["" : 17]>\nmain ({inputs}) => ({outputs}) {{ {body} }}'
    model = onnx.parser.parse_model(text)
    for name, value in weights.items():
        array = np.asarray(value)
        array = array.astype(np.float32) if array.dtype == np.float64 else array
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    for key, value in (metadata or {}).items():
        model.metadata_props.add(key=key, value=value)
    for domain, version in (domains or {}).items():
        model.opset_import.append(helper.make_opsetid(domain, version))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return path


def write_classifier(
    path: Path,
    *,
    size: int | str = 32,
    softmax: bool = False,
    input_name: str = "input",
    output_name: str = "output",
    metadata: Mapping[str, str] | None = None,
    channels: int = 3,
    seed: int = 0,
    gain: float = 3.0,
) -> Path:
    """A convolution, an average and a product: five classes that move with the picture."""
    generator = np.random.default_rng(seed)
    last = (
        f"{output_name} = Softmax<axis=1>(scores)"
        if softmax
        else f"{output_name} = Identity(scores)"
    )
    return write_onnx(
        path,
        f"a = Conv<strides=[4,4]>({input_name}, kernels)\nb = Relu(a)\nc = GlobalAveragePool(b)\n"
        f"d = Flatten(c)\nscores = MatMul(d, product)\n{last}",
        f"float[batch,{channels},{size},{size}] {input_name}",
        f"float[batch,{len(NAMES)}] {output_name}",
        {
            "kernels": generator.normal(size=(8, channels, 4, 4)),
            "product": gain * generator.normal(size=(8, len(NAMES))),
        },
        metadata,
    )


def write_rows(
    path: Path,
    channels: Sequence[tuple[str, float, float]],
    *,
    columns: bool = True,
    size: str = "64,64",
    name: str = "images",
    output: str = "output0",
    metadata: Mapping[str, str] | None = None,
    seed: int = 0,
    more: str = "",
    outputs: str = "",
    gain: float = 0.3,
    extra: Mapping[str, Any] | None = None,
) -> Path:
    """A map of cells of 16 pixels, each with channels of its own range, as detectors give them.

    Args:
        channels: of each its function (`Sigmoid` or `Identity`), and what it is multiplied with and added to.
        columns: 1 x channels x places; else 1 x places x channels.
    """
    generator = np.random.default_rng(seed)
    count = len(channels)
    kernels = generator.normal(size=(count, 3, 16, 16))
    factor = [each[1] for each in channels]
    shift = [each[2] for each in channels]
    turned = "turned = Identity(flat)" if columns else "turned = Transpose<perm=[0,2,1]>(flat)"
    shape = (1, count, 1) if columns else (1, 1, count)
    wide = [each[0] == "Sigmoid" for each in channels]
    return write_onnx(
        path,
        f"a = Conv<strides=[16,16]>({name}, kernels, bias)\nflat = Reshape(a, flat_shape)\n{turned}\n"
        "s = Sigmoid(turned)\nmixed = Where(wide, s, turned)\nscaled = Mul(mixed, factor)\n"
        f"{output} = Add(scaled, shift)\n{more}",
        f"float[1,3,{size}] {name}",
        f"float[1,{count},places] {output}{outputs}"
        if columns
        else f"float[1,places,{count}] {output}{outputs}",
        {
            "kernels": gain * (kernels - kernels.mean((1, 2, 3), keepdims=True)),
            "bias": generator.normal(size=count) * 0.5,
            "flat_shape": np.array([1, count, -1], np.int64),
            "wide": np.array(wide).reshape(shape),
            "factor": np.array(factor, np.float32).reshape(shape),
            "shift": np.array(shift, np.float32).reshape(shape),
            **(extra or {}),
        },
        metadata,
    )


def write_json(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=4), encoding="utf-8")
    return path


# --- MMDeploy -----------------------------------------------------------------------------------

CLASSIFIER_STEPS: tuple[dict[str, Any], ...] = (
    {"type": "LoadImageFromFile"},
    {"type": "Resize", "keep_ratio": True, "size": [36, -1]},
    {"type": "CenterCrop", "crop_size": 32},
    {
        "type": "Normalize",
        "to_rgb": True,
        "mean": [123.675, 116.28, 103.53],
        "std": [58.395, 57.12, 57.375],
    },
    {"type": "ImageToTensor", "keys": ["img"]},
    {"type": "Collect", "keys": ["img"], "meta_keys": ["img_shape", "scale_factor"]},
)
CLASSIFIER_HEAD: dict[str, Any] = {
    "module": "mmcls",
    "component": "LinearClsHead",
    "params": {"num_classes": 5, "in_channels": 8, "topk": 5, "loss": {"type": "CrossEntropyLoss"}},
}


def write_mmdeploy(
    folder: Path,
    *,
    steps: Sequence[Mapping[str, Any]] = CLASSIFIER_STEPS,
    head: Mapping[str, Any] = CLASSIFIER_HEAD,
    backend: str = "onnxruntime",
    net: str = "end2end.onnx",
    weights: str = "",
    task: str = "Classifier",
    input_name: str = "input",
) -> Path:
    """The three descriptions that `export2SDK` of MMDeploy 1.3 writes; the network is another's."""
    write_json(
        folder / "deploy.json",
        {
            "version": "1.3.1",
            "task": task,
            "models": [
                {
                    "name": "net",
                    "net": net,
                    "weights": weights,
                    "backend": backend,
                    "precision": "FP32",
                    "batch_size": 1,
                    "dynamic_shape": False,
                }
            ],
            "customs": [],
        },
    )
    tasks = [
        {
            "type": "Task",
            "module": "Transform",
            "name": "Preprocess",
            "input": ["img"],
            "output": ["prep_output"],
            "transforms": list(steps),
        },
        {
            "name": "net",
            "type": "Task",
            "module": "Net",
            "is_batched": False,
            "input": ["prep_output"],
            "output": ["infer_output"],
            "input_map": {"img": input_name},
            "output_map": {},
        },
        {
            "type": "Task",
            "name": "postprocess",
            "input": ["infer_output"],
            "output": ["post_output"],
            **head,
        },
    ]
    pipeline = {"input": ["img"], "output": ["post_output"], "tasks": tasks}
    write_json(folder / "pipeline.json", {"pipeline": pipeline})
    write_json(
        folder / "detail.json",
        {
            "version": "1.3.1",
            "codebase": {
                "task": "Classification",
                "codebase": "mmpretrain",
                "version": "1.2.0",
                "pth": "weights.pth",
                "config": "resnet18_8xb32_in1k.py",
            },
            "onnx_config": {"type": "onnx"},
        },
    )
    return folder


# --- Ultralytics --------------------------------------------------------------------------------


def ultralytics_metadata(task: str, names: Sequence[str] = NAMES, **more: Any) -> dict[str, str]:
    """Keys and values as the exporter writes them into an ONNX file: the text of Python's values."""
    values: dict[str, Any] = {
        "description": f"Ultralytics YOLO11n-{task} model trained on coco.yaml",
        "author": "Ultralytics",
        "date": "2026-01-02T03:04:05.000006",
        "version": "8.3.100",
        "license": "AGPL-3.0 License (https://ultralytics.com/license)",
        "docs": "https://docs.ultralytics.com",
        "stride": 32,
        "task": task,
        "batch": 1,
        "imgsz": [64, 64],
        "names": dict(enumerate(names)),
        "args": {"batch": 1, "half": False, "dynamic": False, "nms": False},
        "channels": 3,
        **more,
    }
    return {key: str(value) for key, value in values.items() if value is not None}
