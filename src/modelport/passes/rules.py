"""What fusions ask of arithmetic: which numbers and values a product or sum is made of.

Exporters write one formula in many orders: `x * 0.5 * (1 + e)`, `(0.5 * x) * (e + 1)`, `x * (1 + e) / 2`.
`product_of` reads them all as one number and a bag of values, so that a pass states its formula once.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import ml_dtypes
import numpy as np
import onnx_ir as ir

from modelport.graph.query import constant_of
from modelport.passes.matching import is_op, producer, rank_of

DEPTH = 6
"""Products of more levels than this are no formula of an activation."""


@dataclass(frozen=True)
class Number:
    """A constant number, and by how much of itself its element type may have rounded it."""

    value: float
    slack: float = 0.0
    rank: int = 0

    def times(self, other: Number, power: int = 1) -> Number:
        return Number(
            self.value * other.value**power,
            self.slack + other.slack,
            max(self.rank, other.rank),
        )

    def means(self, wanted: float) -> bool:
        """Whether it is the wanted number, rounded to the type it is written in."""
        return math.isclose(self.value, wanted, rel_tol=self.slack + 1e-15, abs_tol=0.0)


@dataclass(frozen=True)
class Product:
    """A value that is `number` times its factors; the nodes that multiply, innermost first."""

    number: Number
    factors: tuple[ir.Value, ...]
    nodes: tuple[ir.Node, ...] = ()

    def is_of(self, *factors: ir.Value) -> bool:
        """Whether these are the factors, in any order."""
        return sorted(map(id, self.factors)) == sorted(map(id, factors))


def number_of(value: ir.Value | None) -> Number | None:
    """The one number of a constant of a floating-point type or of integers, else None."""
    array = constant_of(value)
    if array is None or array.size != 1:
        return None
    if array.dtype == ml_dtypes.bfloat16 or array.dtype.kind == "f":
        eps = float(ml_dtypes.finfo(array.dtype).eps)  # type: ignore[no-untyped-call]
        slack = eps * 0.4999
    elif array.dtype.kind in "iu":
        slack = 0.0
    else:
        return None
    return Number(float(array.reshape(()).astype(np.float64)), slack, array.ndim)


def product_of(
    value: ir.Value | None, leaves: Collection[ir.Value], depth: int = DEPTH
) -> Product | None:
    """The value as a product of those leaves and of numbers; None where something else is in it."""
    if value is None:
        return None
    if value in leaves:
        return Product(Number(1.0), (value,))
    number = number_of(value)
    if number is not None:
        return Product(number, ())
    node = producer(value, "Mul", "Div", "Pow")
    if node is None or not depth:
        return None
    left, right = (product_of(each, leaves, depth - 1) for each in node.inputs)
    if left is None or right is None:
        return None
    return _combined(node, left, right)


def _combined(node: ir.Node, left: Product, right: Product) -> Product | None:
    nodes = tuple(dict.fromkeys((*left.nodes, *right.nodes, node)))
    if node.op_type == "Mul":
        return Product(left.number.times(right.number), left.factors + right.factors, nodes)
    if right.factors:
        return None
    if node.op_type == "Div":
        if right.number.value == 0:
            return None
        return Product(left.number.times(right.number, -1), left.factors, nodes)
    power = right.number.value
    if power not in (2.0, 3.0) or left.number.value != 1.0:
        return None
    return Product(left.number, left.factors * int(power), nodes)


def with_number(node: ir.Node | None) -> tuple[ir.Value, Number] | None:
    """The other input and the number of a node of two inputs, of which one is a constant number.

    Of Div only the divisor counts.
    """
    if node is None or len(node.inputs) != 2:
        return None
    left, right = node.inputs
    sides = [(left, right)] if is_op(node, "Div", "Sub", "Pow") else [(left, right), (right, left)]
    for value, other in sides:
        number = number_of(other)
        if value is not None and number is not None:
            return value, number
    return None


def in_product(node: ir.Node, *operators: str, depth: int = DEPTH) -> Iterator[ir.Node]:
    """Producers of that kind among the factors of a product, the nearest first in each branch."""
    for value in node.inputs:
        found = producer(value, *operators)
        if found is not None:
            yield found
        inner = producer(value, "Mul", "Div")
        if inner is not None and depth:
            yield from in_product(inner, *operators, depth=depth - 1)


def goes_on(node: ir.Node) -> bool:
    """Whether a reader multiplies the result by one more number: the formula may end later."""
    readers = [use.node for use in node.outputs[0].uses()]
    pairs = [with_number(each) for each in readers if is_op(each, "Mul", "Div")]
    return any(pair is not None and pair[0] is node.outputs[0] for pair in pairs)


def leak(match: Sequence[ir.Node]) -> str | None:
    """Why a match cannot become one node: something reads what lies inside it, or it spans graphs."""
    inside = set(match)
    for node in match:
        if node.graph is not match[-1].graph:
            return f"its {node.op_type} belongs to an enclosing graph"
    for node in match[:-1]:
        for value in node.outputs:
            if value.is_graph_output() or any(use.node not in inside for use in value.uses()):
                return f"something else reads the result of its {node.op_type} too"
    return None


def wider(numbers: Sequence[Number], value: ir.Value) -> str | None:
    """Why the numbers might change the rank of a result: one of `[1]` makes a scalar a vector."""
    rank = max((number.rank for number in numbers), default=0)
    known = rank_of(value)
    if rank and (known is None or rank > known):
        return f"a constant of rank {rank} meets a value of rank {'?' if known is None else known}"
    return None


def in_order(nodes: Sequence[ir.Node]) -> list[ir.Node]:
    """Each node once, in the order in which they are given; the last one ends the match."""
    return list(dict.fromkeys(nodes))
