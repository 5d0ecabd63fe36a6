"""Writes a graph in the forms that pnnx reads rightly, where it misreads others that mean the same.

- Of axes that are one number pnnx makes none at all, so a reduction gets a second axis, of size one.
- Of the largest numbers it has a reduction in old opsets alone; of whole pictures a pooling finds them too.
- Rows of a transposed tensor of five axes, as in attention, it cannot follow; rows of the tensor before
  that, transposed each, it can.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from modelport.passes import PASSES

REDUCTIONS = ("ReduceL1", "ReduceL2", "ReduceLogSumExp", "ReduceMean", "ReduceProd", "ReduceSum")
"""Those that pnnx reads; others the engine refuses."""

AXES_ARE_INPUTS = 13
"""The opset from which Squeeze and others take axes so."""


def readable(model: ir.Model) -> ir.Model:
    """A copy in those forms, as far as shapes can be told: where an axis is depends on them."""
    made = model.clone()
    if (made.opset_imports.get("") or 0) < AXES_ARE_INPUTS:
        return made
    PASSES.get("infer_shapes")(made)
    for node in list(made.graph):
        if node.op_type in REDUCTIONS:
            _reduce_two(made.graph, node)
        elif node.op_type == "ReduceMax":
            _pool_pictures(made.graph, node)
        elif node.op_type == "Slice":
            _slice_before_transpose(made.graph, node)
    _drop_unread(made.graph)
    return made


def _reduce_two(graph: ir.Graph, node: ir.Node) -> None:
    axes, shape = _constant(node, 1), node.inputs[0].shape if node.inputs[0] else None
    if axes is None or axes.size != 1 or shape is None:
        return
    axis = int(axes.reshape(-1)[0]) % len(shape)
    maker = _Maker(graph, node)
    wide = maker.make("Unsqueeze", [node.inputs[0], maker.integers([axis + 1])])
    result = maker.make(
        node.op_type,
        [wide, maker.integers([axis, axis + 1])],
        {"keepdims": 0},
    )
    if node.attributes.get_int("keepdims", 1):
        result = maker.make("Unsqueeze", [result, maker.integers([axis])])
    maker.instead_of(node.outputs[0], result)


def _pool_pictures(graph: ir.Graph, node: ir.Node) -> None:
    axes, shape = _constant(node, 1), node.inputs[0].shape if node.inputs[0] else None
    if axes is None or shape is None or len(shape) != 4:
        return
    if sorted(int(axis) % 4 for axis in axes.reshape(-1)) != [2, 3]:
        return
    maker = _Maker(graph, node)
    result = maker.make("GlobalMaxPool", [node.inputs[0]])
    if not node.attributes.get_int("keepdims", 1):
        result = maker.make("Squeeze", [result, maker.integers([2, 3])])
    maker.instead_of(node.outputs[0], result)


def _slice_before_transpose(graph: ir.Graph, node: ir.Node) -> None:
    """Of a Slice that leaves one row of a Transpose, which Squeeze or Reshape then drop."""
    transpose = node.inputs[0].producer() if node.inputs[0] is not None else None
    bounds = [_constant(node, index) for index in (1, 2, 3)]
    readers = [use.node for use in node.outputs[0].uses()]
    if (
        transpose is None
        or transpose.op_type != "Transpose"
        or any(each is None or each.size != 1 for each in bounds)
        or node.outputs[0].shape is None
        or not readers
    ):
        return
    permutation = list(transpose.attributes.get_ints("perm", ()))
    axis = int(bounds[2].reshape(-1)[0]) % len(permutation or [1])  # type: ignore[union-attr]
    one_row = bool(permutation) and node.outputs[0].shape[axis] == 1
    if not one_row or not all(_drops(reader, axis) for reader in readers):
        return
    maker = _Maker(graph, node)
    place = permutation[axis]
    first, last = (int(bounds[index].reshape(-1)[0]) for index in (0, 1))  # type: ignore[union-attr]
    row = maker.make(
        "Slice",
        [transpose.inputs[0], *(maker.integers([n]) for n in (first, last, place))],
    )
    row = maker.make("Squeeze", [row, maker.integers([place])])
    left = [each - (each > place) for each in permutation if each != place]
    row = maker.make("Transpose", [row], {"perm": left})
    for reader in readers:
        if reader.op_type == "Squeeze":
            maker.instead_of(reader.outputs[0], row)
        else:
            reader.replace_input_with(0, row)


def _drops(reader: ir.Node, axis: int) -> bool:
    """Whether the axis of size one makes no difference to the reader."""
    if reader.op_type == "Squeeze":
        axes = _constant(reader, 1)
        return axes is not None and axes.size == 1 and int(axes.reshape(-1)[0]) == axis
    target = _constant(reader, 1)
    return reader.op_type == "Reshape" and target is not None and bool((target != 0).all())


def _constant(node: ir.Node, index: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]] | None:
    value = node.inputs[index] if index < len(node.inputs) else None
    if value is None or value.const_value is None:
        return None
    return value.const_value.numpy().astype(np.int64)


class _Maker:
    """Makes nodes in front of one, and constants for them."""

    def __init__(self, graph: ir.Graph, place: ir.Node) -> None:
        self._graph, self._place = graph, place
        self._count = 0
        self._name = f"{place.outputs[0].name}_pnnx"

    def integers(self, numbers: Sequence[int]) -> ir.Value:
        name = self._next()
        tensor = ir.tensor(np.array(numbers, np.int64), name=name)
        made = ir.val(name, const_value=tensor)
        made.shape, made.dtype = ir.Shape([len(numbers)]), ir.DataType.INT64
        self._graph.register_initializer(made)
        return made

    def make(
        self,
        operator: str,
        takes: Sequence[ir.Value | None],
        attributes: dict[str, object] | None = None,
    ) -> ir.Value:
        node = ir.node(operator, takes, attributes or {})
        node.name = node.outputs[0].name = self._next()
        self._graph.insert_before(self._place, node)
        return node.outputs[0]

    def instead_of(self, old: ir.Value, new: ir.Value) -> None:
        """The new value takes the place of the old one, as an output of the graph too."""
        new.type, new.shape = old.type, old.shape
        ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
        if new.is_graph_output():
            old.name, new.name = f"{old.name}_replaced", old.name

    def _next(self) -> str:
        self._count += 1
        return f"{self._name}_{self._count}"


def _drop_unread(graph: ir.Graph) -> None:
    for node in reversed(list(graph)):
        if not any(value.uses() or value.is_graph_output() for value in node.outputs):
            graph.remove(node, safe=True)
