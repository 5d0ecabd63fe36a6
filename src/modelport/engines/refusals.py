"""Says before a conversion which operators of a graph an engine lacks, where they are, and what helps."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from modelport.engines.base import because
from modelport.errors import EngineError
from modelport.graph import operators, provenance
from modelport.passes import PASSES

if TYPE_CHECKING:
    import onnx_ir as ir

    from modelport.engines.base import Engine

_QUOTED = re.compile(r"['\"`]([^'\"`\s]+)['\"`]")


def demand_operators(engine: Engine, model: ir.Model) -> None:
    """Of the standard domain only: other domains may have a library, which the engine will look for.

    Raises:
        EngineError: naming every operator that is lacking, with the module of its first node.
    """
    lacking = list(_lacking(engine, model))
    if not lacking:
        return
    names = [node.op_type for node, _ in lacking]
    told = "; ".join(
        f"{node.op_type} (in {provenance.describe(node)}){because(reason)}"
        for node, reason in lacking
    )
    raise EngineError(
        f"{engine.name} failed while compiling: it lacks {', '.join(names)}. {told}",
        hint=_help(names)
        or f"Compose it of operators that {engine.name} takes (docs/operators.md "
        "lists them) with a rewrite or a function, or choose another engine",
        module_path=provenance.module_of(lacking[0][0]) or None,
    )


def _lacking(engine: Engine, model: ir.Model) -> Iterator[tuple[ir.Node, str]]:
    """The first node of each operator that is lacking, with the reason."""
    opset = model.graph.opset_imports.get("", 0)
    seen: set[str] = set()
    own = operators.declared(model, engine.name)
    for node in model.graph.all_nodes():
        if node.domain not in ("", "ai.onnx") or node.op_type in seen:
            continue
        seen.add(node.op_type)
        reason = engine.rules.lacks(node.op_type, "", opset)
        if reason is not None and node.op_identifier() not in model.functions and not own:
            yield node, reason


@contextmanager
def telling_where(model: ir.Model) -> Iterator[None]:
    """Adds to an engine's refusal the modules of what it names: operators, or nodes in quotes."""
    try:
        yield
    except EngineError as error:
        if not error.module_path and (nodes := _named(error, model)):
            placed = [node for node in nodes if provenance.module_of(node)]
            error.module_path = provenance.module_of(placed[0]) if placed else None
            if len(placed) > 1:
                told = "; ".join(f"{n.op_type} is in {provenance.module_of(n)}" for n in placed)
                error.seen = f"{error.seen.rstrip('.')}. {told}"
            error.hint = _help([node.op_type for node in nodes]) or error.hint
        raise


def _named(error: EngineError, model: ir.Model) -> list[ir.Node]:
    """The first node of each operator that the error names; else nodes and values that it quotes."""
    nodes = list(model.graph.all_nodes())
    first = {node.op_type: node for node in reversed(nodes)}
    if found := [first[name] for name in dict.fromkeys(error.operators) if name in first]:
        return found
    quoted = set(_QUOTED.findall(error.seen))
    called = (
        n for n in nodes if quoted & {n.name, *(value.name for value in n.outputs)} - {None, ""}
    )
    return list({node.op_type: node for node in reversed(list(called))}.values())[::-1]


def _help(names: list[str]) -> str | None:
    """Passes that make other operators of these."""
    found = [name for name in PASSES if any(each in PASSES.get(name).takes_apart for each in names)]
    return f"Run first: modelport optimize --also {','.join(found)}" if found else None
