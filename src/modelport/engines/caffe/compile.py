"""Writes a graph as Caffe layers: every node or none.

Each operator becomes the layers that compute the same; where there are none, the node is refused with its
module, and nothing is written. Layers are those of Caffe 1.0, which old toolchains read, and Permute of the
SSD branch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from modelport.engines.caffe import arithmetic, shaping, windows
from modelport.engines.caffe.net import CAFFEMODEL, PROTOTXT, CannotExpressError, Net
from modelport.errors import EngineError
from modelport.graph import provenance
from modelport.graph.io import INLINE_LIMIT_BYTES, weights_size_bytes
from modelport.graph.query import constant_of, signature_of
from modelport.passes import PASSES
from modelport.passes.matching import STANDARD
from modelport.types import Signature

FILES = {"model": PROTOTXT, "weights": CAFFEMODEL}


@dataclass(frozen=True)
class Written:
    """Attributes:
    files: their names by role.
    shapes: those of the outputs, by name.
    """

    files: dict[str, str]
    shapes: dict[str, list[int]]


OPERATORS: dict[str, Callable[[ir.Node, Net], None]] = {
    "Abs": arithmetic.layer("AbsVal"),
    **dict.fromkeys(("Add", "Div", "Mul", "Pow", "Sub"), arithmetic.binary),
    "AveragePool": windows.average_pool,
    "BatchNormalization": arithmetic.normalized,
    "Clip": arithmetic.clip,
    "Concat": shaping.concatenated,
    "Conv": windows.conv,
    "ConvTranspose": windows.conv_transpose,
    "DepthToSpace": windows.depth_to_space,
    "Elu": arithmetic.elu,
    "Exp": arithmetic.layer("Exp"),
    **dict.fromkeys(("Flatten", "Reshape", "Squeeze", "Unsqueeze"), shaping.reshaped),
    "Gemm": shaping.gemm,
    "GlobalAveragePool": windows.global_pool("AVE"),
    "GlobalMaxPool": windows.global_pool("MAX"),
    "HardSigmoid": arithmetic.hard_sigmoid,
    "HardSwish": arithmetic.hard_swish,
    **dict.fromkeys(("Dropout", "Identity"), shaping.same),
    "LRN": arithmetic.lrn,
    "LeakyRelu": arithmetic.leaky_relu,
    "Log": arithmetic.layer("Log"),
    "LogSoftmax": arithmetic.log_softmax,
    "MatMul": shaping.mat_mul,
    **dict.fromkeys(("Max", "Min", "Sum"), arithmetic.variadic),
    "MaxPool": windows.max_pool,
    "Mish": arithmetic.mish,
    "Neg": arithmetic.powered(scale=-1.0),
    "PRelu": arithmetic.prelu,
    "Pad": windows.pad,
    "Reciprocal": arithmetic.powered(power=-1.0),
    **dict.fromkeys(
        ("ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum"), shaping.reduced
    ),
    "Relu": arithmetic.layer("ReLU"),
    "Resize": windows.resize,
    "Sigmoid": arithmetic.layer("Sigmoid"),
    "Slice": shaping.sliced,
    "Softmax": arithmetic.softmax,
    "Softplus": arithmetic.layer("BNLL"),
    "SpaceToDepth": windows.space_to_depth,
    "Split": shaping.split,
    "Sqrt": arithmetic.powered(power=0.5),
    "Tanh": arithmetic.layer("TanH"),
    "Transpose": shaping.transposed,
}


def write(model: ir.Model, directory: Path) -> Written:
    """Writes `model.prototxt` and `model.caffemodel`.

    Raises:
        EngineError: naming every node that has no layers, before anything is written.
    """
    signature = signature_of(model)
    model = model.clone()
    _demand(model, signature)
    for value in model.graph.outputs:
        if value.shape is not None and not value.shape.is_static():
            value.shape = None  # the sizes of the inputs say more than names do
    PASSES.get("infer_shapes")(model)
    net, refused = Net(model), dict[tuple[str, str], list[str]]()
    for spec, value in zip(signature.inputs, _inputs(model), strict=True):
        settings = {"input_param": {"shape": [{"dim": list(spec.smallest())}]}}
        net.give(value, net.add("Input", [], settings, top=spec.name))
    for node in model.graph:
        reason = _translated(node, net)
        if reason is not None:
            refused.setdefault((node.op_type, reason), []).append(provenance.describe(node))
    if refused:
        told = [
            f"{operator} in {', '.join(dict.fromkeys(places))}: {reason}"
            for (operator, reason), places in refused.items()
        ]
        raise EngineError(
            f"caffe failed while writing layers: Caffe has none for {'; '.join(told)}",
            hint="Compose what is named of plain layers with a rewrite, end the network before it "
            "with modelport edit, or choose another engine",
        )
    _name_outputs(model, net)
    net.write(directory)
    shapes = {value.name or "": list(net.shape(value)) for value in model.graph.outputs}
    return Written(dict(FILES), shapes)


def _inputs(model: ir.Model) -> list[ir.Value]:
    return [value for value in model.graph.inputs if value.name not in model.graph.initializers]


def _translated(node: ir.Node, net: Net) -> str | None:
    """Adds the node's layers; a reason where there are none."""
    translate = OPERATORS.get(node.op_type) if node.domain in STANDARD else None
    if translate is None:
        return "no layer of Caffe computes it"
    if any(value.dtype not in (None, ir.DataType.FLOAT) for value in node.outputs if value.name):
        return "blobs are of float32"
    try:
        translate(node, net)
    except CannotExpressError as error:
        return str(error)
    result = node.outputs[0]
    if not net.knows(result):
        net.give(result, result.name or "")
    return None


def _name_outputs(model: ir.Model, net: Net) -> None:
    """Every output is a blob of its own name, which a layer of that name makes."""
    for value in model.graph.outputs:
        blob = net.blob(value)
        if blob != value.name:
            net.power(blob, top=value.name)


def _demand(model: ir.Model, signature: Signature) -> None:
    for spec in (*signature.inputs, *signature.outputs):
        if spec.dtype != "float32":
            raise EngineError(
                f"caffe failed while writing layers: blobs are of float32, and {spec} is of another "
                "element type",
                hint="Choose another engine",
            )
        if not spec.shape:
            raise EngineError(
                f"caffe failed while writing layers: blobs have axes, and {spec} has none",
                hint="Give it an axis of size 1, or choose another engine",
            )
    for value in model.graph.outputs:
        if constant_of(value) is not None:
            raise EngineError(
                f"caffe failed while writing layers: the output {value.name} is a constant",
                hint="Remove it with modelport edit --remove-output",
            )
    if weights_size_bytes(model) > INLINE_LIMIT_BYTES:
        raise EngineError(
            "caffe failed while writing layers: a caffemodel ends at 2 GiB, and the weights do not",
            hint="Choose another engine",
        )
