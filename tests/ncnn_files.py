"""Pairs of ncnn files as its converters write them, around the small seeded networks of `foreign_files`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from foreign_files import NAMES, ultralytics_metadata, write_onnx

Array = np.ndarray[Any, Any]
CELL = 16
"""Pixels to a place of the detector."""

PROTOTYPES = 6


def write_ncnn(path: Path, layers: Sequence[str], weights: Sequence[Array]) -> Path:
    """A `.param` of these lines, and beside it the `.bin`: kernels have a tag in front, biases have none."""
    blobs = sum(int(line.split()[3]) for line in layers)
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ["7767517", f"{len(layers)} {blobs}", *layers]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    parts = [
        (b"" if array.ndim == 1 else bytes(4)) + array.astype("<f4").tobytes() for array in weights
    ]
    path.with_suffix(".bin").write_bytes(b"".join(parts))
    return path


def write_ncnn_classifier(
    path: Path,
    *,
    shape: str = "",
    input_name: str = "input",
    output_name: str = "output",
    softmax: bool = True,
) -> Path:
    """What `write_classifier` writes for ONNX, number for number.

    Args:
        shape: parameters of the input, such as `0=32 1=32 2=3`.
    """
    generator = np.random.default_rng(0)
    kernels = generator.normal(size=(8, 3, 4, 4))
    product = 3.0 * generator.normal(size=(8, len(NAMES)))
    scores = "scores" if softmax else output_name
    layers = [
        f"Input {input_name} 0 1 {input_name} {shape}".strip(),
        f"Convolution conv 1 1 {input_name} a 0=8 1=4 11=4 3=4 13=4 5=0 6={kernels.size}",
        "ReLU relu 1 1 a b",
        "Pooling pool 1 1 b c 0=1 4=1",
        f"InnerProduct fc 1 1 c {scores} 0={len(NAMES)} 1=0 2={product.size}",
    ]
    if softmax:
        layers.append(f"Softmax last 1 1 scores {output_name} 0=0 1=1")
    return write_ncnn(path, layers, [kernels, product.T])


@dataclass(frozen=True)
class Detector:
    """Weights of a detector in YOLOv8's form: a row to a place of 16 pixels, of box and scores.

    Attributes:
        mixes: for masks, the share of each prototype; None where it gives boxes alone.
    """

    boxes: Array
    bias: Array
    scores: Array
    mixes: Array | None
    prototypes: Array

    @classmethod
    def seeded(cls, *, masks: bool) -> Detector:
        generator = np.random.default_rng(3)

        def kernels(count: int, size: int, gain: float) -> Array:
            made = generator.normal(size=(count, 3, size, size))
            return gain * (made - made.mean((1, 2, 3), keepdims=True))

        return cls(
            boxes=kernels(4, CELL, 0.3),
            bias=np.array([32.0, 32.0, 24.0, 24.0]),
            scores=kernels(len(NAMES), CELL, 0.3),
            mixes=kernels(PROTOTYPES, CELL, 0.3) if masks else None,
            prototypes=kernels(PROTOTYPES, 4, 1.0),
        )

    @property
    def rows(self) -> int:
        return len(self.boxes) + len(self.scores) + (0 if self.mixes is None else len(self.mixes))


def write_detectors(folder: Path, *, masks: bool = False) -> tuple[Path, Path]:
    """One detector as Ultralytics exports it: an ONNX file, and a folder for ncnn."""
    net = Detector.seeded(masks=masks)
    metadata = ultralytics_metadata("segment" if masks else "detect")
    place = folder / "net_ncnn_model"
    _write_for_ncnn(place / "model.ncnn.param", net)
    # The text of a Python value is YAML too.
    lines = [f"{key}: {value}" for key, value in metadata.items()]
    (place / "metadata.yaml").write_text("\n".join(lines), encoding="utf-8")
    return _write_for_onnx(folder / "net.onnx", net, metadata), place


def _write_for_onnx(path: Path, net: Detector, metadata: Mapping[str, str]) -> Path:
    body = [
        "b = Conv<strides=[16,16]>(images, boxes, bias)",
        "raw = Conv<strides=[16,16]>(images, scores)",
        "p = Sigmoid(raw)",
        "joined = Concat<axis=1>(b, p)",
        "output0 = Reshape(joined, flat)",
    ]
    outputs = f"float[1,{net.rows},places] output0"
    weights: dict[str, Array] = {
        "boxes": net.boxes, "bias": net.bias, "scores": net.scores,
        "flat": np.array([1, net.rows, -1], np.int64),
    }  # fmt: skip
    if net.mixes is not None:
        body[3:4] = [
            "m = Conv<strides=[16,16]>(images, mixes)",
            "joined = Concat<axis=1>(b, p, m)",
            "q = Conv<strides=[4,4]>(images, prototypes)",
            "output1 = Relu(q)",
        ]
        outputs += f", float[1,{PROTOTYPES},16,16] output1"
        weights |= {"mixes": net.mixes, "prototypes": net.prototypes}
    return write_onnx(path, "\n".join(body), "float[1,3,64,64] images", outputs, weights, metadata)


def _write_for_ncnn(path: Path, net: Detector) -> Path:
    """As pnnx would: inputs are in0, outputs out0 and out1, here in the other order."""
    masks = net.mixes is not None
    copies = ["x0", "x1", *(["x2", "x3"] if masks else [])]
    layers = [
        "Input in0 0 1 in0",
        f"Split split 1 {len(copies)} in0 {' '.join(copies)}",
        _convolution("boxes", "x0", "b", net.boxes, bias=True),
        _convolution("scores", "x1", "raw", net.scores),
        "Sigmoid sigmoid 1 1 raw p",
    ]
    weights = [net.boxes, net.bias, net.scores]
    joined = ["b", "p"]
    if net.mixes is not None:
        layers += [
            _convolution("prototypes", "x3", "q", net.prototypes),
            "ReLU relu 1 1 q out1",
            _convolution("mixes", "x2", "m", net.mixes),
        ]
        weights += [net.prototypes, net.mixes]
        joined.append("m")
    layers += [
        f"Concat joined {len(joined)} 1 {' '.join(joined)} j 0=0",
        f"Reshape flat 1 1 j out0 0=-1 1={net.rows}",
    ]
    return write_ncnn(path, layers, weights)


def _convolution(name: str, taken: str, given: str, kernels: Array, *, bias: bool = False) -> str:
    """Strides are as long as the kernel."""
    count, _, size, _ = kernels.shape
    sizes = f"1={size} 11={size} 3={size} 13={size}"
    return (
        f"Convolution {name} 1 1 {taken} {given} 0={count} {sizes} 5={int(bias)} 6={kernels.size}"
    )
