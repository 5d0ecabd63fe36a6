"""Reads a graph model of TensorFlow.js, and writes its convolutional part as ONNX."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx  # noqa: TID251 - writes a file as another tool would
from onnx import helper, numpy_helper  # noqa: TID251

Array = np.ndarray[Any, Any]


def weights_of(folder: Path, manifest: Any) -> dict[str, Array]:
    """By name, out of the shards."""
    found: dict[str, Array] = {}
    for group in manifest:
        content = b"".join((folder / path).read_bytes() for path in group["paths"])
        start = 0
        for entry in group["weights"]:
            size = int(np.prod(entry["shape"], dtype=int)) * np.dtype(entry["dtype"]).itemsize
            flat = np.frombuffer(content[start : start + size], entry["dtype"])
            found[entry["name"]] = flat.reshape(entry["shape"])
            start += size
    return found


class Converter:
    """From NHWC to NCHW, from `start` on; only the operators of MobileNets and their heads."""

    def __init__(self, model: Path, start: str) -> None:
        read = json.loads(model.read_text(encoding="utf-8"))
        self.weights = weights_of(model.parent, read["weightsManifest"])
        self.ops = {node["name"]: node for node in read["modelTopology"]["node"]}
        self.nodes: list[Any] = []
        self.tensors: list[Any] = []
        self.made = {start: "image"}

    def save(
        self, side: int, outputs: dict[str, str], channels: dict[str, int], path: Path
    ) -> Path:
        """Outputs by their new names: maps as places x channels, level after level."""
        values = []
        for new, old in outputs.items():
            levels = [self.rows(each, channels[new]) for each in self.ops[old]["input"][:-1]]
            self.nodes.append(helper.make_node("Concat", levels, [new], axis=1))
            values.append(helper.make_tensor_value_info(new, onnx.TensorProto.FLOAT, None))
        shape = [1, 3, side, side]
        image = helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, shape)
        graph = helper.make_graph(self.nodes, "tfjs", [image], values, self.tensors)
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.save_model(onnx.shape_inference.infer_shapes(made), str(path))
        return path

    def rows(self, reshape: str, channels: int) -> str:
        """A Reshape of a map, height x width x (anchors * channels)."""
        source = self.value(self.ops[reshape]["input"][0])
        last = self.add("Transpose", [source], perm=[0, 2, 3, 1])
        shape = self.constant(np.array([1, -1, channels], np.int64))
        return self.add("Reshape", [last, shape])

    def value(self, name: str) -> str:
        if name not in self.made:
            node = self.ops[name]
            self.made[name] = getattr(self, f"_{node['op'].lower()}")(node)
        return self.made[name]

    def add(self, op: str, inputs: list[str], **attributes: Any) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], **attributes))
        return name

    def constant(self, array: Array) -> str:
        name = f"c{len(self.tensors)}"
        self.tensors.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def _const(self, node: Any) -> str:
        array = self.weights[node["name"]]
        return self.constant(array.reshape(1, -1, 1, 1) if array.ndim == 1 else array)

    def _convolution(self, node: Any, weight: Array, group: int) -> str:
        strides = [int(each) for each in node["attr"]["strides"]["list"]["i"][1:3]]
        assert bytes(node["attr"]["padding"]["s"]) == b"SAME"
        inputs = [self.value(node["input"][0]), self.constant(weight)]
        return self.add("Conv", inputs, strides=strides, group=group, auto_pad="SAME_UPPER")

    def _conv2d(self, node: Any) -> str:
        weight = self.weights[node["input"][1]]
        return self._convolution(node, weight.transpose(3, 2, 0, 1), 1)

    def _depthwiseconv2dnative(self, node: Any) -> str:
        weight = self.weights[node["input"][1]]
        assert weight.shape[3] == 1
        return self._convolution(node, weight.transpose(2, 3, 0, 1), weight.shape[2])

    def _fusedbatchnorm(self, node: Any) -> str:
        numbers = [self.constant(self.weights[name]) for name in node["input"][1:]]
        inputs = [self.value(node["input"][0]), *numbers]
        return self.add("BatchNormalization", inputs, epsilon=node["attr"]["epsilon"]["f"])

    def _relu6(self, node: Any) -> str:
        bounds = [self.constant(np.array(each, np.float32)) for each in (0, 6)]
        return self.add("Clip", [self.value(node["input"][0]), *bounds])

    def _add(self, node: Any) -> str:
        return self.add("Add", [self.value(each) for each in node["input"]])

    _biasadd = _addn = _add

    def _mul(self, node: Any) -> str:
        return self.add("Mul", [self.value(each) for each in node["input"]])
