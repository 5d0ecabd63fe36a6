"""What is known of shapes, free sizes included, and of the whole numbers that shapes are made of.

Exporters compute the target of a Reshape in the graph: Shape, Gather, Mul, Concat. `Shapes` follows
that arithmetic with symbols, so that the shapes that come of it are known too. Two sizes that come out
as equal entries are equal on every feed. A size that nobody knows gets a symbol of its own: it
equals itself.

What the model says of itself is believed with exceptions. Names of sizes at outputs are often only
labels (`batch` where it is batch times queries), and names in the body of a loop may mean another size
in each turn, so neither says that sizes are equal. Where two sizes are zero at once, a Reshape that is
given both can copy one of its input's instead; that case is left out of account, its tensors are empty.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import onnx_ir as ir

from modelport.graph import contents, shape_rules, sizes
from modelport.graph.query import bounds_of
from modelport.graph.scope import nodes_of, subgraphs
from modelport.graph.sizes import Entry, Known, Symbol

Sizes: TypeAlias = tuple[Known, ...]
Contents: TypeAlias = np.ndarray[Any, np.dtype[np.object_]]
"""Entries of a tensor of whole numbers: its shape is that of the tensor."""

MOST_ELEMENTS = 64
"""Tensors of more elements are no shapes."""

_WHOLE = {
    ir.DataType.INT64: (-(2**63), 2**63 - 1),
    ir.DataType.INT32: (-(2**31), 2**31 - 1),
    ir.DataType.BOOL: (0, 1),
}
_NUMBERED = "unk__"
"""onnx's inference names sizes so, anew in each run, and may use a number of a subgraph again."""

_TURNS = ("Loop", "Scan", "SequenceMap")
"""Operators whose subgraph runs more than once, with sizes that may differ."""


class Shapes:
    """What is known of a model's values as it is now; values that are made later are known less well."""

    def __init__(self, model: ir.Model) -> None:
        self.opset = model.opset_imports.get("") or 0
        self._leasts = _leasts(model)
        self._sizes: dict[ir.Value, Sizes | None] = {}
        self._contents: dict[ir.Value, Contents | None] = {}
        self._distrusted: set[ir.Value] = set()
        self._numbers = 0
        self._visit(model.graph, turns=False)

    def of(self, value: ir.Value | None) -> Sizes | None:
        """The shape, with a symbol for each free size; None where the rank is not known."""
        if value is None:
            return None
        if value not in self._sizes:
            self._sizes[value] = self._complete(value, None)
        return self._sizes[value]

    def contents(self, value: ir.Value | None) -> Contents | None:
        """The elements of a small tensor of whole numbers, None for each that is not known.

        None where it is no such tensor or nothing at all is known.
        """
        if value is None:
            return None
        if value not in self._contents:
            self._contents[value] = _constant(value)
        return self._contents[value]

    def numbers(self, value: ir.Value | None) -> list[int] | None:
        """The elements in a row where they all are numbers, else None."""
        array = self.contents(value)
        if array is None or not all(isinstance(entry, int) for entry in array.flat):
            return None
        return [int(entry) for entry in array.flat]

    def same(self, left: ir.Value | None, right: ir.Value | None) -> bool:
        """Whether both have one and the same shape, whatever the free sizes are."""
        one = self.of(left)
        return one is not None and one == self.of(right)

    def _visit(self, graph: ir.Graph, turns: bool) -> None:
        if turns:
            self._distrusted.update(graph.inputs)
        for node in graph:
            for inner in subgraphs(node):
                self._visit(inner, turns or node.op_type in _TURNS)
            if turns:
                self._distrusted.update(node.outputs)
            self._infer(node)

    def _infer(self, node: ir.Node) -> None:
        found = shape_rules.infer(node, self)
        for value, own in zip(node.outputs, found, strict=False):
            self._sizes[value] = self._complete(value, own)
        for value, array in zip(node.outputs, contents.infer(node, self), strict=False):
            self._contents[value] = self._checked(value, array)

    def _complete(self, value: ir.Value, own: tuple[Entry, ...] | None) -> Sizes | None:
        """What a rule found, then what the model says, then a new symbol."""
        stated = self._stated(value)
        if own is None and stated is None:
            return None
        if own is None or stated is None or len(own) != len(stated):
            own, stated = own or stated or (), (None,) * len(own or stated or ())
        return tuple(self._chosen(mine, theirs) for mine, theirs in zip(own, stated, strict=True))

    def _chosen(self, mine: Entry, theirs: Entry) -> Known:
        if mine is None or (isinstance(theirs, int) and not isinstance(mine, int)):
            mine = theirs
        return self._new() if mine is None else mine

    def _new(self) -> Known:
        self._numbers += 1
        return sizes.symbol(number=self._numbers)

    def _stated(self, value: ir.Value) -> tuple[Entry, ...] | None:
        if value.shape is None:
            return None
        named = value not in self._distrusted and (
            value.is_graph_input() or not value.is_graph_output()
        )
        return tuple(
            size
            if isinstance(size, int)
            else sizes.parsed(size.value, self._leasts)
            if named and size.value and not size.value.startswith(_NUMBERED)
            else None
            for size in value.shape
        )

    def _checked(self, value: ir.Value, array: Contents | None) -> Contents | None:
        """What is too large, or does not fit the element type, is not followed."""
        if array is None:
            return None
        array = np.asarray(array, object)
        bounds = _WHOLE.get(value.dtype) if value.dtype is not None else _WHOLE[ir.DataType.INT64]
        if array.size > MOST_ELEMENTS or bounds is None:
            return None
        kept = np.empty(array.shape, object)
        for index, entry in np.ndenumerate(array):
            fits = not isinstance(entry, int) or bounds[0] <= entry <= bounds[1]
            kept[index] = entry if fits else None
        return kept


def record(model: ir.Model) -> bool:
    """Writes into a model's values what its shape arithmetic says of their shapes.

    Returns:
        Whether that was news.
    """
    shapes = Shapes(model)
    news = False
    for node in nodes_of(model):
        for value in node.outputs:
            known = shapes.of(value)
            if known is not None and not value.is_graph_output():
                news |= _note(value, known)
    return news


def _note(value: ir.Value, known: Sizes) -> bool:
    before = value.shape if value.shape is not None else ir.Shape([None] * len(known))
    if len(before) != len(known):
        return False
    dims = [
        old if isinstance(old, int) else _spelled(new, old)
        for new, old in zip(known, before, strict=True)
    ]
    if value.shape is not None and list(value.shape) == dims:
        return False
    value.shape = ir.Shape(dims)
    return True


def _spelled(known: Known, old: ir.SymbolicDim) -> int | ir.SymbolicDim:
    if isinstance(known, int):
        return known
    text = sizes.rendered(known)
    return old if text is None else ir.SymbolicDim(text)


def _leasts(model: ir.Model) -> dict[str, int]:
    """The least value of named sizes, where the inputs have bounds."""
    found: dict[str, int] = {}
    for value in model.graph.inputs:
        for axis, bound in bounds_of(value).items():
            if value.shape is not None and axis < len(value.shape):
                size = value.shape[axis]
                if isinstance(size, ir.SymbolicDim) and size.value:
                    found[size.value] = max(found.get(size.value, 0), bound.minimum)
    return found


def _constant(value: ir.Value) -> Contents | None:
    if value.is_graph_input():
        return None
    tensor = ir.convenience.get_const_tensor(value)
    if tensor is None or tensor.dtype not in _WHOLE or tensor.size > MOST_ELEMENTS:
        return None
    return tensor.numpy().astype(object)


def is_free(entry: Entry) -> bool:
    """Whether it is one free size alone, with a name or without."""
    if entry is None or isinstance(entry, int) or len(entry.terms) != 1:
        return False
    ((monomial, factor),) = entry.terms
    return factor == 1 and len(monomial) == 1 and isinstance(monomial[0], Symbol)
