"""Inference engines, each behind the Engine and Session contracts of `engines.base`."""

from modelport.engines.base import Engine
from modelport.registry import Registry

ENGINES: Registry[Engine] = Registry(
    "engine",
    {
        "onnxruntime": "modelport.engines.onnxruntime:OnnxRuntime",
        "openvino": "modelport.engines.openvino:OpenVino",
        "tract": "modelport.engines.tract:Tract",
        "reference": "modelport.engines.reference:Reference",
        "null": "modelport.engines.null:Null",
    },
)
