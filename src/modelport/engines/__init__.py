"""Inference engines, each behind the Engine and Session contracts of `engines.base`."""

from modelport.engines.base import Engine
from modelport.registry import Registry

ENGINES: Registry[Engine] = Registry(
    "engine",
    {
        "onnxruntime": "modelport.engines.onnxruntime:OnnxRuntime",
        "openvino": "modelport.engines.openvino:OpenVino",
        "tract": "modelport.engines.tract:Tract",
        "mnn": "modelport.engines.mnn:Mnn",
        "ncnn": "modelport.engines.ncnn:Ncnn",
        "torchscript": "modelport.engines.torchscript:TorchScript",
        "aotinductor": "modelport.engines.aotinductor:AotInductor",
        "tensorrt": "modelport.engines.tensorrt:TensorRt",
        "tensorrt-rtx": "modelport.engines.tensorrt_rtx:TensorRtRtx",
        "caffe": "modelport.engines.caffe:Caffe",
        "ascend": "modelport.engines.ascend:Ascend",
        "horizon": "modelport.engines.horizon:Horizon",
        "pplnn": "modelport.engines.pplnn:Pplnn",
        "snpe": "modelport.engines.snpe:Snpe",
        "tnn": "modelport.engines.tnn:Tnn",
        "c": "modelport.engines.c:C",
        "tvm": "modelport.engines.tvm:Tvm",
        "iree": "modelport.engines.iree:Iree",
        "qnn": "modelport.engines.qnn:Qnn",
        "rknn": "modelport.engines.rknn:Rknn",
        "litert": "modelport.engines.litert:LiteRt",
        "executorch": "modelport.engines.executorch:ExecuTorch",
        "coreml": "modelport.engines.coreml:CoreMl",
        "reference": "modelport.engines.reference:Reference",
        "null": "modelport.engines.null:Null",
    },
)
