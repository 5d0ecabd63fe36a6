"""Chains of affine nodes that lead to linear operators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from modelport.graph.provenance import marks_of
from modelport.passes.affine import UNCHANGED, Affine, affine_of, affine_source
from modelport.passes.linear import LINEAR, inputs_of, linear_problem, rank_and_axis
from modelport.passes.matching import is_op, is_private, producer
from modelport.types import Array


@dataclass(frozen=True)
class Chain:
    """Affine nodes one after the other, a Transpose perhaps, and all that reads the last of them."""

    nodes: Sequence[ir.Node]
    transpose: ir.Node | None
    readers: Sequence[ir.Node]

    @property
    def source(self) -> ir.Value:
        value = affine_source(self.nodes[0])
        assert value is not None
        return value

    @property
    def _end(self) -> ir.Value:
        return (self.transpose or self.nodes[-1]).outputs[0]

    def problem(self) -> str | None:
        """Why its readers cannot take its work, or None."""
        before = producer(self.source, "Mul", "Div")
        if before is not None and affine_source(before) is None:
            return "it ends a normalisation or activation that engines know as a whole"
        if self._end.is_graph_output() or marks_of(self._end):
            return "its result is an output"
        if any(use.idx != 0 for use in self._end.uses()):
            return "its result is a weight"
        for reader in self.readers:
            problem = linear_problem(reader)
            if problem is None and reader.attributes.get_int("transA", 0) == 1:
                problem = "Gemm reads it transposed"
            if problem is not None:
                return problem
        return None

    def place(self) -> tuple[int | None, int, int] | str:
        """Rank of the source if it is known, axis and number of its channels."""
        places = {(*rank_and_axis(reader), inputs_of(reader)) for reader in self.readers}
        if len(places) > 1:
            return "its readers disagree about its channels"
        ((rank, axis, channels),) = places
        if self.transpose is None:
            return rank, axis, channels
        order = self.transpose.attributes.get_ints("perm")
        if order is None or rank is None:
            return "the order of its Transpose is not known"
        return rank, list(order)[axis], channels

    def affine(self) -> Affine | str:
        """All of it as one function of each channel."""
        place = self.place()
        if isinstance(place, str):
            return place
        total = UNCHANGED
        for node in self.nodes:
            step = affine_of(node, *place)
            if isinstance(step, str):
                return step
            total = total.then(step)
        return total

    def along_source(self, numbers: Array) -> Array:
        """One number, or one to a channel, shaped for arithmetic with the source."""
        place = self.place()
        assert not isinstance(place, str)
        rank, axis, _ = place
        if numbers.size == 1 or rank is None:
            return numbers.reshape(())
        return numbers.reshape(-1, *[1] * (rank - axis - 1))

    def bypass(self) -> None:
        """Lets what reads the chain read its source."""
        last = self.nodes[-1].outputs[0]
        last.replace_all_uses_with(self.source)
        for node in reversed(self.nodes):
            assert node.graph is not None
            node.graph.remove(node, safe=True)


def chain_to(node: ir.Node) -> Chain | None:
    """The chain that the node ends, None where it ends none or others than linear operators read it."""
    readers = [use.node for value in node.outputs[:1] for use in value.uses()]
    if not readers or not all(is_op(reader, *LINEAR) for reader in readers):
        return None
    transpose = node if is_op(node, "Transpose") else None
    nodes: list[ir.Node] = []
    before = node if transpose is None else _private(transpose.inputs[0])
    while before is not None and affine_source(before) is not None:
        nodes.insert(0, before)
        before = _private(affine_source(before))
    if not nodes or any(part.graph is not node.graph for part in (*nodes, *readers)):
        return None
    return Chain(nodes, transpose, list(dict.fromkeys(readers)))


def _private(value: ir.Value | None) -> ir.Node | None:
    """What makes a value that nothing else reads."""
    return value.producer() if value is not None and is_private(value) else None


def left_over(affine: Affine) -> tuple[Affine, Array]:
    """`x * f + s` as `(x + s / f) * f`: the factor, and what is added before it."""
    return Affine(affine.factor, np.zeros(1)), affine.shift / affine.factor
