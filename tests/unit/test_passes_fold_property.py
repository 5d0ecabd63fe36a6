"""All passes that fold into linear operators, on graphs that nobody wrote."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from helpers import assert_same_results, assert_well_formed, by_onnxruntime, graph
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelport.passes import PASSES
from modelport.types import Array

FOLDING = (
    "fold_pad",
    "fuse_matmul_add",
    "fold_gemm_scales",
    "fold_affine",
    "fold_batchnorm",
    "fold_batchnorm_forward",
    "fold_focus",
    "merge_branches",
)
SIDE = 6


class Draft:
    """Values of shape (1, channels, SIDE, SIDE), most of them made from the two before them."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw
        self.lines: list[str] = []
        self.weights: dict[str, Array] = {}
        self.channels = {"x": 4}
        self._generator = np.random.default_rng(3)

    def choose(self, *options: object) -> object:
        return self._draw(st.sampled_from(options))

    def pick(self, channels: int | None = None) -> str:
        names = [name for name, count in self.channels.items() if channels in (None, count)]
        return str(self._draw(st.sampled_from(names[-3:])))

    def weight(self, *shape: int, positive: bool = False) -> str:
        name = f"w{len(self.weights)}"
        array = self._generator.uniform(0.5, 1.5, shape).astype(np.float32)
        sign = 1 if positive else self._generator.choice([-1, 1], shape)
        self.weights[name] = (array * sign).astype(np.float32)
        return name

    def emit(self, expression: str, channels: int) -> str:
        name = f"v{len(self.lines)}"
        self.lines.append(f"{name} = {expression}")
        self.channels[name] = channels
        return name

    def conv(self) -> None:
        source = self.pick()
        inputs = self.channels[source]
        group = int(str(self.choose(1, 1, 2, inputs)))
        group = group if inputs % group == 0 else 1
        outputs = int(str(self.choose(inputs, inputs, 2 * group)))
        taps, pads = self.choose(
            ((1, 1), [0, 0, 0, 0]),
            ((3, 3), [1, 1, 1, 1]),
            ((1, 3), [0, 1, 0, 1]),
            ((2, 3), [1, 2, 0, 0]),
        )  # type: ignore[misc]
        if self.choose(True, False, False):
            array = np.asarray([0, 0, *pads[:2], 0, 0, *pads[2:]], np.int64)
            name = f"w{len(self.weights)}"
            self.weights[name] = array
            self.lines.append(f"p{len(self.lines)} = Pad ({source}, {name})")
            source, pads = f"p{len(self.lines) - 1}", [0] * 4
        bias = f", {self.weight(outputs)}" if self.choose(True, False) else ""
        kernel = self.weight(outputs, inputs // group, *taps)
        self.emit(f"Conv <group = {group}, pads = {pads}> ({source}, {kernel}{bias})", outputs)

    def arithmetic(self) -> None:
        source = self.pick()
        channels = self.channels[source]
        operator = self.choose("Mul", "Add", "Sub", "Div")
        shape = self.choose((), (channels, 1, 1), (1, channels, 1, 1), (1, 1), (SIDE,))
        operands = [source, self.weight(*shape)]  # type: ignore[misc]
        if self.choose(True, False, False) and operator != "Div":
            operands.reverse()
        self.emit(f"{operator} ({', '.join(operands)})", channels)

    def norm(self) -> None:
        source = self.pick()
        channels = self.channels[source]
        given = ", ".join(self.weight(channels, positive=index == 3) for index in range(4))
        self.emit(f"BatchNormalization ({source}, {given})", channels)

    def sum(self) -> None:
        left = self.pick()
        right = self.pick(self.channels[left])
        self.emit(f"{self.choose('Add', 'Sub', 'Sum')} ({left}, {right})", self.channels[left])

    def pool(self) -> None:
        source = self.pick()
        counted = self.choose(0, 1)
        self.emit(
            f"AveragePool <kernel_shape = [3, 3], pads = [1, 1, 1, 1], "
            f"count_include_pad = {counted}> ({source})",
            self.channels[source],
        )

    def swap(self) -> None:
        source = self.pick()
        channels = self.channels[source]
        name = f"w{len(self.weights)}"
        self.weights[name] = np.asarray(range(channels)[::-1], np.int64)
        self.emit(f"Gather <axis = 1> ({source}, {name})", channels)

    def relu(self) -> None:
        source = self.pick()
        self.emit(f"Relu ({source})", self.channels[source])


STEPS = (
    Draft.conv, Draft.conv, Draft.conv, Draft.arithmetic, Draft.arithmetic, Draft.norm, Draft.sum,
    Draft.sum, Draft.pool, Draft.swap, Draft.relu,
)  # fmt: skip


@st.composite
def models(draw: st.DrawFn) -> ir.Model:
    draft = Draft(draw)
    for step in draw(st.lists(st.sampled_from(STEPS), min_size=2, max_size=10)):
        step(draft)
    made = [name for name in draft.channels if name != "x"]
    names = {made[-1], *draw(st.lists(st.sampled_from(made), max_size=1))}
    gives = ", ".join(f"float[1,{draft.channels[n]},{SIDE},{SIDE}] {n}" for n in sorted(names))
    return graph(
        "\n".join(draft.lines), takes=f"float[1,4,{SIDE},{SIDE}] x", gives=gives, **draft.weights
    )


@settings(max_examples=200, deadline=None, derandomize=True,
          suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])  # fmt: skip
@given(model=models())
def test_folding_keeps_results_and_settles(model: ir.Model) -> None:
    before = model.clone()
    for _ in range(6):
        PASSES.get("infer_shapes")(model)
        modified = []
        for name in FOLDING:
            modified += [name] if PASSES.get(name)(model).modified else []
            assert_well_formed(before, model)
            assert len(model.graph) <= len(before.graph), name
        if not modified:
            break
    else:
        raise AssertionError(f"{modified} still change the graph")
    assert_same_results(before, model, by=[by_onnxruntime])
