"""Python's own `if` on a tensor: every way through the model is exported, and If chooses.

`torch.export` stops at `if x.sum() > 0:`, because Python wants an answer that only the data have. Here the
answer is given: the model is captured once with true and once with false, and what was asked is kept as
an output. Both programs become the branches of one If:

    asked = ...                        # what the first `if` looks at
    outputs = If(asked, then: the model as it runs after true, else: as it runs after false)

A way that meets another `if` splits again, so three of them in a row give up to eight ways.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import onnx_ir as ir
import torch
from onnx_ir.passes import common
from torch.overrides import TorchFunctionMode

from modelport.errors import ExportError
from modelport.frontends import torch_export
from modelport.frontends.adapter import Adapter
from modelport.frontends.explain import explaining, quiet
from modelport.frontends.finish import Job, finished
from modelport.frontends.fixed_reads import FixedReads
from modelport.frontends.options import TORCH_EXPORT

MOST_WAYS = 16
"""Every way through is a whole model; more of them are no model that anyone wants."""


class _Answers(TorchFunctionMode):
    """Answers `bool(tensor)` while tracing, and keeps the tensors that were asked about.

    Beyond the given answers it says true, so a capture finds out how many more questions there are.
    """

    def __init__(self, answers: Sequence[bool]) -> None:
        super().__init__()
        self._answers = list(answers)
        self.asked: list[torch.Tensor] = []

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if function is not torch.Tensor.__bool__:
            return function(*args, **(kwargs or {}))
        self.asked.append(args[0])
        count = len(self.asked)
        return self._answers[count - 1] if count <= len(self._answers) else True


class _Listener(TorchFunctionMode):
    """Hears the answers that the data give."""

    def __init__(self) -> None:
        super().__init__()
        self.way: list[bool] = []

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        answer = function(*args, **(kwargs or {}))
        if function is torch.Tensor.__bool__:
            self.way.append(bool(answer))
        return answer


def way_of(adapter: Adapter, tensors: Sequence[torch.Tensor]) -> tuple[bool, ...]:
    """The answers to the model's questions for those inputs; the data have no part in fixed ones."""
    with (
        torch.no_grad(),
        quiet(),
        _Listener() as listener,
        FixedReads(adapter.module, adapter.fixed),
    ):
        adapter.results(*tensors)
    return tuple(listener.way)


class _OneWay(torch.nn.Module):
    """The model along one way: first what it asked, then its own outputs."""

    def __init__(
        self, adapter: Adapter, answers: Sequence[bool], note: Callable[[int], None]
    ) -> None:
        super().__init__()
        self.adapter = adapter
        self._given = list(answers)
        # torch.export puts attributes of a module back when it is done, lists among them.
        self._note = note

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        with _Answers(self._given) as answers:
            results = self.adapter(*tensors)
        self._note(len(answers.asked))
        return (*(asked.reshape(()).to(torch.bool) for asked in answers.asked), *results)


def export(job: Job, ways_found: list[tuple[bool, ...]]) -> ir.Model:
    """Exports a module with data-dependent branches; one without any comes out as from `torch_export`.

    Args:
        ways_found: receives every way through the model, as the answers along it.

    Raises:
        ExportError: where the ways through the model are too many, or their outputs do not match.
    """
    with job.rewritten(TORCH_EXPORT) as rewrites, explaining(job.adapter), quiet():
        joined = _Ways(job, rewrites, ways_found).joined(())
        job.note(rewrites.fired)
    return finished(joined, job)


class _Ways:
    """Captures one way after the other and joins them from the last question to the first."""

    def __init__(self, job: Job, rewrites: Any, found: list[tuple[bool, ...]]) -> None:
        self._job = job
        self._found = found
        self._rewrites = rewrites
        self._count = 0

    def joined(self, answers: tuple[bool, ...]) -> ir.Model:
        """The model for all ways that begin with these answers."""
        model, questions = self._captured(answers)
        return self._after(model, questions, answers)

    def _after(self, model: ir.Model, questions: int, answers: tuple[bool, ...]) -> ir.Model:
        """Splits the way that says true to everything beyond `answers` at its next question."""
        if questions == len(answers):
            self._found.append(answers)
            return _without_questions(model, questions)
        yes = self._after(model.clone(), questions, (*answers, True))
        no = self.joined((*answers, False))
        return _if(_question(model, len(answers), questions), yes, no)

    def _captured(self, answers: tuple[bool, ...]) -> tuple[ir.Model, int]:
        self._count += 1
        if self._count > MOST_WAYS:
            raise ExportError(
                f"There are more than {MOST_WAYS} ways through the model's branches",
                hint="Use torch.where for choices of values; it needs no branch",
            )
        job, counts = self._job, list[int]()
        way = _OneWay(job.adapter, answers, counts.append)
        program = torch_export.capture(way, job.specs, job.examples)
        asked = [f"{_ASKED}{index}" for index in range(counts[-1])]
        model = torch_export.written(
            self._rewrites.decompose(program),
            [spec.name for spec in job.specs],
            [*asked, *job.output_names],
            torch_export.check_opset(job.opset),
            self._rewrites.translations,
        )
        _take_off_the_way(model)
        return model, counts[-1]


_ASKED = "modelport.asked."
_WAY = "adapter."


def _take_off_the_way(model: ir.Model) -> None:
    """Names and scopes as the adapter alone would have given them."""
    for name, value in list(model.graph.initializers.items()):
        if name.startswith(_WAY):
            del model.graph.initializers[name]
            value.name = name.removeprefix(_WAY)
            model.graph.initializers[value.name] = value
    for node in model.graph.all_nodes():
        for key, text in list(node.metadata_props.items()):
            node.metadata_props[key] = text.replace(f"'{_WAY}", "'").replace("'adapter', ", "")


def _without_questions(model: ir.Model, questions: int) -> ir.Model:
    for _ in range(questions):
        model.graph.outputs.pop(0)  # a slice would leave the values marked as outputs
    common.RemoveUnusedNodesPass()(model)
    return model


def _question(model: ir.Model, index: int, questions: int) -> ir.Model:
    """A model whose only output is what was asked."""
    kept = model.graph.outputs[index]
    model.graph.outputs.clear()
    model.graph.outputs.append(kept)
    common.RemoveUnusedNodesPass()(model)
    return model


def _if(question: ir.Model, yes: ir.Model, no: ir.Model) -> ir.Model:
    """One model that asks, and runs one of the two; both see the inputs and weights of the whole."""
    asked = question.graph.outputs[0]
    asked.name = "modelport.asked"
    outputs = [value.name or "" for value in yes.graph.outputs]
    _demand_alike(yes, no)
    types = [
        (value.type, _common_shape(value, other))
        for value, other in zip(yes.graph.outputs, no.graph.outputs, strict=True)
    ]
    for value in [value for before in question.graph for value in before.outputs]:
        if value.name in outputs:  # one way's output may be what the question looks at
            value.name = f"asked.{value.name}"
    branches = [_branch(question, part, f"{name}.") for part, name in ((yes, "then"), (no, "else"))]
    node = ir.node(
        "If",
        [asked],
        attributes={"then_branch": branches[0], "else_branch": branches[1]},
        num_outputs=len(outputs),
    )
    for value, name, (kind, shape) in zip(node.outputs, outputs, types, strict=True):
        value.name, value.type, value.shape = name, kind, shape
    question.graph.append(node)
    question.graph.outputs.clear()
    question.graph.outputs.extend(node.outputs)
    return question


def _demand_alike(yes: ir.Model, no: ir.Model) -> None:
    counts = len(yes.graph.outputs), len(no.graph.outputs)
    if counts[0] != counts[1]:
        raise ExportError(
            f"The two ways of a branch give {counts[0]} and {counts[1]} outputs",
            expected="the same number of them",
        )
    for value, other in zip(yes.graph.outputs, no.graph.outputs, strict=True):
        ranks = [None if v.shape is None else len(v.shape) for v in (value, other)]
        if value.dtype != other.dtype or ranks[0] != ranks[1]:
            raise ExportError(
                f"The two ways of a branch give different kinds of {value.name}: {value.dtype} with "
                f"{ranks[0]} dimensions, and {other.dtype} with {ranks[1]}",
                expected="the same element type and number of dimensions",
            )


def _common_shape(value: ir.Value, other: ir.Value) -> ir.Shape | None:
    if value.shape is None or other.shape is None:
        return None
    pairs = zip(value.shape.dims, other.shape.dims, strict=True)
    return ir.Shape(
        [one if one == two else f"{value.name}_{axis}" for axis, (one, two) in enumerate(pairs)]
    )


def _branch(around: ir.Model, part: ir.Model, prefix: str) -> ir.Graph:
    """The nodes of a model as a graph inside another: inputs and equal weights are those around it."""
    known = {value.name: value for value in around.graph.inputs}
    for value in part.graph.inputs:
        _replace(part, value, known[value.name])
    for value in list(part.graph.initializers.values()):
        _replace(part, value, _weight(around, value, prefix))
    part.graph.initializers.clear()
    part.graph.inputs.clear()
    _share(around, part)
    for graph in part.graphs():
        for node in graph:
            for value in node.outputs:
                value.name = f"{prefix}{value.name}"
    nodes, outputs = list(part.graph), list(part.graph.outputs)
    outputs = [_of_the_branch(value, nodes, prefix) for value in outputs]
    part.graph.outputs.clear()
    part.graph.remove(list(part.graph))
    return ir.Graph([], outputs, nodes=nodes, name=prefix.rstrip("."))


def _weight(around: ir.Model, value: ir.Value, prefix: str) -> ir.Value:
    """The weight of that name and content; torch numbers the constants of every way from 0."""
    known, name = around.graph.initializers, value.name or ""
    while name in known and not _equal(known[name], value):
        name = f"{prefix}{name}"
    if name not in known:
        known[name] = ir.Value(
            name=name, type=value.type, shape=value.shape, const_value=value.const_value
        )
    return known[name]


def _equal(one: ir.Value, other: ir.Value) -> bool:
    assert one.const_value is not None
    assert other.const_value is not None
    left, right = one.const_value.numpy(), other.const_value.numpy()
    if left.dtype != right.dtype or left.shape != right.shape:
        return False
    if left.__array_interface__["data"] == right.__array_interface__["data"]:
        return True
    return left.tobytes() == right.tobytes()


def _of_the_branch(value: ir.Value, nodes: list[ir.Node], prefix: str) -> ir.Value:
    """A branch must produce what it gives; an input or weight goes through an Identity."""
    if value.producer() is not None:
        return value
    node = ir.node("Identity", [value])
    node.outputs[0].name = f"{prefix}{value.name}"
    node.outputs[0].type, node.outputs[0].shape = value.type, value.shape
    nodes.append(node)
    return node.outputs[0]


def _replace(model: ir.Model, value: ir.Value, other: ir.Value) -> None:
    ir.convenience.replace_all_uses_with(value, other, replace_graph_outputs=True)


def _share(around: ir.Model, part: ir.Model) -> None:
    """What was computed before the question need not be computed again behind it."""
    known = {_key(node): node for node in around.graph}
    for node in list(part.graph):
        twin = known.get(_key(node))
        if twin is None or any(value.is_graph_output() for value in node.outputs):
            continue
        for value, other in zip(node.outputs, twin.outputs, strict=True):
            ir.convenience.replace_all_uses_with(value, other)
        part.graph.remove(node, safe=True)


def _key(node: ir.Node) -> object:
    """Equal for nodes that compute the same of the same values."""
    attributes = []
    for name, attribute in sorted(node.attributes.items()):
        if attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS):
            return node
        value = attribute.value
        if isinstance(value, ir.TensorProtocol):
            value = (value.dtype, tuple(value.shape), value.numpy().tobytes())
        attributes.append((name, repr(value)))
    inputs = tuple(id(value) for value in node.inputs)
    return (node.domain, node.op_type, inputs, tuple(attributes), len(node.outputs))
