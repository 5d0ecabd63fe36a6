"""Modules as functions of the graph, so that viewers show one block that opens for each module.

The result computes the same; engines take it like any model with functions.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from modelport.graph import find, invariants, provenance, retype
from modelport.graph.rewire import swap_names
from modelport.graph.scope import ancestors, border, with_nested

DOMAIN = "modelport.modules"
_FUNCTIONS = 8
"""The IR version that brought functions."""


def group(model: ir.Model) -> tuple[ir.Model, list[str]]:
    """A copy in which every module of two nodes or more is one call of a function named by its path.

    Functions hold the calls of the modules inside them. Weights are inputs of the calls.

    Returns:
        The copy, and the paths of modules that could not become one call, since something between
        their nodes belongs to another module.
    """
    copy = retype.copy_of(model)
    left_out = []
    paths = sorted(find.module_paths(copy), key=lambda path: (-path.count("."), path))
    for path in paths:
        nodes = [n for n in copy.graph if find.is_below(provenance.module_of(n), path)]
        if len(nodes) < 2:
            continue
        if _is_interleaved(nodes):
            left_out.append(path)
        elif border(nodes)[1]:
            _fold(copy, path, nodes)
    if copy.functions:
        copy.ir_version = max(copy.ir_version, _FUNCTIONS)
    copy.graph.sort()
    invariants.check(copy)
    return copy, sorted(left_out)


def _is_interleaved(nodes: Sequence[ir.Node]) -> bool:
    """Whether a way leads out of the nodes and back in: as one call they would need themselves."""
    inside = set(nodes)
    takes, _ = border(nodes)
    return bool(ancestors(takes) & inside)


def _fold(model: ir.Model, path: str, nodes: Sequence[ir.Node]) -> None:
    takes, gives = border(nodes)
    overload = DOMAIN, path, ""
    function = ir.Function(DOMAIN, path, graph=_body(model, takes, gives, nodes), attributes=())
    model.functions[overload] = function
    model.opset_imports[DOMAIN] = 1
    call = ir.Node(DOMAIN, path, takes, num_outputs=len(gives), name=path)
    call.metadata_props[provenance.MODULE] = path
    graph = model.graph
    inside = with_nested(nodes)
    graph.insert_after(nodes[-1], call)
    for heir, value in zip(call.outputs, gives, strict=True):
        heir.type, heir.shape = value.type, value.shape
        provenance.inherit_marks(heir, value)
        for use in [use for use in value.uses() if use.node not in inside]:
            use.node.replace_input_with(use.idx, heir)
        for index, output in enumerate(graph.outputs):
            if output is value:
                graph.outputs[index] = heir
        swap_names(heir, value)
    graph.remove(nodes)
    for node in inside:
        for index in range(len(node.inputs)):
            node.replace_input_with(index, None)
    graph.sort()


def _body(
    model: ir.Model,
    takes: Sequence[ir.Value],
    gives: Sequence[ir.Value],
    nodes: Sequence[ir.Node],
) -> ir.Graph:
    domains = {node.domain for node in with_nested(nodes)}
    imports = {name: v for name, v in model.opset_imports.items() if name in {*domains, ""}}
    body = ir.GraphView(takes, gives, nodes=nodes, opset_imports=imports, name=None).clone()
    retype.unshare(body)
    for value in body.inputs:
        value.const_value = None
    return body
