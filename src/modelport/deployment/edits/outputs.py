"""What edits at the end of a graph have in common."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from modelport.deployment.edits.base import Draft
from modelport.runtime.tasks import TASKS


def settled(draft: Draft) -> Any:
    """The task's parameters, defaults and presets filled in."""
    return TASKS.get(draft.source.task).parameters(draft.source.parameters)


def output_at(graph: ir.Graph, name: int | str | None) -> ir.Value | None:
    """An output by name or position, None for the first; None where there is no such output."""
    if name is None or isinstance(name, int):
        index = name or 0
        return graph.outputs[index] if index < len(graph.outputs) else None
    return next((value for value in graph.outputs if value.name == name), None)


def strip_problem(output: ir.Value, last: ir.Node) -> str | None:
    """Why the last node before an output cannot be taken away, or None."""
    before = last.inputs[0]
    if output.uses():
        return f"the graph itself reads {output.name!r} too"
    if before is None or before.producer() is None or before.is_graph_output():
        return f"what {last.op_type} gets is an input or an output itself"
    return None


def strip(graph: ir.Graph, output: ir.Value, nodes: list[ir.Node]) -> None:
    """Takes the last nodes before an output away; what the first of them got has its name then.

    Args:
        nodes: in a row, the last of which gives the output.
    """
    before, name = nodes[0].inputs[0], output.name
    assert before is not None
    graph.outputs[list(graph.outputs).index(output)] = before
    for node in reversed(nodes):
        graph.remove(node, safe=True)
    before.name = name
