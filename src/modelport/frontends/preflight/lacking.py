"""Which operators of the exported graph a chosen engine lacks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import onnx_ir as ir
import torch

from modelport.engines import ENGINES
from modelport.engines.base import because
from modelport.frontends.explain import quiet
from modelport.frontends.preflight.exporting import Attempt, failure
from modelport.frontends.preflight.finding import Finding, finding
from modelport.frontends.preflight.places import Places
from modelport.graph import provenance

STANDARD = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")
"""Domains that are nobody's own: a library of a user's operators says nothing of them."""


def lacking(
    attempted: Attempt,
    places: Places,
    engines: Sequence[str],
    opset: int,
    libraries: Mapping[str, Sequence[str]],
) -> Iterator[Finding]:
    """One finding for each operator, place and engine.

    Args:
        libraries: of operators, by engine; what is of a domain of its own is taken to be in them.
    """
    try:
        model = _translated(attempted, opset)
    except Exception as error:
        yield failure(error, places)[0]
        return
    provenance.adopt_torch_metadata(model)
    functions = {(function.domain, function.name) for function in model.functions.values()}
    for node in _on_the_way(model):
        if (node.domain, node.op_type) in functions:
            continue
        for name in engines:
            if node.domain not in STANDARD and libraries.get(name):
                continue
            reason = ENGINES.get(name).rules.lacks(node.op_type, node.domain, opset)
            if reason is not None:
                place = places.of_line(
                    node.metadata_props.get(provenance.LINE), provenance.module_of(node)
                )
                yield finding(
                    "engine-lacks",
                    "error",
                    f"{name} lacks the operator {node.op_type}{because(reason)}",
                    f"Compose it of operators that {name} takes, or choose another engine",
                    place,
                )


def _translated(attempted: Attempt, opset: int) -> ir.Model:
    assert attempted.program is not None
    with quiet():
        written = torch.onnx.export(
            attempted.program,
            dynamo=True,
            opset_version=opset,
            custom_translation_table={**attempted.translations} or None,
            optimize=False,
            verbose=False,
        )
    assert written is not None
    return written.model


def _on_the_way(model: ir.Model) -> Iterator[ir.Node]:
    """Nodes that depend on an input; the others are computed once, before an engine sees them."""
    moving = set(model.graph.inputs)
    for node in model.graph:
        inner = [graph for a in node.attributes.values() for graph in _graphs(a)]
        if inner or any(value in moving for value in node.inputs):
            moving.update(node.outputs)
            yield node
        for graph in inner:
            yield from graph.all_nodes()


def _graphs(attribute: ir.Attr) -> list[ir.Graph]:
    if attribute.type == ir.AttributeType.GRAPH:
        return [attribute.as_graph()]
    return list(attribute.as_graphs()) if attribute.type == ir.AttributeType.GRAPHS else []
