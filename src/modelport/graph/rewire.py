"""What every edit does to the graph around it: who reads what, which names stay, what falls away."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import onnx_ir as ir

from modelport.errors import GraphError
from modelport.graph import provenance
from modelport.graph.new_nodes import Read, free_name
from modelport.graph.scope import all_values, ancestors, is_read, reads, with_nested


def graph_of(thing: ir.Value | ir.Node) -> ir.Graph:
    """The graph or subgraph that holds a value or node."""
    graph = thing.graph
    if not isinstance(graph, ir.Graph):
        raise GraphError(f"{thing.name!r} lies in no graph that can be edited")
    return graph


def place_after(source: ir.Value, node: ir.Node) -> None:
    """Behind what makes the value. What else the node needs may come later: the order is restored."""
    graph, producer = graph_of(source), source.producer()
    if producer is not None:
        graph.insert_after(producer, node)
    elif len(graph):
        graph.insert_before(graph[0], node)
    else:
        graph.append(node)
    graph.sort()


def read_instead(heir: ir.Value, value: ir.Value) -> None:
    """All nodes that read the value read the heir."""
    for use in list(value.uses()):
        use.node.replace_input_with(use.idx, heir)


def give_instead(model: ir.Model, heir: ir.Value, value: ir.Value) -> None:
    """Where the value was an output, the heir is, under the same name."""
    if not value.is_graph_output():
        return
    graph = graph_of(value)
    if heir.producer() is None or heir.is_graph_output() or heir.graph is not graph:
        heir = _copied(model, heir, value, graph)
    for index, output in enumerate(graph.outputs):
        if output is value:
            graph.outputs[index] = heir
    if value.producer() is not None:  # else it is an input too, which keeps its name
        swap_names(heir, value)


def _copied(model: ir.Model, source: ir.Value, like: ir.Value, graph: ir.Graph) -> ir.Value:
    """An Identity: inputs, weights and other outputs cannot change their names."""
    node = ir.Node("", "Identity", [source], num_outputs=1)
    node.name = free_name(f"{like.name}/Identity", {n.name for n in model.graph.all_nodes()})
    producer = like.producer()
    provenance.inherit(node, [] if producer is None else [producer])
    graph.append(node)
    (copy,) = node.outputs
    copy.type, copy.shape = like.type, like.shape
    copy.name = free_name(f"{like.name}_identity", {v.name for v in all_values(model.graph)})
    return copy


def swap_names(one: ir.Value, other: ir.Value) -> None:
    first, second = one.name, other.name
    one.name = None
    other.name = first
    one.name = second


def drop(nodes: Iterable[ir.Node]) -> None:
    """Removes nodes whose results nothing reads, and what only they needed."""
    left = list(nodes)
    while left:
        node = left.pop()
        if node.graph is None:
            continue
        needed = reads(node)
        graph_of(node).remove(node)
        for inner in with_nested([node]):
            for index in range(len(inner.inputs)):
                inner.replace_input_with(index, None)
        left += drop_unread(needed)


def drop_unread(values: Iterable[ir.Value]) -> list[ir.Node]:
    """Removes those that are weights and unread; returns the nodes that made others for nobody else."""
    idle = []
    for value in values:
        node = value.producer()
        if is_read(value) or value.graph is None:
            continue
        if node is not None:
            if not any(is_read(result) for result in node.outputs):
                idle.append(node)
        elif value.is_initializer() and not value.is_graph_input():
            del graph_of(value).initializers[value.name or ""]
    return idle


def demand_independent(
    given: Sequence[Read], results: Sequence[ir.Value], what: str, *, may_be: bool = False
) -> None:
    """Raises GraphError where an input of a new node is computed from what that node gives.

    Args:
        may_be: whether the inputs may be among the results themselves.
    """
    below = set(results)
    for value in given:
        if not isinstance(value, ir.Value) or (may_be and value in below):
            continue
        made = {result for node in ancestors([value]) for result in node.outputs}
        if below & (made | {value}):
            raise GraphError(
                f"{value.name!r} is computed from what {what} would give",
                expected="inputs that do not depend on it",
            )
