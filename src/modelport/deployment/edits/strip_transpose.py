"""Leaves trailing transposes to the decode step, which reads either order.

Before:
    head = Transpose <perm = [0, 2, 1]> (columns)       # task parameters: arrangement = rows

After:
    head = columns                                      # task parameters: arrangement = columns

The decode step looks at few rows; a transpose in the graph copies all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir

from modelport.deployment.edits.base import Draft, Edit, Edited
from modelport.deployment.edits.outputs import output_at, settled, strip, strip_problem
from modelport.passes.matching import producer
from modelport.runtime.decoding.detection_parameters import HeadParameters
from modelport.runtime.decoding.head_parts import Part
from modelport.types import Outputs

_BEFORE = {"rows": ((0, 2, 1), "columns"), "maps_last": ((0, 2, 3, 1), "maps")}
"""What a transpose makes, of which order, and what stands before it."""

_PARTS = ("boxes", "scores", "objectness", "labels")


class StripTranspose(Edit):
    name: ClassVar[str] = "strip_transpose"
    summary: ClassVar[str] = "transposes before a detector's outputs are left to the decode step"

    def refuses(self, draft: Draft) -> str | None:
        how = settled(draft)
        if not isinstance(how, HeadParameters):
            return f"the task {draft.source.task} finds no objects in rows"
        found = list(_outputs(draft.model.graph, how))
        if not found:
            return "no output stands in rows or in maps with channels last"
        for output, arrangement in found:
            last = None if output is None else producer(output, "Transpose")
            if output is None or last is None or _perm(last) != _BEFORE[arrangement][0]:
                name = "?" if output is None else output.name
                return f"the output {name!r} does not come from a Transpose to {arrangement}"
            problem = strip_problem(output, last)
            if problem is not None:
                return problem
        return None

    def apply(self, draft: Draft) -> Edited:
        how, graph = settled(draft), draft.model.graph
        perms: dict[str, tuple[int, ...]] = {}
        for output, _ in list(_outputs(graph, how)):
            last = None if output is None else producer(output, "Transpose")
            if output is not None and last is not None:
                perms[output.name or ""] = _perm(last)
                strip(graph, output, [last])
        source = replace(draft.source, parameters=_rearranged(how))

        def transposed(outputs: Outputs) -> Outputs:
            turned = {name: np.transpose(outputs[name], perm) for name, perm in perms.items()}
            return {**outputs, **turned}

        return Edited(Draft(draft.model, source), outputs=transposed)


def _parts(how: HeadParameters) -> Iterator[Part]:
    for name in _PARTS:
        part = getattr(how, name)
        if part is not None:
            yield from part if isinstance(part, tuple) else (part,)


def _outputs(graph: ir.Graph, how: HeadParameters) -> Iterator[tuple[ir.Value | None, str]]:
    """Each output once that stands in an order which a transpose may have made."""
    seen = set()
    for part in _parts(how):
        arrangement = part.arrangement or how.arrangement
        names = part.output if isinstance(part.output, tuple) else (part.output,)
        for name in names:
            output = output_at(graph, name)
            if arrangement in _BEFORE and output not in seen:
                seen.add(output)
                yield output, arrangement


def _perm(node: ir.Node) -> tuple[int, ...]:
    return tuple(node.attributes.get_ints("perm", ()) or ())


def _rearranged(how: HeadParameters) -> dict[str, Any]:
    """The parameters, each part with the order that stands there now."""
    values: dict[str, Any] = how.model_dump(mode="json")
    for name in _PARTS:
        if values.get(name) is not None:
            parts = values[name] if isinstance(values[name], list) else [values[name]]
            for part in parts:
                arrangement = part["arrangement"] or how.arrangement
                part["arrangement"] = _BEFORE.get(arrangement, (None, arrangement))[1]
    return values
