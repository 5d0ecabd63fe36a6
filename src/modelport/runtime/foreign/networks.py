"""The networks that lie in a folder, as models with a signature."""

from __future__ import annotations

from pathlib import Path

from modelport.errors import BundleFormatError
from modelport.runtime.foreign.base import Model
from modelport.runtime.foreign.folder import Folder
from modelport.runtime.foreign.ncnn_file import read_ncnn
from modelport.runtime.foreign.onnx_file import OnnxFile, read_onnx
from modelport.runtime.foreign.openvino_file import read_openvino
from modelport.types import Dim, Signature, TensorSpec

OPENVINO_TYPES = {"float16": "fp16", "bfloat16": "bf16"}


def onnx_model(path: Path, variant: str = "fp32") -> tuple[Model, OnnxFile]:
    """An ONNX file for ONNX Runtime, and what it says of itself.

    Args:
        variant: its precision, or another word that tells it from others of the folder.

    Raises:
        BundleError: where it is no ONNX file, or its weights lie outside of its folder.
    """
    found = read_onnx(path)
    folder = Folder(path.parent, "its exporter")
    for name in found.beside:
        folder.file(name)
    return Model(
        name=f"onnxruntime-{variant}",
        engine="onnxruntime",
        precision=variant,
        signature=found.signature,
        files={"model": path},
    ), found


def openvino_model(folder: Folder, name: str, weights: str, variant: str = "fp32") -> Model:
    """A network of OpenVINO: its `.xml` and its `.bin`."""
    path = folder.file(name)
    return Model(
        name=f"openvino-{variant}",
        engine="openvino",
        precision=variant,
        signature=read_openvino(path),
        files={"model": path, "weights": folder.file(weights)},
    )


def ncnn_model(folder: Folder, name: str, weights: str, variant: str = "fp32") -> Model:
    """A network of ncnn: its `.param` and its `.bin`, computed in float32 unless the variant says less.

    The engine goes by the names of blobs, which are those of the signature.
    """
    path, numbers = folder.file(name), folder.file(weights)
    signature = read_ncnn(path, numbers)
    options = {
        "precision": variant,
        "inputs": [spec.name for spec in signature.inputs],
        "outputs": [spec.name for spec in signature.outputs],
        "batch_of_inputs": [0] * len(signature.inputs),
        "batch_of_outputs": [0] * len(signature.outputs),
    }
    files = {"model": path, "weights": numbers}
    return Model(f"ncnn-{variant}", "ncnn", variant, signature, files, options)


def picture_input(signature: Signature, where: Path) -> TensorSpec:
    """The first input, which must take pictures.

    Raises:
        BundleFormatError: where it has not four dimensions.
    """
    spec = signature.inputs[0]
    if len(spec.shape) != 4:
        raise BundleFormatError(
            f"{where} describes a model of pictures, and its first input is {spec}",
            expected="four dimensions: batch, channels, height and width",
        )
    return spec


def fixed_size(spec: TensorSpec, order: str = "nchw") -> tuple[int, int] | None:
    """Height and width of an input of pictures; None where one of them is free."""
    height, width = spec.shape[2:4] if order == "nchw" else spec.shape[1:3]
    if isinstance(height, Dim) or isinstance(width, Dim):
        return None
    return height, width
