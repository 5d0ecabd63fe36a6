"""The portable pipeline on graphs that nobody wrote: outputs, invariants and signature stay."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir
from helpers import assert_same_results, assert_well_formed, by_onnxruntime, graph
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnxruntime.capi import onnxruntime_pybind11_state as state
from sized import feeds_at

from modelport.passes import pipelines


@dataclass
class Draft:
    """A graph while it is drawn: its lines, its weights, and the shapes of its values."""

    data: st.DataObject
    lines: list[str] = field(default_factory=list)
    weights: dict[str, Any] = field(default_factory=dict)
    shapes: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    expressions: dict[str, str] = field(default_factory=dict)
    generator: np.random.Generator = field(default_factory=lambda: np.random.default_rng(7))

    def pick(self, *, rank: int | None = None) -> str:
        names = [n for n, shape in self.shapes.items() if rank is None or len(shape) == rank]
        return self.data.draw(st.sampled_from(names), label="value")

    def choose(self, *options: Any) -> Any:
        return self.data.draw(st.sampled_from(options))

    def number(self, low: int, high: int) -> int:
        return self.data.draw(st.integers(low, high))

    def weight(self, *shape: int, positive: bool = False) -> str:
        """A new weight, a new Constant node, or a weight of that shape used before."""
        array = self.generator.uniform(0.5, 1.5, shape).astype(np.float32)
        if not positive:
            array *= self.generator.choice([-1, 1], shape).astype(np.float32)
        known = [
            n
            for n, a in self.weights.items()
            if a.shape == shape and not (positive and a.min() <= 0)
        ]
        if known and self.choose(True, False):
            return self.data.draw(st.sampled_from(known), label="weight")
        name = f"w{len(self.weights)}_{len(self.lines)}"
        if self.choose(True, False):
            self.weights[name] = array
        else:
            values = ", ".join(repr(float(v)) for v in array.reshape(-1))
            dims = f"[{','.join(map(str, shape))}]" if shape else ""
            self.lines.append(f"{name} = Constant <value = float{dims} {{{values}}}> ()")
        return name

    def emit(self, expression: str, shape: tuple[Any, ...]) -> str:
        name = f"v{len(self.lines)}"
        self.lines.append(f"{name} = {expression}")
        self.shapes[name] = shape
        self.expressions[name] = expression
        return name

    def glue(self, expression: str) -> str:
        """A value of whole numbers, which no other step takes."""
        name = self.emit(expression, ())
        del self.shapes[name]
        return name

    def ints(self, *numbers: int) -> str:
        return self.glue(f"Constant <value_ints = {list(numbers)}> ()")


def conv(draft: Draft) -> None:
    source = draft.pick(rank=4)
    batch, channels, height, width = draft.shapes[source]
    group = draft.choose(1, channels)
    outputs = group * draft.number(1, 2)
    inputs = f"{source}, {draft.weight(outputs, channels // group, 1, 1)}"
    if draft.choose(True, False):
        inputs += f", {draft.weight(outputs)}"
    draft.emit(f"Conv <group = {group}> ({inputs})", (batch, outputs, height, width))


def conv_transpose(draft: Draft) -> None:
    source = draft.pick(rank=4)
    batch, channels, height, width = draft.shapes[source]
    group = draft.choose(1, channels)
    outputs = group * draft.number(1, 2)
    kernel = draft.weight(channels, outputs // group, 1, 2)
    draft.emit(
        f"ConvTranspose <group = {group}> ({source}, {kernel})",
        (batch, outputs, height, width + 1),
    )


def gemm(draft: Draft) -> None:
    rows = [n for n, shape in draft.shapes.items() if len(shape) == 2]
    if not rows:
        return flatten(draft)
    source = draft.data.draw(st.sampled_from(rows))
    batch, features = draft.shapes[source]
    outputs, across = draft.number(1, 4), draft.choose(0, 1)
    kernel = draft.weight(*((outputs, features) if across else (features, outputs)))
    bias = draft.choose("", "row", "one", "scalar")
    shapes = {"row": (outputs,), "one": (1, 1), "scalar": ()}
    inputs = f"{source}, {kernel}" + (f", {draft.weight(*shapes[bias])}" if bias else "")
    scales = f"alpha = {draft.choose('1.0', '0.5')}, beta = {draft.choose('1.0', '-2.0', '0.0')}"
    draft.emit(f"Gemm <transB = {across}, {scales}> ({inputs})", (batch, outputs))
    return None


def flatten(draft: Draft) -> None:
    source = draft.pick()
    batch, *rest = draft.shapes[source]
    size = int(np.prod(rest)) if rest else 1
    target = draft.emit("Constant <value_ints = [0, -1]> ()", (2,))
    del draft.shapes[target]
    draft.emit(f"Reshape ({source}, {target})", (batch, size))


def norm(draft: Draft) -> None:
    source = draft.pick()
    channels = draft.shapes[source][1]
    parameters = [draft.weight(channels, positive=kind == "var") for kind in ("s", "b", "m", "var")]
    draft.emit(f"BatchNormalization ({source}, {', '.join(parameters)})", draft.shapes[source])


def same_shape(draft: Draft) -> None:
    source = draft.pick()
    operator = draft.choose(
        "Relu ({})", "Identity ({})", "Cast <to = 1> ({})", "Dropout ({})", "Neg ({})"
    )
    draft.emit(operator.format(source), draft.shapes[source])


def add(draft: Draft) -> None:
    left = draft.pick()
    alike = [n for n, shape in draft.shapes.items() if shape == draft.shapes[left]]
    draft.emit(f"Add ({left}, {draft.data.draw(st.sampled_from(alike))})", draft.shapes[left])


def hidden_bias(draft: Draft) -> None:
    """What exporters write for a bias: CastLike, Shape and Expand before the sum."""
    source = draft.pick()
    channels = draft.shapes[source][1]
    one = draft.weight()
    like = draft.emit(f"CastLike ({one}, {source})", ())
    size = draft.emit(f"Shape <start = 1, end = 2> ({source})", (1,))
    bias = draft.emit(f"Expand ({like}, {size})", (channels,))
    for name in (like, size, bias):
        del draft.shapes[name]
    trailing = (1,) * (len(draft.shapes[source]) - 2)
    target = draft.emit(f"Constant <value_ints = {[channels, *trailing]}> ()", (len(trailing) + 1,))
    shaped = draft.emit(f"Reshape ({bias}, {target})", ())
    del draft.shapes[target], draft.shapes[shaped]
    draft.emit(f"Add ({source}, {shaped})", draft.shapes[source])


def view(draft: Draft) -> None:
    """What exporters write for a view: the batch from Shape, and the rest."""
    source = draft.pick()
    batch, *rest = draft.shapes[source]
    size = int(np.prod(rest))
    shape = draft.choose((*rest,), (size,), (1, size), (size, 1, 1), tuple(reversed(rest)))
    sizes = draft.glue(f"Shape ({source})")
    first = draft.glue(f"Gather ({sizes}, {draft.ints(0)})")
    last = draft.choose(-1, shape[-1])
    target = draft.glue(f"Concat <axis = 0> ({first}, {draft.ints(*shape[:-1], last)})")
    draft.emit(f"Reshape ({source}, {target})", (batch, *shape))


def transpose(draft: Draft) -> None:
    source = draft.pick()
    axes = list(range(1, len(draft.shapes[source])))
    perm = [0, *draft.data.draw(st.permutations(axes))]
    shape = tuple(draft.shapes[source][axis] for axis in perm)
    draft.emit(f"Transpose <perm = {perm}> ({source})", shape)


def casts(draft: Draft) -> None:
    source = draft.pick()
    wide = draft.glue(f"Cast <to = 11> ({source})")
    draft.emit(f"Cast <to = 1> ({wide})", draft.shapes[source])


def nothing(draft: Draft) -> None:
    """Nodes that do nothing, though not every one of their kind does."""
    source = draft.pick()
    sizes = draft.glue(f"Shape ({source})")
    zero, end, axis = draft.ints(0), draft.ints(2**62), draft.ints(1)
    one = draft.glue("Constant <value = float {1.0}> ()")
    operator = draft.choose(
        f"Expand ({source}, {sizes})",
        f"Reshape ({source}, {sizes})",
        f"Slice ({source}, {zero}, {end}, {axis})",
        f"Mul ({source}, {one})",
        f"Concat <axis = 0> ({source})",
    )
    draft.emit(operator, draft.shapes[source])


def squeezed(draft: Draft) -> None:
    source = draft.pick()
    shape, axis = draft.shapes[source], draft.number(1, len(draft.shapes[source]))
    if len(shape) > 4:
        return
    axes = draft.ints(axis)
    wider = draft.emit(f"Unsqueeze ({source}, {axes})", (*shape[:axis], 1, *shape[axis:]))
    if draft.choose(True, False):
        draft.emit(f"Squeeze ({wider}, {axes})", shape)


def along(draft: Draft) -> None:
    """What looks at one axis, and may run before a Transpose as well as behind it."""
    source = draft.pick()
    shape = draft.shapes[source]
    axis = draft.number(1, len(shape) - 1)
    if draft.choose(True, False):
        draft.emit(f"Softmax <axis = {axis}> ({source})", shape)
    else:
        wider = (*shape[:axis], 2 * shape[axis], *shape[axis + 1 :])
        draft.emit(f"Concat <axis = {axis}> ({source}, {source})", wider)


def again(draft: Draft) -> None:
    """The same expression a second time."""
    known = [name for name in draft.shapes if name in draft.expressions]
    if known:
        name = draft.data.draw(st.sampled_from(known))
        draft.emit(draft.expressions[name], draft.shapes[name])


GLUE = (view, transpose, transpose, casts, nothing, squeezed, along, again)
STEPS = (conv, conv_transpose, norm, norm, gemm, flatten, same_shape, same_shape, add, hidden_bias)


@st.composite
def models(draw: st.DrawFn) -> ir.Model:
    draft = Draft(draw(st.data()))
    batch = draw(st.sampled_from((1, 2, "N")))
    draft.shapes["x"] = (batch, draft.number(1, 3), 2, draft.number(1, 3))
    takes = f"float[{','.join(map(str, draft.shapes['x']))}] x"
    for step in draw(st.lists(st.sampled_from(STEPS + GLUE), min_size=1, max_size=9)):
        step(draft)
    if len(draft.shapes) == 1:  # steps that found nothing to work on
        same_shape(draft)
    produced = [name for name in draft.shapes if name != "x"]
    chosen = draw(st.lists(st.sampled_from(produced), min_size=1, max_size=3, unique=True))
    gives = ", ".join(f"float[{','.join(map(str, draft.shapes[n]))}] {n}" for n in chosen)
    return graph("\n".join(draft.lines), takes=takes, gives=gives, **draft.weights)


def assert_same_at(before: ir.Model, after: ir.Model, *batches: int) -> None:
    """Equal results at other sizes of a free batch, where the graph takes them."""
    if all(value.shape is not None and value.shape.is_static() for value in before.graph.inputs):
        return
    for batch in batches:
        feeds = feeds_at(before, N=batch)
        try:
            expected = by_onnxruntime(before, feeds)
        except (state.Fail, state.InvalidArgument, state.RuntimeException):
            continue  # -1 beside a size of zero
        found = by_onnxruntime(after, feeds)
        for name, array in expected.items():
            assert found[name].shape == array.shape
            np.testing.assert_allclose(found[name], array, rtol=1e-3, atol=1e-4)


@settings(max_examples=200, deadline=None, derandomize=True,
          suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])  # fmt: skip
@given(model=models())
def test_portable_pipeline_keeps_results(model: ir.Model) -> None:
    for number, node in enumerate(model.graph):
        node.metadata_props["modelport.module"] = f"block{number}"
    before = model.clone()
    for step in pipelines.portable():
        if step(model).modified or step.name == "infer_shapes":
            assert_well_formed(before, model)
    assert_same_results(before, model, by=[by_onnxruntime])
    assert_same_at(before, model, 3, 0)
    assert all(node.metadata_props.get("modelport.module") for node in model.graph)
    assert len(model.graph) <= len(before.graph)


@settings(max_examples=100, deadline=None, derandomize=True,
          suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])  # fmt: skip
@given(model=models(), without_shapes=st.booleans())
def test_portable_pipeline_settles(model: ir.Model, without_shapes: bool) -> None:
    """Run again it finds nothing more, whether or not shape inference succeeds."""
    steps = [s for s in pipelines.portable() if not (without_shapes and s.name == "infer_shapes")]
    before = model.clone()
    for _ in range(3):
        modified = [step(model).modified for step in steps]
        if not any(modified):
            break
    else:
        raise AssertionError("the pipeline still changes the graph the third time")
    assert_well_formed(before, model)
    assert_same_results(before, model, by=[by_onnxruntime])
