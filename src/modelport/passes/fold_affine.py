"""Folds arithmetic with constants into the linear operator before it.

Before:
    a = Conv (x, W, b)
    s = Mul (a, gamma)            # one number, or one to a channel: gamma of shape [1, C, 1, 1]
    y = Add (s, beta)

After:
    y = Conv (x, W * gamma, b * gamma + beta)

Equal up to rounding; the products are taken in float64. Mul, Div, Add, Sub and Neg, one after the
other, behind Conv, ConvTranspose, Gemm, and behind MatMul, whose bias is the Add that follows it.
The condition: the weights are constants, nothing else reads what lies between, the constant has one
number or one to an output channel and adds no axis, and the products fit the element type.

`Clip(a + 3, 0, 6)` stays: with the rest of it, engines know it as a hard sigmoid.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from modelport.graph import provenance
from modelport.passes.affine import ARITHMETIC, Affine, affine_of, affine_source
from modelport.passes.base import RewritePass, take_over
from modelport.passes.linear import (
    BIASED,
    Parameters,
    followed_by,
    linear_problem,
    outputs_of,
    rank_and_axis,
    set_input,
    set_parameters,
    storage_problem,
)
from modelport.passes.matching import constant_input, is_op, is_private, producer, reader


class FoldAffine(RewritePass):
    name: ClassVar[str] = "fold_affine"
    summary: ClassVar[str] = "arithmetic with constants is folded into the Conv or MatMul before it"
    exact: ClassVar[bool] = False

    def pattern(self, node: ir.Node) -> Sequence[ir.Node] | None:
        source = affine_source(node) if is_op(node, *ARITHMETIC) else None
        linear = producer(source, *BIASED, "MatMul")
        if linear is not None and linear.op_type == "MatMul" and node.op_type in ("Add", "Sub"):
            return None  # this is its bias
        found = [linear, node] if linear is not None else _behind_bias(source, node)
        if found is None or any(part.graph is not node.graph for part in found):
            return None
        return found

    def check(self, match: Sequence[ir.Node]) -> str | None:
        linear, *between, last = match
        for node in (linear, *between):
            if not is_private(node.outputs[0]):
                return f"something else reads the result of {node.op_type} too"
        if last.op_type in ("Add", "Sub") and reader(last.outputs[0], "Clip") is not None:
            return "with the Clip behind it, it is the begin of a hard sigmoid"
        problem = linear_problem(linear)
        if problem is not None:
            return problem
        rank, axis = rank_and_axis(linear)
        steps = [affine_of(node, rank, axis, outputs_of(linear)) for node in (*between, last)]
        for step in steps:
            if isinstance(step, str):
                return step
        *known, after = [step for step in steps if isinstance(step, Affine)]
        return self._plan(linear, known, after)

    def _plan(self, linear: ir.Node, known: list[Affine], after: Affine) -> str | None:
        """Works out the new numbers; the bias of a MatMul is kept by the node behind it."""
        plain = linear.op_type == "MatMul"
        self._new: Parameters = followed_by(
            linear, Affine(after.factor, np.zeros(1)) if plain else after
        )
        self._moves_weight = not plain or bool((after.factor != 1).any())
        self._bias = known[0].then(after).shift if known else np.zeros(1)
        return storage_problem(linear, self._new.weight, self._new.bias, self._bias)

    def rewrite(self, match: Sequence[ir.Node]) -> None:
        linear, *between, last = match
        if self._moves_weight:
            set_parameters(self, linear, self._new)
        kept = between[0] if between else linear
        if between:
            self._set_bias(linear, kept)
        provenance.inherit(kept, [kept, last])
        take_over(kept.outputs[0], last.outputs[0])
        assert last.graph is not None
        last.graph.remove(last, safe=True)

    def _set_bias(self, linear: ir.Node, add: ir.Node) -> None:
        """The new bias, in the shape and at the place of the old one."""
        index = 0 if constant_input(add, 0) is not None else 1
        old = constant_input(add, index)
        assert old is not None
        shape = old.shape if self._bias.size == 1 else (*old.shape[:-1], self._bias.size)
        set_input(self, add, index, self._bias.reshape(shape).astype(old.dtype), "bias")


def _behind_bias(source: ir.Value | None, node: ir.Node) -> list[ir.Node] | None:
    """MatMul, the Add of its bias, and the node."""
    add = producer(source, "Add")
    linear = producer(affine_source(add), "MatMul")
    return None if add is None or linear is None else [linear, add, node]
