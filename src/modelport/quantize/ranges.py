"""Measures how large the values of a float graph become on calibration feeds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from modelport.engines import ENGINES
from modelport.engines.scratch import opened
from modelport.passes import PASSES
from modelport.types import Feeds, Target


def largest_values(model: ir.Model, feeds: Sequence[Feeds]) -> dict[str, float]:
    """The largest magnitude of every float32 value outside subgraphs: inputs first, then by node."""
    watched = model.clone()
    PASSES.get("infer_shapes")(watched)
    outputs = watched.graph.outputs
    for node in watched.graph:
        outputs.extend(v for v in node.outputs if _can_be_output(v) and v not in outputs)
    names = [v.name or "" for v in outputs if v.dtype == ir.DataType.FLOAT]
    found: dict[str, float] = {}
    with opened(ENGINES.get("onnxruntime"), watched, Target()) as session:
        for feed in feeds:
            results = session.run(feed)
            given = {name: array for name, array in feed.items() if array.dtype == np.float32}
            for name, array in {**given, **{name: results[name] for name in names}}.items():
                if array.size:
                    found[name] = max(found.get(name, 0.0), float(np.abs(array).max()))
    return found


def _can_be_output(value: ir.Value) -> bool:
    known = value.name and value.shape is not None and value.dtype == ir.DataType.FLOAT
    return bool(known) and not value.is_graph_output()
