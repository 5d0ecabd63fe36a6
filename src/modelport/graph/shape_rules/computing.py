"""Operators that compute with elements: each alone, in sums, under windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from modelport.graph.arguments import axes_of
from modelport.graph.shape_rules.rows import (
    Row,
    Rule,
    broadcast,
    inputs_of,
    sizes_held,
)
from modelport.graph.sizes import Entry, Known, add, divide, multiply, subtract

if TYPE_CHECKING:
    from modelport.graph.shapes import Shapes


def _elementwise(node: ir.Node, shapes: Shapes) -> list[Row | None]:
    rows = inputs_of(node, shapes)
    return [broadcast(rows)] if rows else []


def _like(index: int, outputs: int = 1) -> Rule:
    """Each of the first outputs has the shape of that input."""

    def rule(node: ir.Node, shapes: Shapes) -> list[Row | None]:
        return [shapes.of(node.inputs[index])] * outputs

    return rule


def _reduce(node: ir.Node, shapes: Shapes) -> list[Row | None]:
    row = shapes.of(node.inputs[0])
    axes = None if row is None else axes_of(node, shapes, len(row))
    return [] if row is None or axes is None else [_less(row, axes, node)]


def _arg(node: ir.Node, shapes: Shapes) -> list[Row | None]:
    row = shapes.of(node.inputs[0])
    if row is None:
        return []
    return [_less(row, [(node.attributes.get_int("axis", 0) or 0) % len(row)], node)]


def _less(row: Sequence[Known], axes: Sequence[int], node: ir.Node) -> Row:
    if node.attributes.get_int("keepdims", 1):
        return tuple(1 if axis in axes else size for axis, size in enumerate(row))
    return tuple(size for axis, size in enumerate(row) if axis not in axes)


def _matmul(node: ir.Node, shapes: Shapes) -> list[Row | None]:
    left, right = shapes.of(node.inputs[0]), shapes.of(node.inputs[1])
    if not left or not right:
        return []
    one, two = (left if len(left) > 1 else (1, *left)), (right if len(right) > 1 else (*right, 1))
    batch = broadcast([one[:-2], two[:-2]])
    rows = one[-2:-1] if len(left) > 1 else ()
    columns = two[-1:] if len(right) > 1 else ()
    return [(*batch, *rows, *columns)]


def _gemm(node: ir.Node, shapes: Shapes) -> list[Row | None]:
    left, right = shapes.of(node.inputs[0]), shapes.of(node.inputs[1])
    if left is None or right is None:
        return [(None, None)]
    rows = left[1 if node.attributes.get_int("transA", 0) else 0]
    return [(rows, right[0 if node.attributes.get_int("transB", 0) else 1])]


def _window(node: ir.Node, shapes: Shapes) -> list[Row | None]:
    """Conv and the pools: what slides over the picture."""
    row = shapes.of(node.inputs[0])
    if row is None or len(row) < 2:
        return []
    rank = len(row) - 2
    kernel: Sequence[Entry] | None = node.attributes.get_ints("kernel_shape", None)
    channels: Entry = row[1]
    if node.op_type == "Conv":
        weight = shapes.of(node.inputs[1])
        if weight is None:
            return [(row[0], *(None,) * (rank + 1))]
        channels, kernel = weight[0], kernel or weight[2:]
    spatial: Row = (None,) * rank
    if kernel is not None and len(kernel) == rank:
        spatial = tuple(_slid(row[2 + axis], kernel[axis], axis, node) for axis in range(rank))
    return [(row[0], channels, *spatial)] * len(node.outputs)


def _slid(size: Entry, kernel: Entry, axis: int, node: ir.Node) -> Entry:
    attributes = node.attributes
    stride = (attributes.get_ints("strides", None) or {axis: 1})[axis]
    dilation = (attributes.get_ints("dilations", None) or {axis: 1})[axis]
    padding = attributes.get_string("auto_pad", "NOTSET")
    if padding in ("SAME_UPPER", "SAME_LOWER"):
        return divide(add(size, stride - 1), stride)
    if attributes.get_int("ceil_mode", 0):
        return None
    pads = attributes.get_ints("pads", None)
    added = pads[axis] + pads[axis + len(pads) // 2] if pads and padding != "VALID" else 0
    reach = add(multiply(subtract(kernel, 1), dilation), 1)
    return add(divide(subtract(add(size, added), reach), stride), 1)


def _global_pool(node: ir.Node, shapes: Shapes) -> list[Row | None]:
    row = shapes.of(node.inputs[0])
    return [] if row is None else [(*row[:2], *(1,) * (len(row) - 2))]


def _resize(node: ir.Node, shapes: Shapes) -> list[Row | None]:
    row = shapes.of(node.inputs[0])
    if row is None:
        return []
    wanted = node.inputs[3] if len(node.inputs) > 3 else None
    policy = node.attributes.get_string("keep_aspect_ratio_policy", "stretch")
    if wanted is None or policy != "stretch":
        return [(None,) * len(row)]
    found, axes = sizes_held(wanted, shapes), node.attributes.get_ints("axes", None)
    if found is None:
        return [(None,) * len(row)]
    result: list[Entry] = list(row)
    for axis, size in zip(axes or range(len(row)), found, strict=True):
        result[axis] = size
    return [tuple(result)]


def _upsample(node: ir.Node, shapes: Shapes) -> list[Row | None]:
    """Whole factors only; what fractions are rounded to, engines do not agree on."""
    if node.op_type == "Resize" and len(node.inputs) > 3 and node.inputs[3] is not None:
        return _resize(node, shapes)
    row = shapes.of(node.inputs[0])
    place = 2 if node.op_type == "Resize" and len(node.inputs) > 2 else 1
    value = node.inputs[place] if len(node.inputs) > place else None
    tensor = None if value is None else ir.convenience.get_const_tensor(value)
    if row is None:
        return []
    if tensor is None or value is None or value.is_graph_input():
        return [(None,) * len(row)]
    scales = np.asarray(tensor.numpy(), np.float64)
    axes = node.attributes.get_ints("axes", None) or range(len(row))
    result: list[Entry] = list(row)
    for axis, scale in zip(axes, scales, strict=True):
        whole = float(scale).is_integer()
        result[axis] = multiply(row[axis], int(scale)) if whole else None
    return [tuple(result)]


def _words(text: str) -> list[str]:
    return text.split()


_BROADCASTING = _words("""Add Sub Mul Div Mod Pow Min Max Sum Mean And Or Xor Equal Less Greater LessOrEqual
GreaterOrEqual Where PRelu BitShift BitwiseAnd BitwiseOr BitwiseXor""")
_SAME = _words("""Identity Cast CastLike Relu LeakyRelu Elu Selu Celu Gelu Sigmoid HardSigmoid HardSwish Mish
Tanh Softplus Softsign Swish ThresholdedRelu Clip Abs Neg Sqrt Reciprocal Exp Log Erf Sin Cos Tan Asin
Acos Atan Sinh Cosh Asinh Acosh Atanh Floor Ceil Round Sign Not IsNaN IsInf BitwiseNot Shrink Softmax
LogSoftmax Hardmax LayerNormalization RMSNormalization InstanceNormalization GroupNormalization
BatchNormalization LpNormalization MeanVarianceNormalization LRN CumSum Trilu ScatterND ScatterElements
Scatter QuantizeLinear DequantizeLinear EyeLike ReverseSequence RotaryEmbedding""")
_REDUCTIONS = _words("""ReduceSum ReduceMean ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceLogSum
ReduceLogSumExp ReduceSumSquare""")

ELEMENTWISE: frozenset[str] = frozenset(
    _words("""Add Sub Mul Div Mod Pow Min Max Sum Mean And Or Xor Equal Less Greater LessOrEqual
GreaterOrEqual Where PRelu Cast Relu LeakyRelu Elu Selu Celu Gelu Sigmoid HardSigmoid HardSwish Mish Tanh
Softplus Softsign Swish ThresholdedRelu Clip Abs Neg Sqrt Reciprocal Exp Log Erf Sin Cos Tan Floor Ceil
Round Sign Not IsNaN IsInf Identity""")
)
"""Operators that look at each element alone, with broadcasting."""

RULES: dict[str, Rule] = {
    **dict.fromkeys(_BROADCASTING, _elementwise),
    **dict.fromkeys(_SAME, _like(0)),
    **dict.fromkeys(_REDUCTIONS, _reduce),
    **dict.fromkeys(("ArgMax", "ArgMin"), _arg),
    **dict.fromkeys(("Conv", "MaxPool", "AveragePool", "LpPool"), _window),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"), _global_pool),
    **dict.fromkeys(("Resize", "Upsample"), _upsample),
    "Dropout": _like(0, 2),
    "GatherElements": _like(1),
    "MatMul": _matmul,
    "Gemm": _gemm,
}
