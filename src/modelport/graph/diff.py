"""What differs between two graphs: signature, opsets, nodes by module, attributes, weights."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from modelport.graph import provenance
from modelport.graph.describe import attributes_of
from modelport.graph.query import operator_counts, operator_of
from modelport.graph.scope import subgraphs
from modelport.types import Array


@dataclass(frozen=True)
class NodeChange:
    """A node of the first graph and the one at its place in the second.

    Attributes:
        what: what differs, each as `name: before -> after`.
    """

    module: str
    name: str
    operator: str
    what: tuple[str, ...]


@dataclass(frozen=True)
class WeightChange:
    """Attributes:
    max_difference: largest absolute difference; None where shapes or element types differ, or the
        elements are no numbers.
    """

    name: str
    before: str
    after: str
    max_difference: float | None


@dataclass(frozen=True)
class Difference:
    """What changes from one graph to another. Names of nodes and of values between them do not count.

    Attributes:
        signature: inputs and outputs as `kind name: before -> after`; None stands for none.
        operators: counts before and after, of those that differ.
        added, removed: nodes by the path of their module.
    """

    signature: tuple[str, ...] = ()
    opsets: tuple[str, ...] = ()
    operators: dict[str, tuple[int, int]] = field(default_factory=dict)
    added: dict[str, list[str]] = field(default_factory=dict)
    removed: dict[str, list[str]] = field(default_factory=dict)
    changed: tuple[NodeChange, ...] = ()
    weights_added: tuple[str, ...] = ()
    weights_removed: tuple[str, ...] = ()
    weights_changed: tuple[WeightChange, ...] = ()
    functions: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        return not any(vars(self).values())

    def to_json(self) -> dict[str, Any]:
        return {"equal": self.is_empty, **asdict(self)}


def diff(before: ir.Model, after: ir.Model) -> Difference:
    """Compares two graphs.

    Nodes are matched by name within their module, then by the order of operators in it.
    """
    pairs, removed, added = _matched(before.graph, after.graph)
    one, other = _weights(before), _weights(after)
    common = [name for name in one if name in other]
    return Difference(
        signature=tuple(_signature(before, after)),
        opsets=tuple(_opsets(before, after)),
        operators=_counts(before, after),
        added=_by_module(added),
        removed=_by_module(removed),
        changed=tuple(_changes(pairs)),
        weights_added=tuple(name for name in other if name not in one),
        weights_removed=tuple(name for name in one if name not in other),
        weights_changed=tuple(
            change for n in common if (change := _weight_change(n, one[n], other[n])) is not None
        ),
        functions=tuple(_functions(before, after)),
    )


def _signature(before: ir.Model, after: ir.Model) -> Iterator[str]:
    for kind, one, other in (
        ("input", _callers(before), _callers(after)),
        ("output", before.graph.outputs, after.graph.outputs),
    ):
        old = {value.name: f"{value.type}{value.shape or ''}" for value in one}
        new = {value.name: f"{value.type}{value.shape or ''}" for value in other}
        for name in dict.fromkeys([*old, *new]):
            if old.get(name) != new.get(name):
                yield f"{kind} {name}: {old.get(name)} -> {new.get(name)}"
        if set(old) == set(new) and list(old) != list(new):
            yield f"order of {kind}s: {', '.join(map(str, old))} -> {', '.join(map(str, new))}"


def _callers(model: ir.Model) -> list[ir.Value]:
    return [value for value in model.graph.inputs if not value.is_initializer()]


def _opsets(before: ir.Model, after: ir.Model) -> Iterator[str]:
    one, other = before.opset_imports, after.opset_imports
    for domain in dict.fromkeys([*one, *other]):
        if one.get(domain) != other.get(domain):
            yield f"{domain or 'ai.onnx'}: {one.get(domain)} -> {other.get(domain)}"
    if before.ir_version != after.ir_version:
        yield f"IR version: {before.ir_version} -> {after.ir_version}"


def _counts(before: ir.Model, after: ir.Model) -> dict[str, tuple[int, int]]:
    one, other = operator_counts(before), operator_counts(after)
    return {
        name: (one.get(name, 0), other.get(name, 0))
        for name in sorted({*one, *other})
        if one.get(name, 0) != other.get(name, 0)
    }


def _by_module(nodes: Sequence[ir.Node]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for node in nodes:
        found[provenance.module_of(node)].append(f"{operator_of(node)} {node.name or ''}".strip())
    return dict(found)


Pairs = list[tuple[ir.Node, ir.Node]]


def _matched(before: ir.Graph, after: ir.Graph) -> tuple[Pairs, list[ir.Node], list[ir.Node]]:
    """Nodes that stand for each other, subgraphs included; those of the first, of the second alone."""
    pairs = _by_name(before, after)
    left = _groups(before, {node for node, _ in pairs})
    right = _groups(after, {node for _, node in pairs})
    for module in left:
        if module in right:
            pairs += _aligned(left[module], right[module])
    known = {node for pair in pairs for node in pair}
    removed = [node for node in before if node not in known]
    added = [node for node in after if node not in known]
    for one, other in list(pairs):
        for inner, outer in zip(subgraphs(one), subgraphs(other), strict=False):
            found = _matched(inner, outer)
            pairs += found[0]
            removed += found[1]
            added += found[2]
    return pairs, removed, added


def _by_name(before: ir.Graph, after: ir.Graph) -> Pairs:
    """Nodes of one name and operator; names that exporters number anew mean nothing, so the module too."""
    names = {_identity(node): node for node in after}
    found = ((node, names.get(_identity(node))) for node in before if node.name)
    return [(node, other) for node, other in found if other is not None]


def _identity(node: ir.Node) -> Hashable:
    return node.name, operator_of(node), provenance.module_of(node)


def _groups(graph: ir.Graph, known: set[ir.Node]) -> dict[str, list[ir.Node]]:
    found: dict[str, list[ir.Node]] = defaultdict(list)
    for node in graph:
        if node not in known:
            found[provenance.module_of(node)].append(node)
    return found


def _aligned(before: Sequence[ir.Node], after: Sequence[ir.Node]) -> Pairs:
    one, other = [operator_of(node) for node in before], [operator_of(node) for node in after]
    blocks = difflib.SequenceMatcher(None, one, other, autojunk=False).get_opcodes()
    pairs: Pairs = []
    for tag, start, end, first, last in blocks:
        if tag == "equal" or (tag == "replace" and end - start == last - first):
            pairs += zip(before[start:end], after[first:last], strict=True)
    return pairs


def _changes(pairs: Pairs) -> Iterator[NodeChange]:
    twin = dict(pairs)
    for one, other in pairs:
        what = [*_kind_changes(one, other), *_attribute_changes(one, other)]
        what += _input_changes(one, other, twin)
        if what:
            yield NodeChange(
                provenance.module_of(one), one.name or "", operator_of(one), tuple(what)
            )


def _kind_changes(one: ir.Node, other: ir.Node) -> list[str]:
    before, after = operator_of(one), operator_of(other)
    return [] if before == after else [f"operator: {before} -> {after}"]


def _attribute_changes(one: ir.Node, other: ir.Node) -> Iterator[str]:
    before, after = attributes_of(one), attributes_of(other)
    for name in dict.fromkeys([*before, *after]):
        if not _is_equal(one.attributes.get(name), other.attributes.get(name)):
            old, new = before.get(name), after.get(name)
            yield f"{name}: {old} -> {new if new != old else 'other contents'}"


def _is_equal(one: ir.Attr | None, other: ir.Attr | None) -> bool:
    """Whether attributes hold the same; graphs are compared node by node elsewhere."""
    if one is None or other is None or one.type != other.type or one.is_ref() != other.is_ref():
        return False
    if one.is_ref():
        return one.ref_attr_name == other.ref_attr_name
    if one.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS):
        return True
    if one.type == ir.AttributeType.TENSOR:
        return _weight_change("", one.as_tensor(), other.as_tensor()) is None
    return bool(one.value == other.value)


def _input_changes(one: ir.Node, other: ir.Node, twin: dict[ir.Node, ir.Node]) -> Iterator[str]:
    count = max(len(one.inputs), len(other.inputs))
    for index in range(count):
        before = one.inputs[index] if index < len(one.inputs) else None
        after = other.inputs[index] if index < len(other.inputs) else None
        if not _is_same(before, after, twin):
            yield f"input {index}: {_source(before)} -> {_source(after)}"


def _is_same(before: ir.Value | None, after: ir.Value | None, twin: dict[ir.Node, ir.Node]) -> bool:
    """Whether both come from the same place: the same output of twins, or by the same name."""
    if before is None or after is None:
        return before is after
    one, other = before.producer(), after.producer()
    if one is None or other is None:
        return one is other and before.name == after.name
    return twin.get(one) is other and one.outputs.index(before) == other.outputs.index(after)


def _source(value: ir.Value | None) -> str:
    if value is None:
        return "none"
    node = value.producer()
    return value.name or "?" if node is None else f"{node.name or node.op_type}"


def _weights(model: ir.Model) -> dict[str, ir.TensorProtocol]:
    return {
        name: value.const_value
        for graph in model.graphs()
        for name, value in graph.initializers.items()
        if value.const_value is not None
    }


def _weight_change(
    name: str, before: ir.TensorProtocol, after: ir.TensorProtocol
) -> WeightChange | None:
    kinds = [f"{tensor.dtype}{list(tensor.shape.numpy())}" for tensor in (before, after)]
    if kinds[0] != kinds[1]:
        return WeightChange(name, kinds[0], kinds[1], None)
    if before is after or before.tobytes() == after.tobytes():
        return None
    return WeightChange(name, kinds[0], kinds[1], _distance(before.numpy(), after.numpy()))


def _distance(before: Array, after: Array) -> float | None:
    try:
        one, other = before.astype(np.float64), after.astype(np.float64)
    except (TypeError, ValueError):  # text
        return None
    with np.errstate(invalid="ignore"):  # infinities that are equal
        apart = np.where(one == other, 0.0, np.abs(one - other))
    return float(np.max(apart[~(np.isnan(one) & np.isnan(other))], initial=0.0))


def _functions(before: ir.Model, after: ir.Model) -> Iterator[str]:
    for name in dict.fromkeys([*before.functions, *after.functions]):
        one, other = before.functions.get(name), after.functions.get(name)
        words = f"{name[0]}::{name[1]}"
        if one is None or other is None:
            yield f"{words}: {'added' if one is None else 'removed'}"
        elif ir.to_proto(one) != ir.to_proto(other):
            yield f"{words}: changed"
