"""Folds a scale to each channel into the quantized product, or the normalisation, that makes the channels.

Before:
    h = Gemm (a, DequantizeLinear (w, scales), b)
    r = Relu (h)
    y = Mul (r, m)                # one number to a channel, all above zero

After:
    h = Gemm (a, DequantizeLinear (w, scales * m), b * m)
    y = Relu (h)

Equal up to rounding; the integers stay. So with MatMul, whose bias is the Add behind it, without the Relu,
and with LayerNormalization, of which scale and bias take the numbers. SmoothQuant (Xiao et al.,
arXiv:2211.10438) evens channels by such products, and a quantizer leaves them in the graph: one more
pass over the data, and OpenVINO 2026.4 computes nothing but zeros between two Gemms with one between
them. The condition: nothing else reads what lies between, and all scales and biases are constants of floats.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from modelport.graph import provenance
from modelport.graph.query import constant_of
from modelport.passes.affine import Affine, affine_of, affine_source
from modelport.passes.base import RewritePass, take_over
from modelport.passes.linear import set_input, type_problem
from modelport.passes.matching import constant_input, is_op, is_private, producer, rank_of
from modelport.types import Array

PRODUCTS = ("Gemm", "MatMul")
NORM = "LayerNormalization"


class FoldSmoothing(RewritePass):
    name: ClassVar[str] = "fold_smoothing"
    summary: ClassVar[str] = "a scale to each channel goes into the quantized weights before it"
    exact: ClassVar[bool] = False

    def pattern(self, node: ir.Node) -> Sequence[ir.Node] | None:
        chain = _chain(affine_source(node)) if is_op(node, "Mul") else None
        if chain is None or any(part.graph is not node.graph for part in chain):
            return None
        return [*chain, node]

    def check(self, match: Sequence[ir.Node]) -> str | None:
        maker, *between, mul = match
        for node in (maker, *between):
            if not is_private(node.outputs[0]):
                return f"something else reads the result of {node.op_type} too"
        weights = _weights(maker)
        if weights is not None and not is_private(weights.outputs[0]):
            return "something else reads its weights too"
        rank = 2 if maker.op_type == "Gemm" else rank_of(maker.outputs[0])
        channels = _channels(maker)
        if rank is None or channels is None:
            return f"the channels of {maker.op_type} are not known"
        step = affine_of(mul, rank, rank - 1, channels)
        if not isinstance(step, Affine):
            return step
        if any(is_op(node, "Relu") for node in between) and not bool((step.factor > 0).all()):
            return "a Relu would cut off other numbers"
        self._new: list[tuple[ir.Node, int, Array]] = []
        for node, index in _places(maker, between):
            scaled = _scaled(node, index, step.factor, channels)
            if isinstance(scaled, str):
                return scaled
            self._new.append((node, index, scaled))
        return None

    def rewrite(self, match: Sequence[ir.Node]) -> None:
        *chain, mul = match
        for node, index, array in self._new:
            set_input(self, node, index, array, "scale" if node is not chain[0] else "smoothed")
        provenance.inherit(chain[-1], [chain[-1], mul])
        take_over(chain[-1].outputs[0], mul.outputs[0])
        assert mul.graph is not None
        mul.graph.remove(mul, safe=True)


def _chain(value: ir.Value | None) -> list[ir.Node] | None:
    """What makes the value: the product or the normalisation, then its Add, then a Relu."""
    found: list[ir.Node] = []
    relu = producer(value, "Relu")
    if relu is not None:
        found, value = [relu], relu.inputs[0]
    add = producer(value, "Add")
    if add is not None and affine_source(add) is not None:
        found, value = [add, *found], affine_source(add)
    maker = producer(value, *PRODUCTS, NORM)
    known = maker is not None and (maker.op_type == NORM or _weights(maker) is not None)
    return [maker, *found] if maker is not None and known else None


def _weights(maker: ir.Node) -> ir.Node | None:
    """The Dequantize of its weights; a normalisation has none."""
    node = producer(maker.inputs[1], "DequantizeLinear")
    return node if node is not None and constant_input(node, 0) is not None else None


def _channels(maker: ir.Node) -> int | None:
    scales = _scales(maker)
    return None if scales is None else int(scales.size)


def _scales(maker: ir.Node) -> Array | None:
    """One to each channel, in the last axis of what it makes; None where there is another number of them."""
    if maker.op_type == NORM:
        scale = constant_input(maker, 1)
        axis = maker.attributes.get_int("axis", -1)
        last = axis in (-1, (rank_of(maker.inputs[0]) or 0) - 1)
        return scale if scale is not None and scale.ndim == 1 and last else None
    weights = _weights(maker)
    assert weights is not None
    integers, scales = (constant_of(value) for value in weights.inputs[:2])
    if integers is None or scales is None or integers.ndim != 2 or scales.ndim != 1:
        return None
    own = 0 if maker.attributes.get_int("transB", 0) else 1
    axis = weights.attributes.get_int("axis", 1)
    return scales if axis in (own, own - 2) and scales.size == integers.shape[own] else None


def _places(maker: ir.Node, between: Sequence[ir.Node]) -> list[tuple[ir.Node, int]]:
    """The constants that take the numbers: of each, the node and the input."""
    weights = maker if maker.op_type == NORM else _weights(maker)
    assert weights is not None
    places = [(weights, 1)]
    if len(maker.inputs) > 2 and maker.inputs[2] is not None:
        places.append((maker, 2))
    adds = [node for node in between if is_op(node, "Add")]
    return places + [(add, 0 if constant_input(add, 0) is not None else 1) for add in adds]


def _scaled(node: ir.Node, index: int, factor: Array, channels: int) -> Array | str:
    """The constant with the factor in it, or why it cannot be."""
    given = constant_input(node, index)
    if given is None or given.dtype.kind != "f":
        return f"the bias of {node.op_type} is no constant of floats"
    flat = given.reshape(-1)
    if flat.size != 1 and (flat.size, given.shape[-1]) != (channels, channels):
        return f"the bias of {node.op_type} is not one number to a channel"
    scaled = flat.astype(np.float64) * factor
    shape = given.shape if scaled.size == given.size else (*given.shape[:-1], scaled.size)
    problem = type_problem(given.dtype, scaled)
    return problem or scaled.reshape(shape).astype(given.dtype)
