"""Writes a model for an older version of the standard operators.

Before:                                                  # opset 20
    m = ReduceMean (x, axes)
    s = Softmax <axis = 1> (m)                           # of rank 3
    y = HardSwish (s)

After:                                                   # opset 11
    m = ReduceMean <axes = [2]> (x)
    t = Transpose <perm = [0, 2, 1]> (m)
    u = Softmax <axis = 2> (t)
    s = Transpose <perm = [0, 2, 1]> (u)
    h = HardSigmoid <alpha = 0.1667, beta = 0.5> (s)
    y = Mul (s, h)

Equal up to rounding. For toolchains that stopped at an opset: many NPU compilers read 11 and no more.
`lower_forms` says how each operator whose form has changed is written, down to opset 11: before that
Clip, Pad, Resize and Slice take what they need in other places. All others must use nothing that came
later. Where one node cannot be written so, the whole model stays as it is, and the refusals say which
nodes hold it back. It wants shapes inferred and functions inlined.

onnx's own version converter has no way back for most operators: it stops at the first Add of opset 14.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import onnx_ir as ir

from modelport.graph import provenance
from modelport.graph.schemas import Operator, operator
from modelport.graph.scope import nodes_of
from modelport.passes.base import Refusal
from modelport.passes.lower_forms import LOWERED, Lowering
from modelport.passes.matching import STANDARD

_IR_VERSIONS = ((11, 6), (12, 7), (15, 8), (19, 9))
"""The opsets that needed a newer version of the file format."""


class LowerOpset(Lowering):
    """A subclass says how far down."""

    exact: ClassVar[bool] = False

    def apply(self, model: ir.Model) -> bool:
        before = model.opset_imports.get("")
        if before is None or before <= self.target:
            return False
        self._model, self._taken, self._shapes = model, None, None
        self._before = before
        problems = self._problems(model)
        self.refusals.extend(problems)
        if problems:
            return False
        for node in [node for node in nodes_of(model) if self._changes(node)]:
            self.rewrite([node])
        for node in nodes_of(model):
            self._drop_defaults(node)
        model.opset_imports[""] = self.target
        model.ir_version = ir_version_of(self.target)
        self._shapes = None
        return True

    def pattern(self, node: ir.Node) -> Sequence[ir.Node] | None:
        return [node] if node.domain in STANDARD else None

    def check(self, match: Sequence[ir.Node]) -> str | None:
        (node,) = match
        if self._changes(node):
            reason = LOWERED[node.op_type].problem(node, self)
            if reason is not None:
                return reason
        old = operator(node.op_type, self.target)
        if old is None or old.deprecated:
            known = self._changes(node) and LOWERED[node.op_type].since > self.target
            return None if known else f"opset {self.target} has no such operator"
        return _type_problem(node, old) or (
            None if self._changes(node) else self._option_problem(node, old)
        )

    def rewrite(self, match: Sequence[ir.Node]) -> None:
        LOWERED[match[0].op_type].write(match[0], self)

    def _changes(self, node: ir.Node) -> bool:
        form = LOWERED.get(node.op_type) if node.domain in STANDARD else None
        return form is not None and self.target < form.since

    def _problems(self, model: ir.Model) -> list[Refusal]:
        if model.functions:
            return [Refusal("the model", "it calls functions, which inline_functions replaces")]
        found = []
        for node in nodes_of(model):
            if self.pattern(node) is None:
                continue
            reason = self.check([node])
            if reason is not None:
                found.append(Refusal(provenance.describe(node), f"{node.op_type}: {reason}"))
        return found

    def _option_problem(self, node: ir.Node, old: Operator) -> str | None:
        """Whether it uses an input or an attribute that came later."""
        given = [index for index, value in enumerate(node.inputs) if value is not None]
        if given and given[-1] >= old.inputs_range[1]:
            return f"opset {self.target} has no input number {given[-1] + 1} for it"
        for name in node.attributes:
            if name not in old.attributes and not self._is_default(node, name):
                return f"opset {self.target} has no {name} for it"
        return None

    def _is_default(self, node: ir.Node, name: str) -> bool:
        new = operator(node.op_type, self._before)
        rule = None if new is None else new.attributes.get(name)
        return rule is not None and bool(node.attributes[name].value == rule.default)

    def _drop_defaults(self, node: ir.Node) -> None:
        old = operator(node.op_type, self.target) if node.domain in STANDARD else None
        if old is not None:
            for name in [name for name in node.attributes if name not in old.attributes]:
                del node.attributes[name]


def _type_problem(node: ir.Node, old: Operator) -> str | None:
    """Whether an input has an element type that came later, or types differ that had to be one."""
    seen: dict[str, str] = {}
    for index, value in enumerate(node.inputs[: old.inputs_range[1]]):
        if value is None or value.dtype is None:
            continue
        formal = old.input(index)
        kind = f"tensor({value.dtype.name.lower()})"
        if kind not in formal.types and not any(each.startswith("seq") for each in formal.types):
            return f"its form of opset {old.since} takes no {value.dtype.name.lower()}"
        one = not (formal.option == "variadic" and not formal.homogeneous)
        if one and seen.setdefault(formal.kind, kind) != kind:
            return f"its form of opset {old.since} wants one element type"
    return None


def ir_version_of(opset: int) -> int:
    """The oldest version of the file format that knows the opset, for the oldest readers."""
    return max(version for since, version in _IR_VERSIONS if since <= opset)


class LowerOpset11(LowerOpset):
    name: ClassVar[str] = "lower_opset_11"
    summary: ClassVar[str] = "the model is written for opset 11"
    target: ClassVar[int] = 11


class LowerOpset18(LowerOpset):
    name: ClassVar[str] = "lower_opset_18"
    summary: ClassVar[str] = "the model is written for opset 18"
    target: ClassVar[int] = 18
