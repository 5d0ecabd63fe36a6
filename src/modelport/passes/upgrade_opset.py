"""Rewrites a model for a newer version of the standard operators.

Before:                                                  # opset 11
    a = Squeeze <axes = [0]> (x)
    y = Softmax <axis = 1> (a)                           # of rank 3: over all that follows, as one row

After:                                                   # opset 20
    a = Squeeze (x, axes)
    rows = Flatten <axis = 1> (a)
    maxima = Softmax <axis = -1> (rows)
    size = Shape (a)
    y = Reshape (maxima, size)

Exact. Old forms are where engines go wrong: OpenVINO computes Softmax of opset 11 and 12 like that of 13.
New forms are also what fusions write and engines fuse. `upgrade_forms` says how each operator whose
form has changed is written anew; most have only gained types or options. Where one of them cannot be
(BatchNormalization with statistics for each position, Resize of opset 10 that shrinks to nearest
pixels), or a function is written for operators that differ, the whole model stays as it is, and the
refusals say which nodes hold it back. Clip without a bound lets infinite values through, which before
opset 11 became the largest finite ones.

onnx's own version converter leaves subgraphs, metadata and several operators behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import onnx_ir as ir

from modelport.errors import GraphError
from modelport.graph import provenance
from modelport.graph.functions import adopt_opset
from modelport.graph.scope import nodes_of
from modelport.passes.base import Refusal
from modelport.passes.matching import is_op
from modelport.passes.shaped import ShapedPass
from modelport.passes.upgrade_forms import FORMS, Form

OLDEST = 7
"""Before this, operators broadcast in other ways."""

TARGET = 20
"""Every engine here reads it, and no operator has lost anything on the way to it."""

_IR_VERSION = 9
"""The IR version that came with opset 20."""


class UpgradeOpset(ShapedPass):
    name: ClassVar[str] = "upgrade_opset"
    summary: ClassVar[str] = f"a model of an old opset is written for opset {TARGET}"

    def apply(self, model: ir.Model) -> bool:
        before = model.opset_imports.get("")
        if before is None or before >= TARGET:
            return False
        self._model, self._taken, self._shapes = model, None, None
        problems = self._problems(model, before)
        self.refusals.extend(problems)
        if problems:
            return False
        for function in model.functions.values():
            function.opset_imports[""] = TARGET
        for node in self._changing(model):
            self.rewrite([node])
        model.opset_imports[""] = TARGET
        model.ir_version = max(model.ir_version, _IR_VERSION)
        self._shapes = None
        return True

    def pattern(self, node: ir.Node) -> Sequence[ir.Node] | None:
        form = FORMS.get(node.op_type)
        if form is None or not is_op(node, node.op_type):
            return None
        return [node] if self.opset < form.since <= TARGET else None

    def check(self, match: Sequence[ir.Node]) -> str | None:
        return self._form(match[0]).problem(match[0], self)

    def rewrite(self, match: Sequence[ir.Node]) -> None:
        self._form(match[0]).write(match[0], self)

    def _form(self, node: ir.Node) -> Form:
        return FORMS[node.op_type]

    def _changing(self, model: ir.Model) -> list[ir.Node]:
        return [node for node in nodes_of(model) if self.pattern(node) is not None]

    def _problems(self, model: ir.Model, before: int) -> list[Refusal]:
        if before < OLDEST:
            return [Refusal("the model", f"it is of opset {before}, older than {OLDEST}")]
        found = []
        for node in self._changing(model):
            reason = self.check([node])
            if reason is not None:
                found.append(Refusal(provenance.describe(node), f"{node.op_type}: {reason}"))
        for function in model.functions.values():
            reason = _problem_of_function(function, model)
            if reason is not None:
                found.append(Refusal(f"{function.domain}::{function.name}", reason))
        return found


def _problem_of_function(function: ir.Function, model: ir.Model) -> str | None:
    """Whether its body means the same in the new opset, tried on a copy."""
    wanted = ir.Model(ir.Graph([], [], nodes=[], opset_imports={"": TARGET}), ir_version=10)
    try:
        adopt_opset(function.clone(), wanted)
    except GraphError as error:
        return error.seen
    return None
