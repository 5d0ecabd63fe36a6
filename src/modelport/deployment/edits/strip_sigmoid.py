"""Leaves the sigmoid over a detector's scores to the decode step.

Before:
    scores = Sigmoid (logits)               # task parameters: activation = none

After:
    scores = logits                         # task parameters: activation = sigmoid

The decode step turns its threshold round: it compares logits with the logit of the threshold, and takes
the sigmoid of the few scores that pass. Of a hundred thousand scores that is a handful.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from modelport.deployment.edits.base import Draft, Edit, Edited
from modelport.deployment.edits.outputs import output_at, settled, strip, strip_problem
from modelport.passes.matching import producer
from modelport.runtime.decoding.detection_parameters import HeadParameters
from modelport.types import Outputs


class StripSigmoid(Edit):
    name: ClassVar[str] = "strip_sigmoid"
    summary: ClassVar[str] = "the sigmoid over a detector's scores is left to the decode step"

    def refuses(self, draft: Draft) -> str | None:
        how = settled(draft)
        if not isinstance(how, HeadParameters):
            return f"the task {draft.source.task} finds no objects by their scores"
        if how.activation != "none":
            return f"the decode step takes the {how.activation} of the scores itself"
        part = how.scores
        if isinstance(part.output, tuple) or part.first or part.count is not None:
            return "the scores are no output of their own"
        output = output_at(draft.model.graph, part.output)
        last = None if output is None else producer(output, "Sigmoid")
        if output is None or last is None:
            return "the scores do not come from a Sigmoid"
        return strip_problem(output, last)

    def apply(self, draft: Draft) -> Edited:
        how = settled(draft)
        output = _scores(draft, how)
        last = producer(output, "Sigmoid")
        assert last is not None
        name = output.name or ""
        before = last.inputs[0]
        assert before is not None
        before.type, before.shape = before.type or output.type, before.shape or output.shape
        strip(draft.model.graph, output, [last])
        parameters = {**how.model_dump(mode="json"), "activation": "sigmoid"}

        def activated(outputs: Outputs) -> Outputs:
            logits = outputs[name].astype(np.float64)
            shares = 1 / (1 + np.exp(-logits))
            return {**outputs, name: shares.astype(outputs[name].dtype)}

        return Edited(
            Draft(draft.model, replace(draft.source, parameters=parameters)), outputs=activated
        )


def _scores(draft: Draft, how: HeadParameters) -> ir.Value:
    assert not isinstance(how.scores.output, tuple)
    output = output_at(draft.model.graph, how.scores.output)
    assert output is not None
    return output
