"""Libraries with kernels for operators of other domains, noted on a graph while it is in memory.

They go into what is never saved, so that no file has a path of the machine that made it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from modelport.graph import provenance
from modelport.graph.scope import nodes_of

KEY = "modelport.operators"

_KNOWN_DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "com.microsoft")


def declare(model: ir.Model, libraries: Mapping[str, Sequence[str]]) -> None:
    """Notes the libraries, by engine: paths of files, or names of packages that have one."""
    if libraries:
        model.graph.meta[KEY] = {engine: tuple(names) for engine, names in libraries.items()}


def inherit(heir: ir.Model, model: ir.Model) -> None:
    """Notes on a graph that was made anew what was noted on the one before."""
    if KEY in model.graph.meta:
        heir.graph.meta[KEY] = model.graph.meta[KEY]


def declared(model: ir.Model, engine: str) -> tuple[str, ...]:
    """The libraries for that engine."""
    found: dict[str, tuple[str, ...]] = model.graph.meta.get(KEY, {})
    return found.get(engine, ())


def foreign(model: ir.Model) -> list[ir.Node]:
    """One node for each operator that neither ONNX nor a function of the model explains."""
    found: dict[tuple[str, str], ir.Node] = {}
    for node in nodes_of(model):
        if node.domain not in _KNOWN_DOMAINS and node.op_identifier() not in model.functions:
            found.setdefault((node.domain, node.op_type), node)
    return list(found.values())


def lacking(model: ir.Model, engine: str) -> tuple[str, str] | None:
    """What an engine without a library for it cannot know, and what to do; None where all is known."""
    nodes = foreign(model)
    if not nodes:
        return None
    names = ", ".join(f"{n.domain}::{n.op_type} (in {provenance.describe(n)})" for n in nodes)
    given = "of the given libraries" if declared(model, engine) else "and none was given"
    return (
        f"{engine} has no kernel for {names} {given}",
        f'Say what it means with way="function", or hand over a library: operators={{"{engine}": '
        "[...]}",
    )
