"""Folds a BatchNormalization, or arithmetic with constants, into the linear operators behind it.

Before:
    a = Sub (x, mean)                           # one number, or one to a channel
    b = Div (a, std)
    y = Conv (b, W, bias)

After:
    y = Conv (x, W / std, bias - sum(W * mean / std))

Equal up to rounding; the products are taken in float64. The chain is one `x * factor + shift`, and a
Transpose may lie behind it. Its factor always goes into the weights. Its shift goes into the bias, but
padding puts zeros behind the chain, so that there the shift is missing at the border. Then the bias
becomes an Add of one number to each position, where the sizes are known and that costs less than the
chain. Else one Add before the operator is left of a longer chain: `y = Conv (x + shift / factor, ...)`.

Every reader of the chain must be a Conv, ConvTranspose, Gemm or MatMul with constant weights. MatMul has
no bias, and ConvTranspose pads its result, so these take no shift. What ends a decomposed
LayerNormalization, GELU or hard swish stays, since engines know these as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import onnx_ir as ir

from modelport.graph import provenance
from modelport.passes.affine import Affine
from modelport.passes.base import Refusal, RewritePass, take_over
from modelport.passes.borders import border_map, is_padded
from modelport.passes.chains import Chain, chain_to, left_over
from modelport.passes.linear import (
    Parameters,
    preceded_by,
    set_parameters,
    storage_problem,
    weight_type,
)
from modelport.types import Array

PADDED = "its shift does not reach into the padding behind it"


class FoldBatchNormForward(RewritePass):
    name: ClassVar[str] = "fold_batchnorm_forward"
    summary: ClassVar[str] = "normalisation is folded into the Conv or MatMul behind it"
    exact: ClassVar[bool] = False
    from_the_end: ClassVar[bool] = True

    def pattern(self, node: ir.Node) -> Sequence[ir.Node] | None:
        chain = chain_to(node)
        if chain is None:
            return None
        self._chain: Chain = chain
        return [*chain.nodes, *chain.readers]

    def check(self, match: Sequence[ir.Node]) -> str | None:
        problem = self._chain.problem()
        if problem is not None:
            return problem
        whole = self._chain.affine()
        if isinstance(whole, str):
            return whole
        self._left: Array | None = None
        self._kept = problem = self._plan(whole)
        if problem is not None and len(self._chain.nodes) > 1 and whole.factor.all():
            factor, self._left = left_over(whole)
            problem = self._plan(factor, self._left)
        return problem

    def _plan(self, affine: Affine, *more: Array) -> str | None:
        """Works out what every reader becomes: its parameters, and perhaps a bias for each position."""
        self._plans: list[tuple[ir.Node, Parameters, Array | None]] = []
        for reader in self._chain.readers:
            positions = _positions(reader, affine)
            if isinstance(positions, str):
                return positions
            new = preceded_by(
                reader, affine if positions is None else Affine(affine.factor, 0 * affine.shift)
            )
            stored = [new.weight, new.bias, *more, *([] if positions is None else [positions])]
            problem = storage_problem(reader, *stored)
            if problem is not None:
                return problem
            self._plans.append((reader, new, positions))
        if sum(map_ is not None for _, _, map_ in self._plans) > len(self._chain.nodes):
            return PADDED  # more nodes than before
        return None

    def rewrite(self, match: Sequence[ir.Node]) -> None:
        for reader, new, positions in self._plans:
            set_parameters(self, reader, new)
            provenance.inherit(reader, [reader, *self._chain.nodes])
            if positions is not None:
                self._add_behind(reader, positions)
        if self._left is None:
            self._chain.bypass()
        else:
            self._add_before(self._left)

    def _add_behind(self, reader: ir.Node, positions: Array) -> None:
        """The bias that differs between positions."""
        result = reader.outputs[0]
        map_ = self.constant(positions.astype(weight_type(reader)), f"{result.name}_border")
        add = self.node("Add", [None, map_], for_=[reader])
        assert reader.graph is not None
        reader.graph.insert_after(reader, add)
        fresh = self.fresh_name(f"{result.name}_conv")
        take_over(add.outputs[0], result)
        result.name = fresh
        add.replace_input_with(0, result)

    def _add_before(self, left: Array) -> None:
        """What is left of the chain: its shift, before the factor."""
        chain, reader = self._chain, self._chain.readers[0]
        array = chain.along_source(left).astype(weight_type(reader))
        stem = chain.nodes[-1].outputs[0].name
        add = self.node(
            "Add", [chain.source, self.constant(array, f"{stem}_shift")], for_=chain.nodes
        )
        self.replace(chain.nodes, [add])
        assert self._kept is not None
        self.refusals.append(Refusal(provenance.describe(add), self._kept))


def _positions(linear: ir.Node, affine: Affine) -> Array | str | None:
    """The bias for each position if one is needed, or why the shift cannot be taken at all."""
    if not affine.shift.any() or linear.op_type == "Gemm":
        return None
    if linear.op_type == "MatMul":
        return "MatMul has no bias for its shift"
    if linear.op_type == "ConvTranspose":
        return "ConvTranspose would spread its shift unevenly"
    if not is_padded(linear):
        return None
    found = border_map(linear, affine.shift)
    return PADDED if found is None else found
