"""Operators that an older opset does not have, or not so: composed of those that it has."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from modelport.passes.lower_forms.lowering import (
    Lowered,
    Lowering,
    drop,
    first_of,
    untyped_problem,
)
from modelport.passes.matching import input_of, rank_of, size_of
from modelport.types import Array


def _problem_of_layer_norm(node: ir.Node, at: Lowering) -> str | None:
    value = node.inputs[0]
    if rank_of(value) is None:
        return "its rank is not known"
    if value is None or value.dtype != ir.DataType.FLOAT:
        return "its statistics are taken in float32, and its values are of another type"
    if any(each.uses() or each.is_graph_output() for each in node.outputs[1:]):
        return "its statistics are read"
    return None


def _write_layer_norm(node: ir.Node, at: Lowering) -> None:
    x, rank = first_of(node), rank_of(node.inputs[0])
    assert rank is not None
    axis = (node.attributes.get_int("axis", -1) or 0) % max(rank, 1)
    over = {"axes": list(range(axis, rank)), "keepdims": 1}
    epsilon = node.attributes.get_float("epsilon", 1e-5) or 0.0
    mean = at.node("ReduceMean", [x], over, for_=[node])
    apart = at.node("Sub", [x, mean.outputs[0]], for_=[node])
    square = at.node("Mul", [apart.outputs[0], apart.outputs[0]], for_=[node])
    variance = at.node("ReduceMean", [square.outputs[0]], over, for_=[node])
    raised = at.node("Add", [variance.outputs[0], at.scalar(epsilon, x)], for_=[node])
    root = at.node("Sqrt", [raised.outputs[0]], for_=[node])
    new = [mean, apart, square, variance, raised, root]
    new.append(at.node("Div", [apart.outputs[0], root.outputs[0]], for_=[node]))
    for operator, index in (("Mul", 1), ("Add", 2)):
        parameter = input_of(node, index)
        if parameter is not None:
            new.append(at.node(operator, [new[-1].outputs[0], parameter], for_=[node]))
    at.replace([node], new)


def _chain(node: ir.Node, at: Lowering, steps: Sequence[tuple[str, float]]) -> list[ir.Node]:
    """Arithmetic with numbers, one step after the other, beginning with the node's input."""
    value, made = first_of(node), list[ir.Node]()
    for operator, number in steps:
        made.append(at.node(operator, [value, at.scalar(number, first_of(node))], for_=[node]))
        value = made[-1].outputs[0]
    return made


def _write_gelu(node: ir.Node, at: Lowering) -> None:
    x = first_of(node)
    if node.attributes.get_string("approximate", "none") == "tanh":
        square = at.node("Mul", [x, x], for_=[node])
        cube = at.node("Mul", [square.outputs[0], x], for_=[node])
        part = at.node("Mul", [cube.outputs[0], at.scalar(0.044715, x)], for_=[node])
        total = at.node("Add", [x, part.outputs[0]], for_=[node])
        factor = at.scalar(math.sqrt(2 / math.pi), x)
        new = [square, cube, part, total, at.node("Mul", [total.outputs[0], factor], for_=[node])]
        new.append(at.node("Tanh", [new[-1].outputs[0]], for_=[node]))
    else:
        new = _chain(node, at, [("Div", math.sqrt(2))])
        new.append(at.node("Erf", [new[-1].outputs[0]], for_=[node]))
    new.append(at.node("Add", [new[-1].outputs[0], at.scalar(1, x)], for_=[node]))
    new.append(at.node("Mul", [x, new[-1].outputs[0]], for_=[node]))
    new.append(at.node("Mul", [new[-1].outputs[0], at.scalar(0.5, x)], for_=[node]))
    at.replace([node], new)


def _write_hard_swish(node: ir.Node, at: Lowering) -> None:
    gate = at.node("HardSigmoid", [first_of(node)], {"alpha": 1 / 6, "beta": 0.5}, for_=[node])
    at.replace([node], [gate, at.node("Mul", [first_of(node), gate.outputs[0]], for_=[node])])


def _write_mish(node: ir.Node, at: Lowering) -> None:
    soft = at.node("Softplus", [first_of(node)], for_=[node])
    gate = at.node("Tanh", [soft.outputs[0]], for_=[node])
    at.replace([node], [soft, gate, at.node("Mul", [first_of(node), gate.outputs[0]], for_=[node])])


def _write_celu(node: ir.Node, at: Lowering) -> None:
    alpha = node.attributes.get_float("alpha", 1.0) or 1.0
    new = _chain(node, at, [("Div", alpha)])
    new.append(at.node("Elu", [new[-1].outputs[0]], {"alpha": 1.0}, for_=[node]))
    factor = at.scalar(alpha, first_of(node))
    at.replace([node], [*new, at.node("Mul", [new[-1].outputs[0], factor], for_=[node])])


def _or_equal(operator: str) -> Callable[[ir.Node, Lowering], None]:
    def write(node: ir.Node, at: Lowering) -> None:
        strictly = at.node(operator, node.inputs, for_=[node])
        equal = at.node("Equal", node.inputs, for_=[node])
        both = at.node("Or", [strictly.outputs[0], equal.outputs[0]], for_=[node])
        at.replace([node], [strictly, equal, both])

    return write


def _problem_of_cast_like(node: ir.Node, at: Lowering) -> str | None:
    like = input_of(node, 1)
    return "the type it casts to is not known" if like is None or like.dtype is None else None


def _write_cast_like(node: ir.Node, at: Lowering) -> None:
    like = node.inputs[1]
    assert like is not None
    assert like.dtype is not None
    cast = at.node("Cast", [first_of(node)], {"to": int(like.dtype)}, for_=[node])
    at.replace([node], [cast])


def _problem_of_softmax(node: ir.Node, at: Lowering) -> str | None:
    return "its rank is not known" if rank_of(node.inputs[0]) is None else None


def _write_softmax(node: ir.Node, at: Lowering) -> None:
    """Up to opset 12 everything from the axis on is one row, so the axis goes to the end."""
    source, rank = first_of(node), rank_of(node.inputs[0])
    assert rank is not None
    axis = (node.attributes.get_int("axis", -1) or 0) % max(rank, 1)
    last = max(rank - 1, 0)
    if all(size_of(source, behind) == 1 for behind in range(axis + 1, rank)):
        node.attributes["axis"] = ir.AttrInt64("axis", axis)
        return
    order = list(range(rank))
    order[axis], order[last] = last, axis
    there = at.node("Transpose", [source], {"perm": order}, for_=[node])
    result = at.node(node.op_type, [there.outputs[0]], {"axis": last}, for_=[node])
    back = at.node("Transpose", [result.outputs[0]], {"perm": order}, for_=[node])
    at.replace([node], [there, result, back])


def _write_shape(node: ir.Node, at: Lowering) -> None:
    start, end = node.attributes.get_int("start", 0), node.attributes.get_int("end", None)
    drop(node, "start", "end")
    if not start and end is None:
        return
    whole = at.node("Shape", [first_of(node)], for_=[node])
    bounds: list[Array] = [np.asarray([start or 0], np.int64)]
    bounds.append(np.asarray([np.iinfo(np.int64).max if end is None else end], np.int64))
    ends = [at.constant(bound, "bound") for bound in bounds]
    at.replace([node], [whole, at.node("Slice", [whole.outputs[0], *ends], for_=[node])])


COMPOSED: dict[str, Lowered] = {
    **dict.fromkeys(
        ("Softmax", "LogSoftmax", "Hardmax"), Lowered(13, _write_softmax, _problem_of_softmax)
    ),
    "CastLike": Lowered(15, _write_cast_like, _problem_of_cast_like),
    "Celu": Lowered(12, _write_celu, untyped_problem),
    "Gelu": Lowered(20, _write_gelu, untyped_problem),
    "GreaterOrEqual": Lowered(12, _or_equal("Greater")),
    "HardSwish": Lowered(14, _write_hard_swish),
    "LayerNormalization": Lowered(17, _write_layer_norm, _problem_of_layer_norm),
    "LessOrEqual": Lowered(12, _or_equal("Less")),
    "Mish": Lowered(18, _write_mish),
    "Shape": Lowered(15, _write_shape),
}
