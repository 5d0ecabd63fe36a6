"""Shapes of the outputs of operators, sizes as entries: what onnx's inference says of numbers alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import onnx_ir as ir

from modelport.graph import sizes
from modelport.graph.arguments import ABSENT, END, axes_of, integers, slices
from modelport.graph.sizes import Entry, Known, add, divide, multiply, subtract

if TYPE_CHECKING:
    from modelport.graph.shapes import Shapes

Row: TypeAlias = tuple[Entry, ...]
Rule: TypeAlias = "Callable[[ir.Node, Shapes], list[Row | None]]"


def infer(node: ir.Node, shapes: Shapes) -> list[Row | None]:
    """Shapes of a node's outputs, with None for each size and each shape that is not known."""
    rule = RULES.get(node.op_type) if node.domain in ("", "ai.onnx") else None
    if rule is None:
        return []
    try:
        return rule(node, shapes)
    except (ValueError, IndexError, TypeError, ZeroDivisionError):
        return []  # a node that asks for what is not there; the engine will say so


def broadcast(rows: Sequence[Row]) -> Row:
    """The shape that arrays of those shapes have together."""
    rank = max(map(len, rows))
    padded = [(1,) * (rank - len(row)) + tuple(row) for row in rows]
    return tuple(_together(column) for column in zip(*padded, strict=True))


def _together(entries: Sequence[Entry]) -> Entry:
    """A size that is no number is 1 or the other's size, so a number other than 1 decides."""
    wide = [entry for entry in entries if entry != 1]
    if not wide:
        return 1
    for entry in wide:
        if isinstance(entry, int):
            return entry
    return wide[0] if all(entry == wide[0] for entry in wide) else None


def _inputs(node: ir.Node, shapes: Shapes) -> list[Row] | None:
    rows = [shapes.of(value) for value in node.inputs if value is not None]
    return None if any(row is None for row in rows) else [row for row in rows if row is not None]


def _elementwise(node: ir.Node, shapes: Shapes) -> list[Row | None]:
    rows = _inputs(node, shapes)
    return [broadcast(rows)] if rows else []


def _like(index: int, outputs: int = 1) -> Rule:
    """Each of the first outputs has the shape of that input."""

    def rule(node: ir.Node, shapes: Shapes) -> list[Row | None]:
        return [shapes.of(node.inputs[index])] * outputs

    return rule


def _transpose(node: ir.Node, shapes: Shapes) -> list[Row | None]:
    row = shapes.of(node.inputs[0])
    if row is None:
        return []
    perm = node.attributes.get_ints("perm", None) or range(len(row) - 1, -1, -1)
    return [tuple(row[axis] for axis in perm)]


def _reshape(node: ir.Node, shapes: Shapes) -> list[Row | None]:
    if len(node.inputs) < 2:  # opset 1
        return []
    source, target = shapes.of(node.inputs[0]), shapes.contents(node.inputs[1])
    if target is None:
        length = shapes.of(node.inputs[1])
        known = length[0] if length else None
        return [(None,) * known] if isinstance(known, int) and known <= 64 else []
    zero_is_zero = bool(node.attributes.get_int("allowzero", 0))
    entries = [
        (None if source is None else source[axis])
        if isinstance(entry, int) and entry == 0 and not zero_is_zero
        else _as_size(entry, also=-1)
        for axis, entry in enumerate(target)
    ]
    return [resolved(source, entries)]


def resolved(source: Sequence[Known] | None, entries: Sequence[Entry]) -> Row:
    """The target of a Reshape with its -1 or its only unknown entry worked out, where that is certain.

    Beside a size of zero, -1 is an error, but an unknown entry can be any number.
    """
    holes = [place for place, entry in enumerate(entries) if entry is None or entry == -1]
    others = sizes.product(entry for entry in entries if entry is not None and entry != -1)
    asked = -1 in entries
    found: list[Entry] = [None if entry == -1 else entry for entry in entries]
    if len(holes) == 1 and source is not None and (asked or (sizes.least(others) or 0) >= 1):
        found[holes[0]] = divide(sizes.product(source), others)
    return tuple(found)


def _as_size(entry: Entry, also: int = 0) -> Entry:
    """The entry where it is a size for certain: a symbol that may be negative could stand for -1."""
    bound = sizes.least(entry)
    if bound is None or (bound < 0 and not isinstance(entry, int)):
        return None
    return entry if bound >= min(0, also) else None


def _expand(node: ir.Node, shapes: Shapes) -> list[Row | None]:
    source, target = shapes.of(node.inputs[0]), _sizes_of(node.inputs[1], shapes)
    return [] if source is None or target is None else [broadcast([source, target])]


def _sizes_of(value: ir.Value | None, shapes: Shapes) -> Row | None:
    """The sizes that a tensor of sizes holds."""
    target = shapes.contents(value)
    if target is not None:
        return tuple(_as_size(entry) for entry in target)
    length = shapes.of(value)
    if length and isinstance(length[0], int) and length[0] <= 64:
        return (None,) * length[0]
    return None


def _constant_of_shape(node: ir.Node, shapes: Shapes) -> list[Row | None]:
    return [_sizes_of(node.inputs[0], shapes)]


def _tile(node: ir.Node, shapes: Shapes) -> list[Row | None]:
    source, repeats = shapes.of(node.inputs[0]), _sizes_of(node.inputs[1], shapes)
    if source is None or repeats is None:
        return []
    return [tuple(multiply(*pair) for pair in zip(source, repeats, strict=True))]


def _concat(node: ir.Node, shapes: Shapes) -> list[Row | None]:
    rows = _inputs(node, shapes)
    if not rows:
        return []
    axis = node.attributes.get_int("axis", 0) or 0
    axis %= len(rows[0])
    result: list[Entry] = [_any_of(column) for column in zip(*rows, strict=True)]
    total: Entry = 0
    for row in rows:
        total = add(total, row[axis])
    result[axis] = total
    return [tuple(result)]


def _any_of(entries: Sequence[Entry]) -> Entry:
    """One of sizes that must be equal: a number where there is one."""
    return next((entry for entry in entries if isinstance(entry, int)), entries[0])


def _slice(node: ir.Node, shapes: Shapes) -> list[Row | None]:
    source = shapes.of(node.inputs[0])
    if source is None:
        return []
    cuts = slices(node, shapes, len(source))
    if cuts is None:
        return [(None,) * len(source)]
    return [tuple(_cut(size, *cut) for size, cut in zip(source, cuts, strict=True))]


def _cut(size: Entry, start: Entry, end: Entry, step: int) -> Entry:
    if isinstance(size, int) and isinstance(start, int) and isinstance(end, int):
        return len(range(size)[slice(start, None if step < 0 and end < -size else end, step)])
    if step < 0:
        whole = isinstance(end, int) and end <= -END and start == -1 and step == -1
        return size if whole else None
    length = sizes.maximum(_span(size, start, end), 0)
    return divide(add(length, step - 1), step)


def _span(size: Entry, start: Entry, end: Entry) -> Entry:
    """From start to end, below zero where nothing lies between."""
    if isinstance(start, int) and start < 0:
        if isinstance(end, int) and end >= END:
            return sizes.minimum(size, -start)
        return subtract(_clamped(end, size), _clamped(start, size))
    last = add(size, end) if isinstance(end, int) and end < 0 else _clamped(end, size)
    return subtract(last, _as_size(start))


def _clamped(place: Entry, size: Entry) -> Entry:
    if isinstance(place, int):
        if place >= END:
            return size
        return sizes.minimum(place, size) if place >= 0 else sizes.maximum(add(size, place), 0)
    return sizes.minimum(_as_size(place), size)


def _split(node: ir.Node, shapes: Shapes) -> list[Row | None]:
    source, listed = shapes.of(node.inputs[0]), integers(node, "split", 1, shapes)
    if source is None or listed is None:
        return []
    axis = (node.attributes.get_int("axis", 0) or 0) % len(source)
    count = len(node.outputs)
    parts: list[Entry]
    if isinstance(listed, list):
        parts = list(listed)
    else:
        part = divide(add(source[axis], count - 1), count)
        parts = [part] * (count - 1)
        parts.append(subtract(source[axis], multiply(part, count - 1)))
        if "num_outputs" not in node.attributes:  # all parts are equal, or it is an error
            parts = [divide(source[axis], count)] * count
    return [(*source[:axis], part, *source[axis + 1 :]) for part in parts]


def _gather(node: ir.Node, shapes: Shapes) -> list[Row | None]:
    data, index = shapes.of(node.inputs[0]), shapes.of(node.inputs[1])
    if data is None or index is None:
        return []
    axis = (node.attributes.get_int("axis", 0) or 0) % len(data)
    return [(*data[:axis], *index, *data[axis + 1 :])]


def _flatten(node: ir.Node, shapes: Shapes) -> list[Row | None]:
    row = shapes.of(node.inputs[0])
    if row is None:
        return [(None, None)]
    axis = node.attributes.get_int("axis", 1)
    axis = axis + len(row) if axis < 0 else axis
    return [(sizes.product(row[:axis]), sizes.product(row[axis:]))]


def _squeeze(node: ir.Node, shapes: Shapes) -> list[Row | None]:
    row, axes = shapes.of(node.inputs[0]), integers(node, "axes", 1, shapes)
    if row is None or axes is None:
        return []
    if axes is ABSENT or not axes:  # of an empty list, engines do not agree whether it means all
        if axes == [] or not all(isinstance(size, int) for size in row):
            return []
        return [tuple(size for size in row if size != 1)]
    gone = {axis % len(row) for axis in axes}
    return [tuple(size for axis, size in enumerate(row) if axis not in gone)]


def _unsqueeze(node: ir.Node, shapes: Shapes) -> list[Row | None]:
    row, axes = shapes.of(node.inputs[0]), integers(node, "axes", 1, shapes)
    if row is None or not isinstance(axes, list):
        return []
    result: list[Entry] = list(row)
    for axis in sorted(axis % (len(row) + len(axes)) for axis in axes):
        result.insert(axis, 1)
    return [tuple(result)]


def _pad(node: ir.Node, shapes: Shapes) -> list[Row | None]:
    row, pads = shapes.of(node.inputs[0]), _amounts(node, shapes)
    axes = integers(node, "axes", 3, shapes)
    if row is None or pads is None or axes is None:
        return [] if row is None else [(None,) * len(row)]
    places = [axis % len(row) for axis in axes] if isinstance(axes, list) else range(len(row))
    result: list[Entry] = list(row)
    for number, axis in enumerate(places):
        result[axis] = add(result[axis], add(pads[number], pads[number + len(places)]))
    return [tuple(result)]


def _amounts(node: ir.Node, shapes: Shapes) -> Sequence[Entry] | None:
    if "pads" in node.attributes:
        return list(node.attributes["pads"].as_ints())
    pads = shapes.contents(node.inputs[1]) if len(node.inputs) > 1 else None
    return None if pads is None else list(pads)


def _resize(node: ir.Node, shapes: Shapes) -> list[Row | None]:
    row = shapes.of(node.inputs[0])
    if row is None:
        return []
    wanted = node.inputs[3] if len(node.inputs) > 3 else None
    policy = node.attributes.get_string("keep_aspect_ratio_policy", "stretch")
    if wanted is None or policy != "stretch":
        return [(None,) * len(row)]
    found, axes = _sizes_of(wanted, shapes), node.attributes.get_ints("axes", None)
    if found is None:
        return [(None,) * len(row)]
    result: list[Entry] = list(row)
    for axis, size in zip(axes or range(len(row)), found, strict=True):
        result[axis] = size
    return [tuple(result)]


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


def _range(node: ir.Node, shapes: Shapes) -> list[Row | None]:
    ends = [shapes.contents(value) for value in node.inputs]
    if any(end is None for end in ends):
        return [(None,)]
    start, limit, delta = (end.reshape(-1)[0] for end in ends if end is not None)
    if not isinstance(delta, int) or delta < 1:
        return [(None,)]
    length = divide(add(subtract(limit, start), delta - 1), delta)
    return [(sizes.maximum(length, 0),)]


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


def _shape(node: ir.Node, shapes: Shapes) -> list[Row | None]:
    row = shapes.of(node.inputs[0])
    if row is None:
        return [(None,)]
    start, end = node.attributes.get_int("start", 0), node.attributes.get_int("end", len(row))
    return [(len(row[start:end]),)]


def _scalar(node: ir.Node, shapes: Shapes) -> list[Row | None]:
    return [()]


def _constant(node: ir.Node, shapes: Shapes) -> list[Row | None]:
    tensor = ir.convenience.get_const_tensor(node.outputs[0])
    return [] if tensor is None else [tuple(int(size) for size in tensor.shape.numpy())]


def _top_k(node: ir.Node, shapes: Shapes) -> list[Row | None]:
    row = shapes.of(node.inputs[0])
    if row is None:
        return []
    given = shapes.contents(node.inputs[1]) if len(node.inputs) > 1 else None
    kept: Entry = node.attributes.get_int("k", None) if given is None else given.reshape(-1)[0]
    axis = node.attributes.get_int("axis", -1) % len(row)
    return [(*row[:axis], _as_size(kept), *row[axis + 1 :])] * 2


def _blocks(node: ir.Node, shapes: Shapes) -> list[Row | None]:
    row, block = shapes.of(node.inputs[0]), node.attributes.get_int("blocksize", 0)
    if row is None or not block or len(row) != 4:
        return []
    batch, channels, height, width = row
    if node.op_type == "DepthToSpace":
        area = divide(channels, block * block)
        return [(batch, area, multiply(height, block), multiply(width, block))]
    area = multiply(channels, block * block)
    return [(batch, area, divide(height, block), divide(width, block))]


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
    **dict.fromkeys(("DepthToSpace", "SpaceToDepth"), _blocks),
    **dict.fromkeys(("Resize", "Upsample"), _upsample),
    "Dropout": _like(0, 2),
    "GatherElements": _like(1),
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Expand": _expand,
    "Tile": _tile,
    "Concat": _concat,
    "Slice": _slice,
    "Split": _split,
    "Gather": _gather,
    "Flatten": _flatten,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Pad": _pad,
    "MatMul": _matmul,
    "Gemm": _gemm,
    "ConstantOfShape": _constant_of_shape,
    "Range": _range,
    "Shape": _shape,
    "Size": _scalar,
    "Constant": _constant,
    "TopK": _top_k,
}
