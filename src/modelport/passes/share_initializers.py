"""Keeps one of several equal weights.

Before:
    one = float[2] {1, 2}
    two = float[2] {1, 2}
    a = Add (x, one)
    y = Mul (a, two)

After:
    a = Add (x, one)
    y = Mul (a, one)

Exact: equal means bit for bit, so 0.0 is not -0.0. A weight stays that is an input or an output too.
Weights are compared where element type and shape agree, by a few of their bytes first, so a large weight
without a twin is hardly read.
"""

from __future__ import annotations

from collections import defaultdict
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from modelport.graph.scope import graphs_of
from modelport.passes.base import GraphPass
from modelport.types import Array

SAMPLED_BYTES = 512


class ShareInitializers(GraphPass):
    name: ClassVar[str] = "share_initializers"
    summary: ClassVar[str] = "equal weights are stored once"

    def apply(self, model: ir.Model) -> bool:
        shared = [_share(graph) for graph in graphs_of(model)]
        return any(shared)


def _share(graph: ir.Graph) -> bool:
    alike: dict[object, list[ir.Value]] = defaultdict(list)
    for value in graph.initializers.values():
        tensor = value.const_value
        if tensor is not None and not value.is_graph_input() and not value.is_graph_output():
            alike[tensor.dtype, tuple(tensor.shape)].append(value)
    shared = False
    for values in alike.values():
        if len(values) > 1:
            shared |= _share_equal(graph, values)
    return shared


def _share_equal(graph: ir.Graph, values: list[ir.Value]) -> bool:
    kept: dict[bytes, list[tuple[ir.Value, Array]]] = defaultdict(list)
    shared = False
    for value in values:
        data = _data(value)
        bucket = kept[_sample(data)]
        twin = next((other for other, known in bucket if np.array_equal(known, data)), None)
        if twin is None:
            bucket.append((value, data))
            continue
        value.replace_all_uses_with(twin)
        assert value.name is not None
        del graph.initializers[value.name]
        shared = True
    return shared


def _data(value: ir.Value) -> Array:
    """The bytes of a weight, or the words of one that is text."""
    tensor = value.const_value
    assert tensor is not None
    array = tensor.numpy()
    if array.dtype.kind in "OSU":
        return array.astype(object).reshape(-1)
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _sample(data: Array) -> bytes:
    """Bytes from all over the weight, the same places in weights of one size."""
    if data.dtype == object:
        return repr(data.tolist()).encode()
    step = max(1, len(data) // SAMPLED_BYTES)
    return data[::step].tobytes()
