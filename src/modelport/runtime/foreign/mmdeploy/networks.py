"""The network that `deploy.json` names."""

from __future__ import annotations

from dataclasses import replace

from modelport.errors import BundleError, BundleFormatError
from modelport.runtime.foreign.base import Model
from modelport.runtime.foreign.folder import Fields, Folder
from modelport.runtime.foreign.networks import ncnn_model, onnx_model, openvino_model

OPERATORS = "mmdeploy"
"""The domain of MMDeploy's own operators, which are in a library of its installation."""

_ELSEWHERE = {
    "tensorrt": "runs only on the kind of GPU and with the TensorRT that it was built with",
    "pplnn": "is for PPLNN, which modelport does not run",
    "snpe": "is for Qualcomm's SNPE, which runs on its devices",
    "ascend": "is for Ascend devices",
    "rknn": "is for Rockchip's NPUs",
    "coreml": "is for Apple's devices",
    "torchscript": "is a TorchScript program, which needs PyTorch",
    "tvm": "is a library of native code, which modelport does not run",
    "vacc": "is for Vastai's devices",
}
"""Why networks of other backends are not opened."""

_OF_TWO_FILES = {"openvino": openvino_model, "ncnn": ncnn_model}

_ENDINGS = {".onnx": "onnxruntime", ".xml": "openvino", ".engine": "tensorrt", ".param": "ncnn"}


def network(folder: Folder, deploy: Fields, net: Fields) -> tuple[Model, list[str]]:
    """The network, and notes about it.

    Raises:
        BundleError: where a file is missing, or nothing here runs what it is for.
    """
    entry = _entry(deploy, net)
    file = entry.text("net")
    ending = "." + file.rpartition(".")[2].lower()
    backend = entry.text("backend", _ENDINGS.get(ending, "unknown")).lower()
    precision = entry.text("precision", "FP32").lower()
    if backend == "onnxruntime":
        model, found = onnx_model(folder.file(file), precision)
        if OPERATORS in found.domains:
            raise _own_operators(folder, file)
    elif backend in _OF_TWO_FILES:
        model = _OF_TWO_FILES[backend](folder, file, entry.text("weights"), precision)
    else:
        reason = _ELSEWHERE.get(backend, "is for a backend that modelport does not know")
        raise BundleError(
            f"{folder.path}: {file} {reason} (backend {backend})",
            expected="a network for onnxruntime, openvino or ncnn",
            hint="Convert the model with MMDeploy for ONNX Runtime, and open that folder",
        )
    return _renamed(model, net), []


def _entry(deploy: Fields, net: Fields) -> Fields:
    """The model that the pipeline's network is; the only one, where there is one."""
    models = deploy.objects("models")
    wanted = net.text("name", "")
    named = [entry for entry in models if entry.text("name", "") == wanted]
    found = named or (models if len(models) == 1 else [])
    if not found:
        names = ", ".join(entry.text("name", "?") for entry in models) or "no model"
        raise BundleFormatError(
            f"{net.where} names the network {wanted!r}, and {deploy.where} has {names}"
        )
    return found[0]


def _own_operators(folder: Folder, file: str) -> BundleError:
    return BundleError(
        f"{folder.path}: {file} uses operators of MMDeploy (domain {OPERATORS}), which are in a "
        "library of its installation",
        hint="Make a bundle with that library: modelport deploy FILE --operators LIBRARY",
    )


def _renamed(model: Model, net: Fields) -> Model:
    """The outputs as the rest of the pipeline calls them."""
    by_theirs = {str(theirs): ours for ours, theirs in net.inner("output_map", {}).plain().items()}
    outputs = [
        by_theirs.get(spec.name, by_theirs.get(f"#{index}", spec.name))
        for index, spec in enumerate(model.signature.outputs)
    ]
    if outputs == [spec.name for spec in model.signature.outputs]:
        return model
    if model.engine in _OF_TWO_FILES:  # they go by place, ONNX Runtime by name
        specs = zip(outputs, model.signature.outputs, strict=True)
        named = tuple(replace(spec, name=name) for name, spec in specs)
        return replace(model, signature=replace(model.signature, outputs=named))
    raise BundleFormatError(
        f"{net.where} gives the outputs other names than the network: {', '.join(outputs)}",
        expected="an empty output_map, as MMDeploy writes it for ONNX Runtime",
    )
