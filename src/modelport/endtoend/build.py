"""Transforms, model and decode step in one graph."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import onnx_ir as ir

from modelport.endtoend import steps
from modelport.endtoend.answers import ANSWERS
from modelport.endtoend.canvas import Canvas
from modelport.errors import UsageError
from modelport.frontends.network import Network, Tensor
from modelport.graph.query import signature_of
from modelport.runtime.tasks import TASKS
from modelport.runtime.transforms import Transform

IMAGE = "image"
"""The input: uint8, height x width x 3, red before green before blue."""

TENSOR = "tensor"

FOUND = "found"

LEAST_OPSET = 18


def whole_graph(
    model: ir.Model,
    transforms: Sequence[Transform],
    task: str,
    parameters: Any,
    labels: Sequence[str] | None = None,
    *,
    name: str = "model",
) -> ir.Model:
    """One graph from pixels to results.

    Args:
        model: takes a batch of one through its only input; opset 18 or later.
        parameters: those of the task.
        labels: go into the metadata as a JSON list, `modelport.labels`.

    Raises:
        UsageError: naming the transform, the task or the input that has no form in the graph.
    """
    reason = refusal(model, transforms, task, parameters)
    if reason is not None:
        raise UsageError(
            f"The model cannot become one graph: {reason}",
            hint="Deploy it with transforms and a task that have one; see docs/end-to-end.md",
        )
    net = Network(name, opset=model.opset_imports[""])
    image = net.input(IMAGE, "uint8", ("height", "width", 3))
    canvas = steps.applied(Canvas.of_input(net, image), transforms)
    first = signature_of(model).inputs[0]
    found = net.splice(model, {first.name: canvas.pixels}, prefix="")
    values = found if isinstance(found, tuple) else (found,)
    names = [spec.name for spec in signature_of(model).outputs]
    outputs: dict[str, Tensor] = dict(zip(names, values, strict=True))
    for key, tensor in ANSWERS[task].write(canvas, outputs, parameters).items():
        net.output(tensor, key)
    built = net.build(prune=True)
    _name_free_sizes(built)
    if labels is not None:
        built.metadata_props["modelport.labels"] = json.dumps(list(labels), ensure_ascii=False)
    built.metadata_props["modelport.task"] = task
    return built


def _name_free_sizes(model: ir.Model) -> None:
    """How many were found is a size of the results, and gets a name that says so."""
    for value in model.graph.outputs:
        if value.shape is not None:
            sizes = [size if isinstance(size, int) else _named(size) for size in value.shape]
            value.shape = ir.Shape(sizes)


def _named(size: ir.SymbolicDim) -> ir.SymbolicDim:
    unknown = size.value is None or size.value.startswith("unk__")
    return ir.SymbolicDim(FOUND) if unknown else size


def tensor_graph(transforms: Sequence[Transform], opset: int = LEAST_OPSET) -> ir.Model:
    """The transforms alone, from pixels to the tensor, under the name `tensor`."""
    net = Network("transforms", opset=opset)
    image = net.input(IMAGE, "uint8", ("height", "width", 3))
    net.output(steps.applied(Canvas.of_input(net, image), transforms).pixels, TENSOR)
    return net.build(prune=True)


def refusal(
    model: ir.Model, transforms: Sequence[Transform], task: str, parameters: Any
) -> str | None:
    """Why it cannot be done, or None."""
    inputs = signature_of(model).inputs
    if len(inputs) != 1:
        return f"it has {len(inputs)} inputs, and a picture is one"
    if not inputs[0].shape or not _takes_one(inputs[0].shape[0]):
        return f"its input {inputs[0].name!r} takes no batch of one"
    if not transforms:
        return "it has no transforms, so nothing says how a picture becomes its input"
    if (model.opset_imports.get("") or 0) < LEAST_OPSET:
        return f"its opset is {model.opset_imports.get('')}, and {LEAST_OPSET} is the least"
    if task not in ANSWERS:
        near = ", ".join(name for name in TASKS if name in ANSWERS)
        return f"the task {task} has no form in the graph yet; {near} have"
    return steps.refusal(transforms) or ANSWERS[task].refuses(parameters)


def _takes_one(size: Any) -> bool:
    return size == 1 if isinstance(size, int) else bool(size.minimum <= 1)
