"""Brings a graph down to the opset that the toolkit reads, for callers that have not done so."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from modelport.errors import EngineError
from modelport.passes import PASSES


def lowered(model: ir.Model, newest: int, passes: Sequence[str]) -> ir.Model:
    """The graph itself where it is old enough, else a copy.

    Raises:
        EngineError: naming what has no older form.
    """
    if (model.opset_imports.get("") or 0) <= newest:
        return model
    copy, held = model.clone(), list[str]()
    for name in ("infer_shapes", *passes):
        step = PASSES.get(name)
        step(copy)
        held += [f"{refusal.where}: {refusal.reason}" for refusal in step.refusals]
    found = copy.opset_imports.get("") or 0
    if found > newest:
        raise EngineError(
            f"rknn failed while compiling: it reads opset {newest} at most, and the graph is of opset "
            f"{found}. {'; '.join(dict.fromkeys(held))}",
            hint="Compose what is named of older operators with a rewrite, or choose another engine",
        )
    return copy
