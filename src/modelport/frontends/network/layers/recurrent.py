"""LSTM and GRU, with weights as PyTorch names and lays them out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from modelport.frontends.network.core import Core, layer
from modelport.frontends.network.mistakes import Refused
from modelport.frontends.network.tensor import Tensor, written
from modelport.frontends.network.weights import array_of
from modelport.types import Array


@dataclass(frozen=True)
class _Kind:
    """Attributes:
    order: where each of ONNX's gates is among PyTorch's.
    states: how many states it carries.
    """

    operator: str
    order: tuple[int, ...]
    states: int
    attributes: Mapping[str, Any]


_LSTM = _Kind(
    "LSTM", (0, 3, 1, 2), 2, {}
)  # input, output, forget, cell of input, forget, cell, output
_GRU = _Kind("GRU", (1, 0, 2), 1, {"linear_before_reset": 1})  # update, reset, new


class Recurrent(Core):
    @layer
    def lstm(
        self, x: Any, weights: Mapping[str, Any], state: Sequence[Any] | None = None, *,
        batch_first: bool = False,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:  # fmt: skip
        """As `torch.nn.LSTM`: layers and directions are those that the weights have.

        Args:
            x: time, batch, features; batch first where that is said.
            weights: `weight_ih_l0`, `weight_hh_l0`, `bias_ih_l0`, `bias_hh_l0` and so on.
            state: hidden and cell, each of layers times directions, batch, hidden; zeros by default.

        Returns:
            The output of the last layer at each time; and hidden and cell at the end.
        """
        output, (hidden, cell) = self._recurrent(_LSTM, x, weights, state, batch_first)
        return output, (hidden, cell)

    @layer
    def gru(
        self, x: Any, weights: Mapping[str, Any], state: Any = None, *, batch_first: bool = False
    ) -> tuple[Tensor, Tensor]:
        """As `torch.nn.GRU`; see `lstm`. There is one state, the hidden one."""
        states = None if state is None else [state]
        output, (hidden,) = self._recurrent(_GRU, x, weights, states, batch_first)
        return output, hidden

    def _recurrent(
        self, kind: _Kind, x: Any, weights: Mapping[str, Any], state: Sequence[Any] | None,
        batch_first: bool,
    ) -> tuple[Tensor, list[Tensor]]:  # fmt: skip
        x = self.taken(x)
        if x.rank != 3:
            raise Refused(f"the input has shape {written(x.shape)}", expected="3 dimensions")
        depth = sum(1 for name in weights if name.startswith("weight_ih_l")) or 0
        both = any(name.endswith("_reverse") for name in weights)
        depth = depth // 2 if both else depth
        if not depth:
            raise Refused("there is no weight_ih_l0", hint=f"The names are {list(weights)[:5]}")
        if any(name.startswith("weight_hr") for name in weights):
            raise Refused("projections (weight_hr_l0) have no operator in ONNX")
        begin = [None if state is None else self.taken(each) for each in state or ()]
        flow = self.one("Transpose", x, perm=[1, 0, 2]) if batch_first else x
        last: list[list[Tensor]] = [[] for _ in range(kind.states)]
        for level in range(depth):
            flow, ends = self._level(kind, flow, weights, begin, level, both)
            for states, end in zip(last, ends, strict=True):
                states.append(end)
        output = self.one("Transpose", flow, perm=[1, 0, 2]) if batch_first else flow
        return output, [
            states[0] if depth == 1 else self.one("Concat", *states, axis=0) for states in last
        ]

    def _level(
        self, kind: _Kind, x: Tensor, weights: Mapping[str, Any], begin: Sequence[Tensor | None],
        level: int, both: bool,
    ) -> tuple[Tensor, list[Tensor]]:  # fmt: skip
        ways = [f"l{level}", f"l{level}_reverse"] if both else [f"l{level}"]
        x_type = x.value.dtype
        sides = [_matrices(kind, weights, way) for way in ways]
        entry, loop, bias = (
            self.value(np.stack(parts), x_type, role=f"l{level}_{role}", cast=True)
            for parts, role in zip(
                zip(*sides, strict=True), ("input", "recurrence", "bias"), strict=True
            )
        )
        features = x.shape[2]
        if isinstance(features, int) and features != sides[0][0].shape[1]:
            raise Refused(
                f"the input has {features} features, the weight expects {sides[0][0].shape[1]}"
            )
        count = len(ways)
        starts = [
            None
            if each is None
            else self.one("Slice", each, [level * count], [(level + 1) * count], [0])
            for each in begin
        ]
        inputs = [x, entry, loop, bias, *([None, *starts] if starts else [])]
        attributes = {"hidden_size": sides[0][1].shape[1], **kind.attributes}
        if both:
            attributes["direction"] = "bidirectional"
        every, *ends = self.node(kind.operator, inputs, attributes, outputs=1 + kind.states)
        if not both:
            return self.one("Squeeze", every, [1]), ends
        joined = self.one("Transpose", every, perm=[0, 2, 1, 3])
        return self.one("Reshape", joined, [0, 0, -1]), ends


def _matrices(kind: _Kind, weights: Mapping[str, Any], way: str) -> tuple[Array, Array, Array]:
    """Input, recurrence and both biases of one direction, gates in ONNX's order."""
    entry, loop = (array_of(weights[f"weight_{role}_{way}"]) for role in ("ih", "hh"))
    rows = entry.shape[0]
    biases = [
        array_of(weights[name]) if name in weights else np.zeros(rows, entry.dtype)
        for name in (f"bias_ih_{way}", f"bias_hh_{way}")
    ]
    if rows % len(kind.order) or loop.shape != (rows, rows // len(kind.order)):
        raise Refused(
            f"weight_ih_{way} has shape {written(entry.shape)}, weight_hh_{way} "
            f"{written(loop.shape)}",
            expected=f"{len(kind.order)} gates in each of an {kind.operator}",
        )
    return (
        _ordered(kind, entry),
        _ordered(kind, loop),
        np.concatenate([_ordered(kind, bias) for bias in biases]),
    )


def _ordered(kind: _Kind, array: Array) -> Array:
    gates = np.split(np.asarray(array), len(kind.order))
    return np.concatenate([gates[place] for place in kind.order])
