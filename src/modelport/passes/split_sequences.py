"""Turns a sequence that is only taken apart again into plain Split outputs.

Before:
    s = SplitToSequence <axis = 1> (x, sizes)
    a = SequenceAt (s, zero)
    b = SequenceAt (s, one)

After:
    a, b = Split <axis = 1> (x, sizes)

Exact. PyTorch's exporter writes chunk and split so. The sizes must be constant, and so must every index;
where one size stands for equal parts, the length along the axis must be known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from modelport.graph import provenance
from modelport.graph.query import constant_of
from modelport.passes.base import RewritePass, take_over_type

LISTED_SINCE = 13
"""Opset from which Split takes its sizes as an input."""


class SplitSequences(RewritePass):
    name: ClassVar[str] = "split_sequences"
    summary: ClassVar[str] = "sequences of parts that are taken one by one become Split"

    def pattern(self, node: ir.Node) -> Sequence[ir.Node] | None:
        if node.op_type != "SplitToSequence" or node.domain != "":
            return None
        users = [use.node for use in node.outputs[0].uses()]
        taken = all(user.op_type == "SequenceAt" and user.graph is node.graph for user in users)
        return [node, *users] if users and taken else None

    def check(self, match: Sequence[ir.Node]) -> str | None:
        split, *takers = match
        if (self._model.opset_imports.get("") or 0) < LISTED_SINCE:
            return f"Split takes its sizes as an input from opset {LISTED_SINCE} on"
        if split.outputs[0].is_graph_output():
            return "the sequence is an output"
        sizes = _sizes(split)
        if sizes is None:
            return "the sizes of the parts are not known"
        if not split.attributes.get_int("keepdims", 1) and len(split.inputs) < 2:
            return "the parts lose the axis"
        for taker in takers:
            index = constant_of(taker.inputs[1])
            if index is None:
                return "a part is taken by an index that is computed"
            if not -len(sizes) <= int(index) < len(sizes):
                return f"part {int(index)} of {len(sizes)} is taken"
        return None

    def rewrite(self, match: Sequence[ir.Node]) -> None:
        split, *takers = match
        sizes = _sizes(split)
        assert sizes is not None
        assert split.graph is not None
        listed = ir.Value(
            name=self.fresh_name(f"{split.outputs[0].name}_sizes"),
            const_value=ir.tensor(np.array(sizes, np.int64)),
            type=ir.TensorType(ir.DataType.INT64),
            shape=ir.Shape([len(sizes)]),
        )
        # Initializers of the model serve its subgraphs too; engines take them better than theirs.
        self._model.graph.register_initializer(listed)
        new = ir.node(
            "Split",
            [split.inputs[0], listed],
            attributes={"axis": split.attributes.get_int("axis", 0) or 0},
            num_outputs=len(sizes),
            name=self.fresh_name(split.name or "Split"),
        )
        for output in new.outputs:
            output.name = self.fresh_name(f"{split.outputs[0].name}_part")
        provenance.inherit(new, [split, *takers])
        split.graph.insert_before(split, new)
        for taker in takers:
            index = constant_of(taker.inputs[1])
            assert index is not None
            self._take(taker, new.outputs[int(index)])
        split.graph.remove(split, safe=True)

    def _take(self, taker: ir.Node, part: ir.Value) -> None:
        result = taker.outputs[0]
        take_over_type(part, result)
        if result.is_graph_output():
            name, result.name = result.name, None
            part.name = name
        result.replace_all_uses_with(part, replace_graph_outputs=True)
        assert taker.graph is not None
        taker.graph.remove(taker, safe=True)


def _sizes(split: ir.Node) -> list[int] | None:
    """Lengths of the parts along the axis, or None where they are not known."""
    length = _length(split)
    if len(split.inputs) < 2 or split.inputs[1] is None:
        return None if length is None else [1] * length
    given = constant_of(split.inputs[1])
    if given is None:
        return None
    if given.ndim:
        return [int(size) for size in given]
    if length is None or int(given) < 1:
        return None
    whole, rest = divmod(length, int(given))
    return [int(given)] * whole + ([rest] if rest else [])


def _length(split: ir.Node) -> int | None:
    source = split.inputs[0]
    if source is None or source.shape is None:
        return None
    size = source.shape[split.attributes.get_int("axis", 0) or 0]
    return size if isinstance(size, int) else None
