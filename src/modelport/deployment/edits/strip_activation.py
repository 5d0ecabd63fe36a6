"""Leaves the last Softmax or LogSoftmax of a classifier to the decode step.

Before:
    y = Softmax <axis = -1> (scores)        # task parameters: scores = probabilities

After:
    y = scores                              # task parameters: scores = logits

The predictor's answers stay the same up to rounding; engines run one node less, and int8 keeps the
resolution that a softmax squeezes into its few large values.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np

from modelport.deployment.edits.base import Draft, Edit, Edited
from modelport.passes.matching import producer
from modelport.types import Array, Outputs

_TASK = "classification"
_CLASSES_RANK = 2


class StripActivation(Edit):
    name: ClassVar[str] = "strip_activation"
    summary: ClassVar[str] = "the last Softmax of a classifier is left to the decode step"

    def refuses(self, draft: Draft) -> str | None:
        if draft.source.task != _TASK:
            return (
                f"the task {draft.source.task} gives scores as they are; only {_TASK} decodes them"
            )
        output = draft.model.graph.outputs[0]
        last = producer(output, "Softmax", "LogSoftmax")
        if last is None:
            return f"the output {output.name!r} does not come from a Softmax"
        if last.op_type == "Softmax" and draft.source.parameters.get("scores") != "probabilities":
            return "the task takes the result of the Softmax for logits: set scores=probabilities"
        rank = None if output.shape is None else len(output.shape)
        if rank != _CLASSES_RANK or last.attributes.get_int("axis", -1) not in (-1, 1):
            return "the Softmax does not run over the classes of a row"
        if output.uses():
            return "the graph itself reads the result of the Softmax too"
        scores = last.inputs[0]
        if scores is None or scores.producer() is None or scores.is_graph_output():
            return "the scores are an input or an output themselves"
        return None

    def apply(self, draft: Draft) -> Edited:
        graph = draft.model.graph
        output = graph.outputs[0]
        last = producer(output, "Softmax", "LogSoftmax")
        assert last is not None
        scores, name = last.inputs[0], output.name
        assert scores is not None
        scores.type, scores.shape = scores.type or output.type, scores.shape or output.shape
        graph.outputs[0] = scores
        graph.remove(last, safe=True)
        scores.name = name
        parameters = {**draft.source.parameters, "scores": "logits"}
        logarithm = last.op_type == "LogSoftmax"

        def activated(outputs: Outputs) -> Outputs:
            return {**outputs, name or "": _softmax(outputs[name or ""], logarithm)}

        source = replace(draft.source, parameters=parameters)
        return Edited(Draft(draft.model, source), outputs=activated)


def _softmax(scores: Array, logarithm: bool) -> Array:
    wide = scores.astype(np.float64)
    shifted = wide - wide.max(axis=-1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    found: Array = (logs if logarithm else np.exp(logs)).astype(scores.dtype)
    return found
