"""Changes a graph in place: nodes inserted, replaced, bypassed, removed; names and attributes.

Nodes and values are named by selectors; see `modelport.graph.find`. Each function does the whole of its
work, or raises and leaves the graph as it is. What new nodes make of types and shapes is not known
before `retype.settle`, which checks the graph too. `recipe.apply` does both, on a copy.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import onnx_ir as ir

from modelport.errors import GraphError, UsageError
from modelport.graph import find, new_nodes, provenance
from modelport.graph.new_nodes import Given, Read
from modelport.graph.ports import demand_free
from modelport.graph.rewire import (
    demand_independent,
    drop,
    give_instead,
    graph_of,
    place_after,
    read_instead,
    swap_names,
)
from modelport.graph.scope import border, is_constant, with_nested


def insert_after(
    model: ir.Model,
    value: str,
    operator: str,
    *,
    inputs: Sequence[Given] = (),
    attributes: Mapping[str, Any] | None = None,
    name: str | None = None,
) -> ir.Node:
    """Puts a node behind a value: all that read the value read what the node gives.

    An output keeps its name, so that callers see the same signature.

    Args:
        operator: of ONNX, or of another domain as `com.microsoft::Gelu`.
        inputs: those after the first, which is the value: names of values, or numbers.
        name: of the node; by default one that is free.
    """
    source = find.value(model, value)
    new_nodes.check(model, operator, attributes, name)
    extra = new_nodes.read_inputs(model, inputs)
    demand_independent(extra, [source], f"a node behind {value!r}", may_be=True)
    near, uses = source.producer(), list(source.uses())
    node = new_nodes.make(model, operator, [source, *extra], attributes, name, like=source)
    provenance.inherit(node, [near] if near is not None else [use.node for use in uses][:1])
    (result,) = node.outputs
    result.type, result.shape = source.type, source.shape
    for use in uses:
        use.node.replace_input_with(use.idx, result)
    place_after(source, node)
    give_instead(model, result, source)
    return node


def insert_before(
    model: ir.Model,
    nodes: str,
    operator: str,
    *,
    input: int = 0,
    inputs: Sequence[Given] = (),
    attributes: Mapping[str, Any] | None = None,
    name: str | None = None,
) -> list[ir.Node]:
    """Puts a node between each selected node and what it reads there; other readers see nothing of it.

    Args:
        input: which input of the selected nodes, from 0.
        inputs: those of the new node after its first.
    """
    chosen = find.nodes(model, nodes)
    new_nodes.check(model, operator, attributes, name)
    extra = new_nodes.read_inputs(model, inputs)
    for node in chosen:
        if not 0 <= input < len(node.inputs) or node.inputs[input] is None:
            raise _error(node, f"has no input {input}", f"one of {len(node.inputs)}, from 0")
        demand_independent(extra, node.outputs, f"a node before {nodes!r}")
    return [_inserted(model, node, input, operator, extra, attributes, name) for node in chosen]


def _inserted(
    model: ir.Model,
    node: ir.Node,
    index: int,
    operator: str,
    extra: Sequence[Read],
    attributes: Mapping[str, Any] | None,
    name: str | None,
) -> ir.Node:
    source = node.inputs[index]
    assert source is not None
    new = new_nodes.make(model, operator, [source, *extra], attributes, name, like=source)
    provenance.inherit(new, [node])
    new.outputs[0].type, new.outputs[0].shape = source.type, source.shape
    node.replace_input_with(index, new.outputs[0])
    graph_of(node).insert_before(node, new)
    graph_of(node).sort()
    return new


def replace(
    model: ir.Model,
    nodes: str,
    operator: str,
    *,
    inputs: Sequence[Given] | None = None,
    attributes: Mapping[str, Any] | None = None,
    name: str | None = None,
) -> list[ir.Node]:
    """Puts one node in the place of each selected node, module or chain.

    Args:
        inputs: by default those of a single node, weights included; of a module what it takes from
            outside, weights left out.
        attributes: all that the new node has.
    """
    new_nodes.check(model, operator, attributes, name)
    plans = []
    for place in find.places(model, nodes):
        given, gives = _ends(model, place, nodes, inputs)
        demand_independent(given, gives, f"what replaces {nodes!r}")
        plans.append((place, given, gives))
    made = []
    for place, given, gives in plans:
        new = new_nodes.make(
            model, operator, given, attributes, name, like=gives[-1], outputs=len(gives)
        )
        provenance.inherit(new, place)
        graph_of(place[-1]).insert_after(place[-1], new)
        for heir, value in zip(new.outputs, gives, strict=True):
            heir.type, heir.shape = value.type, value.shape
            _succeed(model, heir, value)
        drop(place)
        graph_of(new).sort()
        made.append(new)
    return made


def _succeed(model: ir.Model, heir: ir.Value, value: ir.Value) -> None:
    """A new value stands for an old one in everything, its name included."""
    provenance.inherit_marks(heir, value)
    read_instead(heir, value)
    if value.is_graph_output():
        give_instead(model, heir, value)
    else:
        swap_names(heir, value)


def _ends(
    model: ir.Model, place: Sequence[ir.Node], selector: str, inputs: Sequence[Given] | None
) -> tuple[list[Read], list[ir.Value]]:
    """What a replacement reads, and the values that it must give."""
    _demand_one_graph(place, selector)
    takes, gives = border(place)
    if not gives:
        raise _error(place[-1], "gives nothing that anything reads", None, "Remove it")
    if inputs is not None:
        return new_nodes.read_inputs(model, inputs), gives
    if len(place) == 1:
        (node,) = place
        last = max(node.outputs.index(value) for value in gives)
        return list(node.inputs), list(node.outputs[: last + 1])  # an output has its position
    return [value for value in takes if not is_constant(value)], gives


def remove(model: ir.Model, nodes: str) -> None:
    """Removes nodes that nothing else reads, and what only they needed.

    Raises:
        GraphError: where something reads them.
    """
    chosen = find.nodes(model, nodes)
    inside = with_nested(chosen)
    for value in [value for node in chosen for value in node.outputs]:
        reader = next((use.node for use in value.uses() if use.node not in inside), None)
        node = value.producer()
        if node is None or (reader is None and not value.is_graph_output()):
            continue
        who = f"{provenance.describe(reader)!r} reads" if reader is not None else "callers see"
        raise _error(
            node,
            f"cannot be removed: {who} its result {value.name!r}",
            None,
            "Bypass it, or remove what reads it too",
        )
    drop(node for node in chosen if not _is_nested(node, chosen))


def _is_nested(node: ir.Node, chosen: Sequence[ir.Node]) -> bool:
    return any(node in with_nested([other]) for other in chosen if other is not node)


def bypass(model: ir.Model, nodes: str) -> None:
    """Takes nodes, modules or chains out of the way: what reads their result reads their input.

    Raises:
        GraphError: where a place has not one input and one output of the same type.
    """
    plans = [(place, *_way_through(place, nodes)) for place in _joined(find.places(model, nodes))]
    for place, source, result in plans:
        provenance.inherit_marks(source, result)
        read_instead(source, result)
        give_instead(model, source, result)
        drop(place)


def _way_through(place: Sequence[ir.Node], selector: str) -> tuple[ir.Value, ir.Value]:
    _demand_one_graph(place, selector)
    takes, gives = border(place)
    moving = [value for value in takes if not is_constant(value)]
    if len(gives) != 1 or len(moving) != 1:
        raise _error(
            place[-1],
            f"cannot be bypassed: {selector!r} takes {_names(moving)} and gives {_names(gives)}",
            "one value in and one out",
            "Replace it, or choose nodes with one way through them",
        )
    problem = mismatch(moving[0], gives[0])
    if problem:
        raise _error(place[-1], f"cannot be bypassed: {problem}", "equal types in and out")
    return moving[0], gives[0]


def _joined(places: Sequence[find.Place]) -> list[find.Place]:
    """Places that touch become one: the input of the second of two would fall away with the first."""
    joined: list[find.Place] = []
    for place in places:
        made = {value for node in place for value in node.outputs}
        read = {value for node in place for value in node.inputs}
        apart = []
        for other in joined:
            touches = any(_touches(node, made, read) for node in other)
            place = [*other, *place] if touches else place
            apart += [] if touches else [other]
        joined = [*apart, place]
    return joined


def _touches(
    node: ir.Node, made: Collection[ir.Value | None], read: Collection[ir.Value | None]
) -> bool:
    return any(value in made for value in node.inputs) or any(v in read for v in node.outputs)


def rename_node(model: ir.Model, node: str, to: str) -> None:
    """Gives one node another name."""
    chosen = find.nodes(model, node)
    if len(chosen) != 1:
        raise UsageError(f"{node!r} stands for {len(chosen)} nodes", expected="one")
    if any(other.name == to for other in model.graph.all_nodes() if other is not chosen[0]):
        raise UsageError(f"Another node is named {to!r} already", hint="Choose another name")
    chosen[0].name = to


def rename(model: ir.Model, value: str, to: str) -> None:
    """Gives a value another name: an input, an output, a weight, or one between nodes."""
    found = find.value(model, value)
    if to == found.name:
        return
    demand_free(model, to)
    if found.const_value is not None:
        found.const_value = named(found.const_value, to)
    ir.convenience.rename_values(found, to)


def named(tensor: ir.TensorProtocol, name: str) -> ir.TensorProtocol:
    """The tensor under another name; the one given may belong to another model too."""
    if isinstance(tensor, ir.ExternalTensor):
        return ir.ExternalTensor(
            tensor.location,
            tensor.offset,
            tensor.length,
            tensor.dtype,
            shape=ir.Shape(list(tensor.shape)),
            name=name,
            base_dir=tensor.base_dir,
        )
    shape = ir.Shape(tensor.shape.numpy())
    return ir.LazyTensor(lambda: tensor, dtype=tensor.dtype, shape=shape, name=name)


def set_attribute(model: ir.Model, nodes: str, name: str, value: Any) -> None:
    """Sets an attribute of every selected node."""
    made = [
        (node, new_nodes.attributes_of(model, node.op_type, node.domain, {name: value}))
        for node in find.nodes(model, nodes)
    ]
    for node, (attribute,) in made:
        node.attributes[name] = attribute


def remove_attribute(model: ir.Model, nodes: str, name: str) -> None:
    """Removes an attribute of every selected node, so that its default holds."""
    chosen = find.nodes(model, nodes)
    for node in chosen:
        if name not in node.attributes:
            known = ", ".join(node.attributes) or "none"
            raise _error(node, f"has no attribute {name!r}", f"one of its own: {known}")
    for node in chosen:
        del node.attributes[name]


def mismatch(one: ir.Value, other: ir.Value) -> str | None:
    """How what is known of two values differs, in words; None where one may stand for the other."""
    words = [f"{value.name!r} is {value.type}{value.shape or ''}" for value in (one, other)]
    told = f"{words[0]}, {words[1]}"
    if one.type is not None and other.type is not None and one.type != other.type:
        return told
    if one.shape is None or other.shape is None:
        return None
    if len(one.shape) != len(other.shape):
        return told
    pairs = zip(one.shape.dims, other.shape.dims, strict=True)
    return told if any(_differ(*pair) for pair in pairs) else None


def _differ(one: object, other: object) -> bool:
    return isinstance(one, int) and isinstance(other, int) and one != other


def _error(
    node: ir.Node, seen: str, expected: str | None = None, hint: str | None = None
) -> GraphError:
    return GraphError(
        f"The node {node.name or '?'!r} ({node.op_type}) {seen}",
        expected=expected,
        hint=hint,
        module_path=provenance.module_of(node) or None,
    )


def _names(values: Sequence[ir.Value]) -> str:
    return ", ".join(repr(value.name) for value in values[:6]) or "nothing"


def _demand_one_graph(place: Sequence[ir.Node], selector: str) -> None:
    if len({node.graph for node in place}) > 1:
        raise UsageError(
            f"{selector!r} has nodes inside and outside a branch or loop",
            hint="Name the node that holds the branch, or the nodes inside it alone",
        )
