"""What a module is called with: from what a user says to a tree of arguments, and back to leaves."""

from __future__ import annotations

import dataclasses
import warnings
from collections import OrderedDict
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from modelport.errors import UsageError
from modelport.frontends.inputs import Inputs, Leaf, leaves, read_inputs
from modelport.types import Dim, TensorSpec


def module(forward: Any) -> nn.Module:
    """A module with that forward."""
    return type("Net", (nn.Module,), {"forward": forward})()


def bound(inputs: Inputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments with a tensor of its own number in the place of every input."""
    return inputs.bind([torch.tensor(index) for index in range(len(inputs.specs))])


def numbered(forward: Any, given: Any) -> Any:
    """What forward returns, with the number of the input in the place of each tensor."""
    args, kwargs = bound(read_inputs(given, module(forward)))
    return forward(None, *args, **kwargs)


def names(forward: Any, given: Any) -> list[str]:
    return [spec.name for spec in read_inputs(given, module(forward)).specs]


def everything(self: Any, a: Any, b: Any = "b", *rest: Any, c: Any = "c", **more: Any) -> Any:
    return (a, b, *rest, c, more)


def two(self: Any, x: Any, y: Any) -> Any:
    return x, y


def with_gap(self: Any, x: Any, scale: Any = None, shift: Any = None) -> Any:
    return x, scale, shift


# --- forms of one item --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ("image=1x3", TensorSpec("image", "float32", (1, 3))),
        ("1x3", TensorSpec("x", "float32", (1, 3))),
        ("scalar", TensorSpec("x", "float32", ())),
        ("ids:int64=n[1..4]x3", TensorSpec("ids", "int64", (Dim(1, 4, "n"), 3))),
        (TensorSpec("own", "uint8", (2,)), TensorSpec("own", "uint8", (2,))),
        (torch.zeros(2, 3, dtype=torch.float64), TensorSpec("x", "float64", (2, 3))),
        (np.zeros((), np.int32), TensorSpec("x", "int32", ())),
        (torch.ones(2, requires_grad=True), TensorSpec("x", "float32", (2,))),
    ],
    ids=str,
)
def test_one_item(item: Any, expected: TensorSpec) -> None:
    def forward(self: Any, x: Any) -> Any:
        return x

    for items in (item, [item], (item,)):
        read = read_inputs(items, module(forward))
        assert read.specs == [expected]
        (args, kwargs) = bound(read)
        assert [*args, *kwargs.values()] == [0]


def test_examples_are_kept_only_where_every_input_has_one() -> None:
    tensor = torch.tensor([1.0, 2.0])
    read = read_inputs([tensor, np.array([3], np.int64)], module(two))
    assert read.examples is not None
    assert {name: array.tolist() for name, array in read.examples.items()} == {
        "x": [1.0, 2.0],
        "y": [3],
    }
    assert read_inputs([tensor, "y=2"], module(two)).examples is None


def test_a_type_that_numpy_lacks_is_refused() -> None:
    with pytest.raises(UsageError, match=r"The input 'x' has the element type bfloat16"):
        read_inputs([torch.zeros(1, dtype=torch.bfloat16), "1"], module(two))


# --- where items go -----------------------------------------------------------------------------


def test_by_position_under_the_names_of_forward() -> None:
    assert names(two, ["1", "2"]) == ["x", "y"]
    assert numbered(two, ["1", "2"]) == (0, 1)


def test_own_names_that_forward_lacks_go_by_position() -> None:
    assert names(two, ["left=1", "right=2"]) == ["left", "right"]
    assert numbered(two, {"left": "1", "right": "2"}) == (0, 1)


@pytest.mark.parametrize("given", [{"y": "2", "x": "1"}, ["y=2", "x=1"]], ids=["dict", "list"])
def test_names_of_forward_put_items_in_its_order(given: Any) -> None:
    read = read_inputs(given, module(two))
    assert [(spec.name, spec.shape) for spec in read.specs] == [("x", (1,)), ("y", (2,))]
    assert numbered(two, given) == (0, 1)


def test_a_gap_is_left_to_the_default() -> None:
    assert numbered(with_gap, {"x": "1", "shift": "2"}) == (0, None, 1)
    assert numbered(with_gap, ["shift=2", "x=1"]) == (0, None, 1)


def test_values_that_are_no_tensors_are_passed_as_they_are() -> None:
    assert numbered(with_gap, {"x": "1", "scale": 3, "shift": None}) == (0, 3, None)
    assert numbered(with_gap, [torch.zeros(1), True]) == (0, True, None)
    assert names(with_gap, [torch.zeros(1), True, np.zeros(2)]) == ["x", "shift"]


def test_more_positions_than_names() -> None:
    assert names(everything, ["1", "2", "3", "4"]) == ["a", "b", "input_2", "input_3"]
    assert numbered(everything, ["1", "2", "3", "4"]) == (0, 1, 2, 3, "c", {})


def test_keyword_only() -> None:
    assert numbered(everything, {"c": "1", "a": "2"}) == (0, "b", 1, {})
    assert names(everything, {"c": "1", "a": "2"}) == ["a", "c"]


def test_positional_only() -> None:
    def forward(self: Any, x: Any, y: Any, /) -> Any:
        return x, y

    assert numbered(forward, ["1", "2"]) == (0, 1)
    assert numbered(forward, {"x": "1", "y": "2"}) == (0, 1)


def test_names_that_only_kwargs_take() -> None:
    def only_more(self: Any, **more: Any) -> Any:
        return more

    assert numbered(only_more, {"b": "1", "a": "2"}) == {"b": 0, "a": 1}
    assert numbered(everything, {"extra": "1", "a": "2"}) == (0, "b", "c", {"extra": 1})


def test_a_wrapper_that_takes_anything_is_called_by_position() -> None:
    def wrapper(self: Any, *args: Any, **more: Any) -> Any:
        return args, more

    assert numbered(wrapper, ["1", "2"]) == ((0, 1), {})
    assert numbered(wrapper, {"input_ids": "1", "y": "2"}) == ((), {"input_ids": 0, "y": 1})


# --- containers ---------------------------------------------------------------------------------


@dataclasses.dataclass
class Batch:
    image: Any
    mask: Any = None
    scale: float = 2.0


@dataclasses.dataclass(frozen=True)
class Made:
    """Fields that its constructor does not take, or makes itself."""

    image: Any
    count: int = dataclasses.field(init=False, default=7)

    def __post_init__(self) -> None:
        if not hasattr(self.image, "shape") and not isinstance(self.image, Tensor):
            raise TypeError("no tensor")


class Pair(NamedTuple):
    first: Any
    second: Any


def one(self: Any, batch: Any) -> Any:
    return batch


def of_batch(self: Any, batch: Batch) -> Any:
    return batch


def of_pair(self: Any, batch: Pair) -> Any:
    return batch


def test_nested_containers_keep_their_kinds() -> None:
    given = {"batch": {"a": [torch.zeros(1), Pair(torch.zeros(2), None)], "b": (np.zeros(3), "4")}}
    assert names(one, given) == ["batch.a.0", "batch.a.1.first", "batch.b.0", "batch.b.1"]
    found = numbered(one, given)
    assert found == {"a": [0, Pair(1, None)], "b": (2, 3)}
    assert isinstance(found["a"][1], Pair)


def test_a_dataclass_of_examples() -> None:
    assert names(one, Batch(torch.zeros(1), torch.zeros(2))) == ["batch.image", "batch.mask"]
    assert numbered(one, [Batch(torch.zeros(1), torch.zeros(2), 3.0)]) == Batch(0, 1, 3.0)


def test_a_dataclass_with_fields_of_its_own_making() -> None:
    """Neither a specification nor a leaf is what its constructor wants; a tensor is."""
    found = numbered(one, Made(torch.zeros(1)))
    assert (found.image, found.count) == (0, 7)


def test_dotted_names_become_a_mapping() -> None:
    assert numbered(one, ["batch.b=1", "batch.a=2"]) == {"b": 0, "a": 1}
    assert names(one, ["batch.b=1", "batch.a.deep=2"]) == ["batch.b", "batch.a.deep"]


def test_dotted_names_become_what_forward_is_annotated_with() -> None:
    module_ = module(of_batch)
    read = read_inputs(["batch.mask=1", "batch.image=2"], module_)
    (batch,) = bound(read)[1].values()
    assert batch == Batch(image=1, mask=0)
    assert isinstance(numbered(of_pair, {"batch": {"second": "1", "first": "2"}}), Pair)
    assert numbered(of_pair, {"batch": {"second": "1", "first": "2"}}) == Pair(1, 0)


@pytest.mark.parametrize(
    ("forward", "given", "said"),
    [
        (of_batch, ["batch.mask=1"], "Batch"),
        (of_pair, ["batch.first=1"], "Pair"),
        (of_batch, ["batch.image=1", "batch.other=1"], "other"),
    ],
    ids=["dataclass", "named tuple", "unknown field"],
)
def test_fields_that_do_not_make_the_container(forward: Any, given: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read_inputs(given, module(forward))


def test_numbers_as_keys_become_a_list() -> None:
    """They are the names that a list of examples gave the inputs."""
    examples = [[torch.zeros(1), torch.zeros(2)]]
    assert names(one, examples) == ["batch.0", "batch.1"]
    assert numbered(one, ["batch.0=1", "batch.1=2"]) == [0, 1]


def test_the_users_own_mapping_stays_as_it_is() -> None:
    inner = {"a": "1"}
    read_inputs({"batch": inner, "batch.b": "2"}, module(one))
    assert inner == {"a": "1"}


# --- mistakes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("forward", "given", "said"),
    [
        (two, None, "The inputs of Net are not known. Expected one specification for each input"),
        (
            two,
            ["1", "2", "3"],
            "3 inputs were given, and forward of Net takes 2 by position (x, y)",
        ),
        (two, ["a=1", "b=2", "c=3"], "3 inputs were given, and forward of Net takes 2"),
        (two, "x=1", "Inputs were given for x, and forward of Net takes 'y' too. Expected one for"),
        (two, "image=1", "1 of the inputs were given (image), and forward of Net takes x, y"),
        (two, ["x=1", "x=2"], "The input 'x' is given twice"),
        (one, ["batch.a=1", "batch.a=2"], "The input 'batch.a' is given twice"),
        (one, ["batch=1", "batch.a=2"], "The input 'batch.a' is given twice"),
        (one, ["batch.a=2", "batch=1"], "The input 'batch' is given twice"),
        (two, [1, True], "No input is a tensor. Expected at least one"),
        (two, [], "No input is a tensor"),
        (two, ["1", TensorSpec("x", "float32", (1,))], "The input 'x' is given twice"),
        (one, "1x3x", "The size '' in 'batch=1x3x' cannot be read"),
    ],
    ids=lambda value: getattr(value, "__name__", None) or str(value),
)
def test_mistakes(forward: Any, given: Any, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_inputs(given, module(forward))
    assert said in str(caught.value)


# --- scripts ------------------------------------------------------------------------------------


class Scripted(nn.Module):
    def forward(self, x: Tensor, flag: bool = True, shift: Tensor | None = None) -> Tensor:
        y = x if flag else -x
        return y if shift is None else y + shift


def test_a_scripts_parameters_have_names_and_defaults() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit.script is on its way out
        script = torch.jit.script(Scripted())
    assert [spec.name for spec in read_inputs("1x3", script).specs] == ["x"]
    assert bound(read_inputs({"shift": "3", "x": "1x3"}, script)) == ((), {"x": 0, "shift": 1})
    with pytest.raises(UsageError, match="takes 'x' too"):
        read_inputs({"shift": "3"}, script)


# --- trees --------------------------------------------------------------------------------------

keys = st.text("abcxyz", min_size=1, max_size=3)
trees = st.recursive(
    st.integers(0, 3).map(lambda size: np.zeros(size, np.float32)) | st.booleans() | st.none(),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(keys, inner, max_size=3),
        st.tuples(inner, inner).map(lambda pair: Pair(*pair)),
        st.tuples(inner, inner).map(lambda pair: Batch(*pair)),
    ),
    max_leaves=8,
)


@given(trees)
def test_a_tree_comes_back_from_its_leaves(tree: Any) -> None:
    """Reading takes a tree apart; binding its own tensors puts the same tree together."""
    arrays = [value for _, value in leaves(tree) if isinstance(value, np.ndarray)]
    if not arrays:
        with pytest.raises(UsageError, match="No input is a tensor"):
            read_inputs({"batch": tree}, module(one))
        return
    read = read_inputs({"batch": tree}, module(one))
    found = [(name, value) for name, value in leaves({"batch": tree}) if hasattr(value, "shape")]
    assert [(spec.name, spec.shape) for spec in read.specs] == [(n, a.shape) for n, a in found]
    _, kwargs = read.bind(arrays)
    _demand_same(kwargs["batch"], tree)


def _demand_same(got: Any, want: Any) -> None:
    assert type(got) is type(want)
    assert list(leaves(got)) == list(leaves(want))


def test_leaves_of_every_container() -> None:
    tree = OrderedDict(a=[1, (2,)], b=Batch(3, Pair(4, None)), c={})
    assert list(leaves(tree)) == [
        ("a.0", 1), ("a.1.0", 2), ("b.image", 3), ("b.mask.first", 4), ("b.mask.second", None),
        ("b.scale", 2.0),
    ]  # fmt: skip
    assert list(leaves(5)) == [("", 5)]
    assert not any(isinstance(value, Leaf) for _, value in leaves(tree))
