"""What nodes read and give: inputs, values that subgraphs take from around them, borders of regions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

import onnx_ir as ir

_HOLDS_GRAPHS = frozenset({ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS})


def subgraphs(node: ir.Node) -> Iterator[ir.Graph]:
    # `data` is the plain dictionary: views of the mapping cost ten times as much, on every node
    for attribute in node.attributes.data.values():
        if attribute.type not in _HOLDS_GRAPHS or attribute.is_ref():
            continue
        if attribute.type == ir.AttributeType.GRAPH:
            yield attribute.as_graph()
        else:
            yield from attribute.as_graphs()


def graphs_of(model: ir.Model) -> list[ir.Graph]:
    """The graph and all subgraphs, outer before inner, as they are now.

    `ir.Model.graphs` gives the same and asks every attribute of every node in three ways; passes go
    through a graph a hundred times.
    """
    found = [model.graph]
    for graph in found:  # grows while it is read
        found += [inner for node in graph for inner in subgraphs(node)]
    return found


def nodes_of(model: ir.Model) -> list[ir.Node]:
    """Every node, those of a subgraph after the node that holds it."""
    return list(_nodes(model.graph))


def _nodes(graph: ir.Graph) -> Iterator[ir.Node]:
    for node in graph:
        yield node
        for inner in subgraphs(node):
            yield from _nodes(inner)


def reads(node: ir.Node) -> list[ir.Value]:
    """The values that a node needs, each once: its inputs, and what its subgraphs take from outside."""
    found = dict.fromkeys(value for value in node.inputs if value is not None)
    for graph in subgraphs(node):
        found.update(dict.fromkeys(_captured(graph)))
    return list(found)


def _captured(graph: ir.Graph) -> Iterator[ir.Value]:
    own = {*graph.inputs, *graph.initializers.values()}
    own.update(value for node in graph for value in node.outputs)
    needed = [value for node in graph for value in reads(node)]
    yield from (value for value in [*needed, *graph.outputs] if value not in own)


def with_nested(nodes: Iterable[ir.Node]) -> set[ir.Node]:
    """The nodes, and all in their subgraphs."""
    found: set[ir.Node] = set()
    for node in nodes:
        found.add(node)
        for graph in subgraphs(node):
            found |= with_nested(graph)
    return found


def is_read(value: ir.Value) -> bool:
    return bool(value.uses()) or value.is_graph_output()


def is_constant(value: ir.Value) -> bool:
    """Whether no feed can change it: an initializer that is no input, or what a Constant node gives."""
    if value.is_graph_input():
        return False
    node = value.producer()
    return value.is_initializer() or (node is not None and node.op_type == "Constant")


def border(nodes: Collection[ir.Node]) -> tuple[list[ir.Value], list[ir.Value]]:
    """What a region takes from outside, weights included, and what of it is read outside.

    Both in the order in which the nodes stand.
    """
    inside = with_nested(nodes)
    made = {value for node in nodes for value in node.outputs}
    takes = dict.fromkeys(value for node in nodes for value in reads(node) if value not in made)
    gives = [
        value
        for node in nodes
        for value in node.outputs
        if value.is_graph_output() or any(use.node not in inside for use in value.uses())
    ]
    return list(takes), gives


def ancestors(values: Iterable[ir.Value], stop: Collection[ir.Value] = ()) -> set[ir.Node]:
    """The nodes of the graph that those values need; what `stop` names is given, not computed."""
    found: set[ir.Node] = set()
    left = [value for value in values if value not in stop]
    while left:
        node = left.pop().producer()
        if node is not None and node not in found:
            found.add(node)
            left += [value for value in reads(node) if value not in stop]
    return found


def in_order(graph: ir.Graph | ir.Function, nodes: Collection[ir.Node]) -> list[ir.Node]:
    return [node for node in graph if node in nodes]


def all_values(graph: ir.Graph) -> Iterator[ir.Value]:
    """Every value of a graph and of its subgraphs, in an order that depends on the structure alone."""
    yield from graph.inputs
    yield from (value for value in graph.initializers.values() if not value.is_graph_input())
    for node in graph:
        yield from node.outputs
        for each in subgraphs(node):
            yield from all_values(each)
