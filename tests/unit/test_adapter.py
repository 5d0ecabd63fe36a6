"""Modules of any shape as flat ones: names of outputs, cuts, and state that goes in and out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from modelport.errors import ExportError, UsageError
from modelport.frontends.adapter import Adapter, part, unprefixed
from modelport.frontends.eager import Trial, try_module
from modelport.frontends.inputs import read_inputs

ONES = torch.ones(2)


def adapted(module: nn.Module, inputs: Any = "2", **settings: Any) -> Adapter:
    return Adapter(module.eval(), read_inputs(inputs, module), **settings)


class Returning(nn.Module):
    """Returns what it was made with, tensors moved by the input."""

    def __init__(self, result: Any) -> None:
        super().__init__()
        self._result = result

    def forward(self, x: Tensor) -> Any:
        return self._result(x)


@dataclass
class Found:
    boxes: Any
    extra: Any


class Point(NamedTuple):
    row: Any
    column: Any


# --- names of outputs ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("result", "names", "left_out"),
    [
        (lambda x: x + 1, ["output"], []),
        (lambda x: [x + 1], ["output"], []),
        (lambda x: (x + 1, None), ["output"], []),
        (lambda x: (x + 1, x + 2), ["output_0", "output_1"], []),
        (lambda x: (None, x + 1, [x + 2, x + 3]), ["output_0", "output_1", "output_2"], []),
        (lambda x: (x + 1, "text", x + 2), ["output_0", "output_1"], ["output at 1 (str)"]),
        (lambda x: (7, x + 1), ["output"], ["output_0 (int)"]),
        (lambda x: {"a": x + 1, "b": [x + 2, None]}, ["a", "b.0"], []),
        (lambda x: {"a": x + 1, "n": 3}, ["a"], ["n (int)"]),
        (lambda x: {0: x + 1, 1: x}, ["0", "1"], []),
        (
            lambda x: Found(x + 1, Point(x + 2, 1.0)),
            ["boxes", "extra.row"],
            ["extra.column (float)"],
        ),
        (lambda x: Point(x, {"deep": x + 1}), ["row", "column.deep"], []),
        (lambda x: [{"a": x + 1}, {"a": x + 2}], ["output_0.a", "output_1.a"], []),
        (lambda x: (x + 1, {"a": x + 2}), ["output_0", "output_1.a"], []),
    ],
    ids=range(14),
)
def test_names_of_outputs(result: Any, names: list[str], left_out: list[str]) -> None:
    found = adapted(Returning(result)).results(ONES)
    assert list(found.tensors) == names
    assert found.left_out == left_out


def test_tensors_keep_the_order_of_their_names() -> None:
    adapter = adapted(Returning(lambda x: {"b": x + 1, "a": [x + 2, 5, x + 3]}))
    assert [int(tensor[0]) for tensor in adapter(ONES)] == [2, 3, 4]
    assert list(adapter.results(ONES).tensors) == ["b", "a.0", "a.2"]


def test_no_output_shares_memory_with_an_input_or_another() -> None:
    """A graph gives values of their own: an exporter would merge or drop the others."""

    def result(x: Tensor) -> Any:
        y = x * 2
        return x, y, y

    tensors = adapted(Returning(result))(x := torch.ones(2))
    assert [tensor.tolist() for tensor in tensors] == [[1, 1], [2, 2], [2, 2]]
    assert len({tensor.data_ptr() for tensor in (*tensors, x)}) == 4


def test_a_model_without_tensors() -> None:
    with pytest.raises(ExportError, match=r"returns no tensor but output \(str\)"):
        try_module(adapted(Returning(lambda x: "nothing")), (ONES,))


def test_complex_outputs_are_pairs() -> None:
    found = adapted(Returning(lambda x: torch.complex(x, -x).conj())).results(ONES)
    assert found.tensors["output"].tolist() == [[1, 1], [1, 1]]


# --- what a call keeps --------------------------------------------------------------------------


class Caching(nn.Module):
    """Keeps grids of the last size, as detectors do."""

    def __init__(self) -> None:
        super().__init__()
        self.cache: dict[str, Tensor] = {"grid": torch.zeros(3)}
        self.shapes: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.cache["grid"] = torch.arange(3.0)
        self.shapes.append(len(x))
        self.last = x
        return x + self.cache["grid"][0]


def test_attributes_are_as_before_the_call() -> None:
    module = Caching()
    grid, shapes = module.cache["grid"], module.shapes
    adapted(module)(ONES)
    assert module.cache == {"grid": grid}
    assert module.shapes is shapes
    assert shapes == []
    assert not hasattr(module, "last")


# --- cuts ---------------------------------------------------------------------------------------


class Chain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.twice = Returning(lambda x: x * 2)
        self.nested = nn.Sequential(Returning(lambda x: {"in": x, "out": x + 1}))
        self.never = nn.Identity()
        self.tail_runs = 0
        self.tail: Any = lambda: None

    def forward(self, x: Tensor) -> Tensor:
        y = self.twice(x)
        y += 100
        y = self.nested(y)["out"]
        self.tail()
        return y * 0


def cut(module: nn.Module, *paths: str) -> dict[str, list[float]]:
    adapter = adapted(module, cuts=paths)
    adapter.results(ONES)  # the first call counts; what is asserted is what every later one gives
    return {name: tensor.tolist() for name, tensor in adapter.results(ONES).tensors.items()}


def test_a_cut_gives_the_value_before_it_is_changed_in_place() -> None:
    assert cut(Chain(), "twice") == {"twice": [2, 2]}


def test_cuts_come_in_the_order_asked_for_with_their_own_structure() -> None:
    found = cut(Chain(), "nested.0", "twice")
    assert found == {"nested.0.in": [102, 102], "nested.0.out": [103, 103], "twice": [2, 2]}
    assert list(found) == ["nested.0.in", "nested.0.out", "twice"]


def test_what_follows_the_last_cut_is_not_run() -> None:
    module = Chain()
    calls: list[int] = []
    module.tail = lambda: calls.append(1)
    adapter = adapted(module, cuts=["twice"])
    for _ in range(3):
        adapter(ONES)
    assert len(calls) <= 1, "the first call alone may find out how often the module runs"


def test_what_follows_the_last_cut_may_fail() -> None:
    module = Chain()
    module.tail = lambda: [].pop()
    assert cut(module, "nested.0") == {"nested.0.in": [102, 102], "nested.0.out": [103, 103]}


def test_what_precedes_a_cut_may_not_fail() -> None:
    module = Chain()
    module.nested = nn.Sequential(Returning(lambda x: [].pop()))
    with pytest.raises(IndexError):
        cut(module, "nested.0", "twice")


class Shared(nn.Module):
    """One head for three levels."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.other = Returning(lambda x: x * 2), nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(3):
            x = self.other(self.head(x))
        return x


@pytest.mark.parametrize("paths", [["head"], ["other", "head"]], ids=" ".join)
def test_of_several_calls_the_last_counts(paths: Sequence[str]) -> None:
    assert cut(Shared(), *paths) == {path: [8, 8] for path in paths}


def test_a_module_that_is_never_run() -> None:
    with pytest.raises(UsageError, match=r"The model never runs never on its inputs\."):
        cut(Chain(), "twice", "never")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("twise", "Perhaps you meant 'twice'"),
        ("nested.1", "Perhaps you meant 'nested.0' or 'nested'"),
        ("qqqq", "Expected a path below one of twice, nested, never."),
    ],
)
def test_an_unknown_path_offers_the_nearest(path: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        part(Chain(), path)
    assert str(caught.value).startswith(f"Chain has no module {path!r}.")
    assert said in str(caught.value)


def test_hooks_are_taken_off() -> None:
    module = Chain()
    cut(module, "twice")
    assert not module.twice._forward_hooks


def test_paths_lose_the_adapters_prefix_alone() -> None:
    assert unprefixed("model.model.layer") == "model.layer"
    assert (unprefixed("model"), unprefixed("modeling.x")) == ("", "modeling.x")


# --- state --------------------------------------------------------------------------------------


class Counter(nn.Module):
    """Adds up what it has seen: one buffer changed in place, one put in the place of the old."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Module()
        self.inner.register_buffer("total", torch.zeros(2))
        self.register_buffer("calls", torch.tensor(0))
        self.register_buffer("fixed", torch.tensor(3.0), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        self.inner.total += x
        self.calls = self.calls + 1
        return self.inner.total * self.fixed


def trial(module: nn.Module, *, may_carry: bool) -> Trial:
    return try_module(adapted(module), (ONES,), may_carry=may_carry)


def test_state_that_reaches_the_outputs_is_refused() -> None:
    module = Counter()
    with pytest.raises(ExportError) as caught:
        trial(module, may_carry=False)
    assert str(caught.value).startswith(
        "The outputs depend on what earlier calls left in calls, inner.total."
    )
    assert "--state" in str(caught.value)


def test_a_trial_finds_the_buffers_that_change_and_puts_them_back() -> None:
    module = Counter()
    found = trial(module, may_carry=True)
    assert sorted(found.changing) == ["calls", "inner.total"]
    assert module.inner.total.tolist() == [0, 0]
    assert int(module.calls) == 0


def test_state_goes_in_and_comes_out() -> None:
    module, plain = Counter(), Counter()
    adapter = adapted(module, state=["inner.total", "calls"])
    state = (torch.zeros(2), torch.tensor(0))
    for index in range(3):
        x = torch.full((2,), float(index))
        output, *state = adapter(x, *state)
        assert output.tolist() == plain(x).tolist()
    assert list(adapter.results(ONES, *state).tensors) == [
        "output",
        "inner.total.next",
        "calls.next",
    ]
    assert module.inner.total.tolist() == [0, 0], "the module itself keeps what it had"
    assert int(module.calls) == 0
    assert int(plain.calls) == 3


def test_state_given_is_not_changed_in_place() -> None:
    total = torch.zeros(2)
    adapted(Counter(), state=["inner.total", "calls"])(ONES, total, torch.tensor(0))
    assert total.tolist() == [0, 0]


def test_buffers_come_back_when_the_call_fails() -> None:
    module = Counter()
    buffer = module.inner.total
    with pytest.raises(RuntimeError):
        adapted(module, state=["inner.total"])(torch.ones(3), torch.zeros(2))
    assert module.inner.total is buffer


def test_state_that_is_no_buffer() -> None:
    with pytest.raises(UsageError, match=r"Counter has no buffer 'inner\.sum'"):
        adapted(Counter(), state=["inner.sum"])(ONES, ONES)


class RemembersInAnAttribute(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.last: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        before, self.last = self.last, x
        return x if before is None else x + before


def test_state_in_an_attribute_is_refused_with_its_name() -> None:
    module = RemembersInAnAttribute()
    with pytest.raises(ExportError, match=r"earlier calls left in last\..*register_buffer"):
        trial(module, may_carry=False)
    assert module.last is None


def test_a_random_model_is_refused() -> None:
    with pytest.raises(ExportError, match="gives other outputs each time"):
        trial(Returning(lambda x: x + torch.randn(2)), may_carry=False)
