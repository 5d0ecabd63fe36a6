"""Measures how large the values of a float graph become on calibration feeds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from modelport.engines import ENGINES
from modelport.engines.scratch import opened
from modelport.errors import QuantizationError
from modelport.graph import provenance
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


def extremes(
    model: ir.Model, names: Sequence[str], feeds: Sequence[Feeds]
) -> dict[str, tuple[float, float]]:
    """The smallest and the largest number of values outside subgraphs, by their names.

    Raises:
        QuantizationError: where a value is not finite on a feed; it names the value and its module.
    """
    watched = model.clone()
    graph = watched.graph
    values = {v.name: v for node in graph for v in node.outputs}
    for name in names:
        for operator in ("ReduceMin", "ReduceMax"):
            node = ir.node(operator, [values[name]], attributes={"keepdims": 0})
            out = node.outputs[0]
            out.name, out.type, out.shape = f"{name}/{operator}", values[name].type, ir.Shape(())
            out.type = out.type or ir.TensorType(ir.DataType.FLOAT)
            graph.append(node)
            graph.outputs.append(out)
    found: dict[str, tuple[float, float]] = {}
    with opened(ENGINES.get("onnxruntime"), watched, Target()) as session:
        for feed in feeds:
            results = session.run(feed)
            for name in names:
                low, high = (float(results[f"{name}/{o}"]) for o in ("ReduceMin", "ReduceMax"))
                if not math.isfinite(low + high):
                    raise _infinite(values[name], low, high)
                before = found.get(name, (low, high))
                found[name] = (min(low, before[0]), max(high, before[1]))
    return found


def _infinite(value: ir.Value, low: float, high: float) -> QuantizationError:
    maker = value.producer()
    module = None if maker is None else provenance.module_of(maker)
    return QuantizationError(
        f"{value.name} goes from {low:g} to {high:g} on the calibration data",
        expected="finite numbers, which int8 can divide into steps",
        hint="Look for calibration data that the model was not made for, or leave int8 out",
        module_path=module,
    )
