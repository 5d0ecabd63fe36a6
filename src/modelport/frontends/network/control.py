"""Branches and loops whose ways are taken while the network runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from modelport.frontends.network.core import Core, layer
from modelport.frontends.network.mistakes import Refused
from modelport.frontends.network.tensor import Tensor


class Control(Core):
    @layer
    def cond(
        self, condition: Any, then: Callable[[], Any], otherwise: Callable[[], Any]
    ) -> Tensor | tuple[Tensor, ...]:
        """The results of one function where the condition holds, of the other elsewhere.

        Args:
            condition: one truth.
            then, otherwise: take nothing, use tensors from around them, and return as many tensors of
                the same element types: one, or a tuple.
        """
        question = self.taken(condition)
        if question.dtype != "bool":
            raise Refused(f"the condition is {question.dtype}", expected="bool")
        yes, several = self._branch(then, "then")
        no, _ = self._branch(otherwise, "otherwise")
        _demand_alike(yes, no)
        node = ir.node(
            "If",
            [question.value],
            attributes={"then_branch": yes, "else_branch": no},
            num_outputs=len(yes.outputs),
        )
        results = self._placed(
            node, [_either(*each) for each in zip(yes.outputs, no.outputs, strict=True)]
        )
        return tuple(results) if several else results[0]

    @layer
    def loop(
        self, body: Callable[..., Any], states: Any, *, times: Any = None,
        while_: Callable[..., Any] | None = None, collected: int = 0,
    ) -> Tensor | tuple[Tensor, ...]:  # fmt: skip
        """Runs a function again and again on what it returned.

        Args:
            body: takes the number of the step, from 0 on, and the states; returns the next states, and
                after them what is to be collected.
            states: where they begin: one tensor, or several.
            times: how often; a number or a tensor.
            while_: takes the states and says whether there is a next step; asked before the first too.
            collected: how many of the body's results are not states: each comes back as one tensor with
                a row for every step.

        Returns:
            The last states, then what was collected.
        """
        if times is None and while_ is None:
            raise Refused("nothing ends the loop", expected="times=, while_= or both")
        begin = [self.taken(state) for state in _several(states)]
        first = None if while_ is None else self._asked(while_, begin)
        count = self.value(times, ir.DataType.INT64)
        inner, several = self._body(body, begin, while_, collected)
        node = ir.node(
            "Loop",
            [count, None if first is None else first.value, *(state.value for state in begin)],
            attributes={"body": inner},
            num_outputs=len(begin) + collected,
        )
        ends = inner.outputs[1:]
        shapes = [_either(start.value, end) for start, end in zip(begin, ends, strict=False)]
        for end in ends[len(begin) :]:
            row = None if end.shape is None else ir.Shape([None, *end.shape.dims])
            shapes.append((end.type, row))
        results = self._placed(node, shapes)
        return tuple(results) if several or len(results) > 1 else results[0]

    def _branch(self, function: Callable[[], Any], name: str) -> tuple[ir.Graph, bool]:
        graph = ir.Graph([], [], nodes=[], name=self.fresh_name(name))
        with self.inside(graph):
            with self.users_code():
                results = function()
            graph.outputs.extend(self._own_results(_several(results), graph))
        return graph, isinstance(results, (tuple, list))

    def _body(
        self, function: Callable[..., Any], begin: Sequence[Tensor],
        while_: Callable[..., Any] | None, collected: int,
    ) -> tuple[ir.Graph, bool]:  # fmt: skip
        step = _input(self.fresh_name("step"), ir.TensorType(ir.DataType.INT64), ir.Shape([]))
        going = _input(self.fresh_name("going"), ir.TensorType(ir.DataType.BOOL), ir.Shape([]))
        states = [
            _input(self.fresh_name(f"{state.name}_state"), state.value.type, state.value.shape)
            for state in begin
        ]
        graph = ir.Graph([step, going, *states], [], nodes=[], name=self.fresh_name("loop"))
        with self.inside(graph):
            with self.users_code():
                results = function(self.tensor(step), *map(self.tensor, states))
            found = [self.taken(result) for result in _several(results)]
            if len(found) != len(begin) + collected:
                raise Refused(
                    f"the body returns {len(found)} tensors",
                    expected=f"{len(begin)} states and {collected} collected",
                )
            for start, end in zip(begin, found, strict=False):
                if start.value.dtype != end.value.dtype:
                    raise Refused(f"a state begins as {start.dtype} and goes on as {end.dtype}")
            more = (
                self.tensor(going) if while_ is None
                else self._asked(while_, found[: len(begin)])
            )  # fmt: skip
            graph.outputs.extend(self._own_results([more, *found], graph))
        return graph, isinstance(results, (tuple, list))

    def _asked(self, question: Callable[..., Any], states: Sequence[Tensor]) -> Tensor:
        with self.users_code():
            given = question(*states)
        answer = self.taken(given if isinstance(given, Tensor) else np.asarray(given))
        if answer.dtype != "bool":
            raise Refused(f"the condition of the loop is {answer.dtype}", expected="bool")
        return answer

    def _own_results(self, results: Sequence[Any], graph: ir.Graph) -> list[ir.Value]:
        """A subgraph gives what its own nodes made, each value once."""
        found: list[ir.Value] = []
        for result in results:
            value = self.taken(result).value
            producer = value.producer()
            if producer is None or producer.graph is not graph or value in found:
                value = self.one("Identity", self.tensor(value)).value
            found.append(value)
        return found

    def _placed(
        self, node: ir.Node, known: Sequence[tuple[ir.TypeProtocol | None, ir.Shape | None]]
    ) -> list[Tensor]:
        for value, (kind, shape) in zip(node.outputs, known, strict=True):
            value.type, value.shape = kind, shape
        self.append(node, None, infer=False)
        return [self.tensor(value) for value in node.outputs]


def _several(given: Any) -> list[Any]:
    return list(given) if isinstance(given, (tuple, list)) else [given]


def _input(name: str, kind: ir.TypeProtocol | None, shape: ir.Shape | None) -> ir.Value:
    return ir.Value(name=name, type=kind, shape=shape)


def _demand_alike(yes: ir.Graph, no: ir.Graph) -> None:
    if len(yes.outputs) != len(no.outputs):
        raise Refused(
            f"one function returns {len(yes.outputs)} tensors, the other {len(no.outputs)}"
        )
    for one, other in zip(yes.outputs, no.outputs, strict=True):
        if one.type != other.type:
            raise Refused(
                f"one function returns {one.type}, the other {other.type}",
                hint="Cast one of them",
            )


def _either(one: ir.Value, other: ir.Value) -> tuple[ir.TypeProtocol | None, ir.Shape | None]:
    """What is known whichever of the two it is."""
    if one.shape is None or other.shape is None or len(one.shape) != len(other.shape):
        return one.type, None
    sizes = zip(one.shape.dims, other.shape.dims, strict=True)
    return one.type, ir.Shape([first if first == second else None for first, second in sizes])
