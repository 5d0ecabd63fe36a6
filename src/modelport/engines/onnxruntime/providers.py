"""Devices of ONNX Runtime: each is an execution provider, which one or another build of it has."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from modelport.errors import EngineUnavailableError

CPU = "CPUExecutionProvider"


@dataclass(frozen=True)
class Provider:
    """One way to run.

    Attributes:
        name: as ONNX Runtime calls it.
        builds: distributions that have it.
        which: the setting that what stands behind the colon goes to; empty where nothing may stand there.
        settings: others that it is always given.
        memory: what ONNX Runtime calls the device's own memory, where outputs are bound in it.
    """

    name: str
    builds: str
    which: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    memory: str = ""


PROVIDERS = {
    "cpu": Provider(CPU, "onnxruntime"),
    # Products in TF32 have ten bits of mantissa, and fp32 was promised.
    "cuda": Provider(
        "CUDAExecutionProvider", "onnxruntime-gpu", "device_id", {"use_tf32": "0"}, memory="cuda"
    ),
    "tensorrt": Provider(
        "TensorrtExecutionProvider", "onnxruntime-gpu, with TensorRT beside it", "device_id",
        memory="cuda",
    ),
    "rtx": Provider(
        "NvTensorRTRTXExecutionProvider", "a build of ONNX Runtime with TensorRT for RTX",
        "device_id", memory="cuda",
    ),
    "migraphx": Provider("MIGraphXExecutionProvider", "AMD's onnxruntime-migraphx", "device_id"),
    "dml": Provider("DmlExecutionProvider", "onnxruntime-directml, on Windows", "device_id"),
    "coreml": Provider("CoreMLExecutionProvider", "onnxruntime, on macOS"),
    "openvino": Provider(
        "OpenVINOExecutionProvider", "onnxruntime-openvino", "device_type",
        {"precision": "ACCURACY"},
    ),
    "qnn": Provider("QNNExecutionProvider", "onnxruntime-qnn", "backend_type"),
    "cann": Provider("CANNExecutionProvider", "onnxruntime-cann", "device_id"),
    "vitisai": Provider("VitisAIExecutionProvider", "AMD's Ryzen AI software"),
    "webgpu": Provider("WebGpuExecutionProvider", "a build of ONNX Runtime with WebGPU"),
    "xnnpack": Provider("XnnpackExecutionProvider", "a build of ONNX Runtime with XNNPACK"),
    "dnnl": Provider("DnnlExecutionProvider", "a build of ONNX Runtime with oneDNN"),
    "acl": Provider("ACLExecutionProvider", "a build of ONNX Runtime with Arm's compute library"),
}  # fmt: skip


@dataclass(frozen=True)
class Device:
    """A provider, and which of its devices; None for the first."""

    provider: Provider
    which: str | None = None

    @property
    def is_cpu(self) -> bool:
        return self.provider.name == CPU

    @property
    def index(self) -> int:
        return int(self.which or 0)

    def wanted(self) -> list[tuple[str, dict[str, str]]]:
        """As a session wants it; what the device lacks the CPU does."""
        settings = dict(self.provider.settings)
        if self.which is not None:
            settings[self.provider.which] = self.which
        behind: list[tuple[str, dict[str, str]]] = [] if self.is_cpu else [(CPU, {})]
        return [(self.provider.name, settings), *behind]


def read_device(text: str) -> Device:
    """The device of a name such as `cuda:0` or `openvino:gpu`.

    Raises:
        EngineUnavailableError: where there is no such name, or this build of ONNX Runtime lacks it.
    """
    kind, colon, which = text.strip().lower().partition(":")
    provider = PROVIDERS.get(kind)
    if provider is None or (colon and not _fits(provider, which)):
        raise EngineUnavailableError(
            f"The device {text!r} is none that ONNX Runtime has a name for here",
            expected=f"one of {', '.join(PROVIDERS)}; cuda:1 is the second GPU, openvino:gpu "
            "OpenVINO's",
        )
    reason = lacks(provider)
    if reason is not None:
        raise EngineUnavailableError(
            f"The device {text!r} cannot be used: {reason}", hint=_help(provider)
        )
    return Device(provider, (which.upper() if provider.which == "device_type" else which) or None)


def _fits(provider: Provider, which: str) -> bool:
    pattern = r"\d+" if provider.which == "device_id" else r"[a-z][\w.]*"
    return bool(provider.which) and re.fullmatch(pattern, which) is not None


def lacks(provider: Provider) -> str | None:
    """Why this build of ONNX Runtime has not got it, or None where it has."""
    import onnxruntime as ort

    available = ort.get_available_providers()
    if provider.name in available:
        return None
    return f"this ONNX Runtime has no {provider.name}, only {', '.join(available)}"


def _help(provider: Provider) -> str:
    return (
        f"It comes with {provider.builds}. Builds of ONNX Runtime overwrite one another, so give that "
        "one a virtual environment without the others"
    )


def device_problem(text: str) -> str | None:
    """Why nothing can be made for that device here, or None where it can."""
    try:
        read_device(text)
    except EngineUnavailableError as error:
        told = [error.seen, error.expected and f"expected {error.expected}", error.hint]
        return ". ".join(part for part in told if part)
    return None
