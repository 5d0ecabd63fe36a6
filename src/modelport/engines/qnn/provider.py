"""Sessions of ONNX Runtime on the HTP, through Qualcomm's plugin, with nothing on the CPU."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import onnxruntime as ort
import onnxruntime_qnn as qnn

from modelport.engines.qnn.chips import Chip

PROVIDER = "QNNExecutionProvider"

NO_FALLBACK = "fallback to CPU EP has been explicitly disabled"
"""What ONNX Runtime says where a node is left over."""


@cache
def _devices() -> tuple[Any, ...]:
    ort.register_execution_provider_library(PROVIDER, qnn.get_library_path())
    found = [device for device in ort.get_ep_devices() if device.ep_name == PROVIDER]
    real = [device for device in found if device.device.type == ort.OrtHardwareDeviceType.NPU]
    return tuple(real[:1] or found[:1])


def on_htp(
    model: str | bytes, chip: Chip, *, floats: bool, context: Path | None = None
) -> ort.InferenceSession:
    """Opens a graph, or a context binary that was made of one.

    Args:
        floats: whether numbers that are not quantized are computed in float16.
        context: where to write the context binary.
    """
    options = _options(chip, floats)
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    if context is not None:
        options.add_session_config_entry("ep.context_enable", "1")
        options.add_session_config_entry("ep.context_embed_mode", "1")
        options.add_session_config_entry("ep.context_file_path", str(context))
    return ort.InferenceSession(model, options)


def left_over(model: str, chip: Chip, *, floats: bool) -> list[tuple[str, str]]:
    """Operator and name of the nodes that the HTP leaves to the CPU; none where nobody can tell."""
    options = _options(chip, floats)
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    try:
        parts = ort.InferenceSession(model, options).get_provider_graph_assignment_info()
    except Exception:  # it only was to explain another error
        return []
    return [
        (node.op_type, node.name)
        for part in parts
        if part.ep_name != PROVIDER
        for node in part.get_nodes()
    ]


def _options(chip: Chip, floats: bool) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    settings = {
        "backend_path": qnn.get_qnn_htp_path(),
        "soc_model": str(chip.number),
        "htp_arch": str(chip.htp),
        "htp_graph_finalization_optimization_mode": "3",
        "offload_graph_io_quantization": "0",
        "enable_htp_fp16_precision": "1" if floats else "0",
    }
    options.add_provider_for_devices(list(_devices()), settings)
    return options
