"""A spread of the zoo: a third of the hard modules, and a model or two of every library.

With `MODELPORT_ZOO=all` it is every hard module. The whole zoo is run by `benchmarks/zoo.py`; see
`docs/zoo.md`.
"""

from __future__ import annotations

import importlib.util
import math
import os
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from support import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

from zoo_models import GROUPS, cases
from zoo_models.attempt import attempt
from zoo_models.case import Case, flattened, floats
from zoo_models.judge import error_of, movement_of
from zoo_models.shorten import shortened

HARD = cases("hard")
SPREAD = {
    "timm": ("resnet10t", "vit_tiny_patch16_224", "tf_mobilenetv3_small_100", "starnet_s050"),
    "huggingface": (
        "segformer SegformerForSemanticSegmentation",
        "yolos YolosForObjectDetection",
        "mobilenet_v2 MobileNetV2ForSemanticSegmentation",
    ),
    "text": ("distilbert DistilBertForSequenceClassification", "t5 T5EncoderModel"),
    "torchvision": ("mobilenet_v3_small", "lraspp_mobilenet_v3_large"),
}
NEEDS = {
    "timm": "timm",
    "huggingface": "transformers",
    "text": "transformers",
    "torchvision": "torchvision",
}

SHARE = 1 if os.environ.get("MODELPORT_ZOO") == "all" else 3
"""One hard module of so many is run, evenly over the themes."""


def demand(group: str) -> None:
    """Skips where the library of a group is not installed; importing it is up to the zoo."""
    needed = NEEDS.get(group)
    if needed is not None and importlib.util.find_spec(needed) is None:
        pytest.skip(f"{needed} is not installed")


REFUSED = {"control/gradient": "torch.export takes no torch.func.grad inside forward"}
"""Hard modules that no exporter of torch takes; they are in the zoo to say so."""


@pytest.mark.parametrize("name", [name for name in list(HARD)[::SHARE] if name not in REFUSED])
def test_hard_module_is_exported(name: str) -> None:
    outcome = attempt(HARD[name], "ours")
    assert outcome.status == "correct", outcome.reason


@pytest.mark.parametrize(
    ("group", "name"), [(group, name) for group, names in SPREAD.items() for name in names]
)
def test_network_is_exported(group: str, name: str) -> None:
    demand(group)
    outcome = attempt(cases(group)[name], "ours")
    assert outcome.status == "correct", outcome.reason


@pytest.mark.parametrize("group", GROUPS)
def test_groups_hold_what_they_promise(group: str) -> None:
    demand(group)
    least = {"hard": 150, "timm": 100, "huggingface": 100, "text": 40, "torchvision": 35}
    assert len(cases(group)) >= least[group]


@pytest.mark.parametrize("name", HARD)
def test_free_sizes_are_2_or_more_where_they_are_traced(name: str) -> None:
    case = HARD[name]
    for size in range(case.sizes):
        assert flattened(case.feeds(seed=1, size=size))
    traced = [leaf for leaf in flattened(case.inputs) if hasattr(leaf, "free_axes")]
    assert all(sizes[0] >= 2 for leaf in traced for sizes in leaf.free_axes().values())


def test_feeds_are_seeded() -> None:
    case = Case("x", lambda: None, {"x": floats((2, 3), (4, 3))})
    first, again, other = case.feeds(1)["x"], case.feeds(1)["x"], case.feeds(2)["x"]
    assert first.equal(again)
    assert not first.equal(other)
    assert case.feeds(1, size=1)["x"].shape == (4, 3)


class Stage(nn.Module):
    """A row of blocks that is no Sequential, as the stages of RegNet are."""

    def __init__(self) -> None:
        super().__init__()
        for index in range(5):
            self.add_module(f"b{index}", nn.Linear(4, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.children():
            x = block(x)
        return x


class Projections(nn.Module):
    """Equal children that are no row: none can be left out."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(4, 4) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.q(x) * self.k(x) + self.v(x)


class TestShortening:
    @pytest.mark.parametrize("row", [Stage, lambda: nn.Sequential(*Stage().children())])
    def test_rows_of_equal_blocks_are_cut_to_two(self, row: Callable[[], nn.Module]) -> None:
        assert len(list(shortened(row(), (torch.ones(1, 4),)).children())) == 2

    def test_what_no_longer_runs_stays_whole_and_the_rest_is_cut(self) -> None:
        linears = nn.Sequential(*(nn.Linear(4, 4) for _ in range(4)))
        short = shortened(nn.Sequential(Projections(), linears), (torch.ones(1, 4),))
        assert [len(list(part.children())) for part in short.children()] == [3, 2]


class TestJudge:
    def test_error_is_relative_to_the_largest_value(self) -> None:
        want, got = [np.array([10.0, 0.1])], [np.array([10.0, 0.2])]
        assert error_of(want, got, rows=False) == pytest.approx(0.01)

    @pytest.mark.parametrize(
        ("want", "got"),
        [
            (np.zeros((2, 1)), np.zeros((1, 2))),
            (np.array([1, 2]), np.array([1, 3])),
            (np.array([1.0]), np.array([1])),
            (np.array([1.0, np.nan]), np.array([np.nan, 1.0])),
            (np.array([1.0]), np.array([np.inf])),
            (np.array([np.inf]), np.array([-np.inf])),
        ],
    )
    def test_what_is_no_number_away_is_infinitely_wrong(
        self, want: np.ndarray, got: np.ndarray
    ) -> None:
        assert error_of([want], [got], rows=False) == math.inf

    def test_rows_are_compared_as_a_set(self) -> None:
        boxes, scores = np.array([[0.0, 1], [5, 6], [2, 3]]), np.array([0.9, 0.8, 0.7])
        order = [2, 0, 1]
        assert error_of([boxes, scores], [boxes[order], scores[order]], rows=True) == 0
        assert error_of([boxes, scores], [boxes[order], scores], rows=True) > 0.1
        assert error_of([boxes], [boxes[:2]], rows=True) == math.inf

    def test_numbers_of_two_rows_move_along_both_axes(self) -> None:
        generator = np.random.default_rng(0)
        boxes, order = generator.normal(size=(2, 5, 4)), generator.normal(size=(2, 5, 5))
        swap = [1, 0, 2, 4, 3]
        moved = order[:, swap][:, :, swap]
        assert error_of([boxes, order], [boxes[:, swap], moved], rows=True) == 0
        assert error_of([order, boxes], [moved, boxes[:, swap]], rows=True) == 0
        # The boxes say which row is which, so nothing else will do.
        assert error_of([boxes, order], [boxes[:, swap], order[:, swap]], rows=True) == 0
        assert error_of([boxes, order], [boxes[:, swap], order], rows=True) > 0.1
        assert error_of([boxes, order], [boxes, moved], rows=True) > 0.1
        assert error_of([order], [moved], rows=True) > 0.1
        square = generator.normal(size=(2, 5, 5))  # five numbers of each row, by chance
        assert error_of([boxes, square], [boxes[:, swap], square[:, swap]], rows=True) == 0
        want, got = [boxes, square, order], [boxes[:, swap], square[:, swap], moved]
        assert error_of(want, got, rows=True) == 0

    def test_an_output_that_stays_does_not_move(self) -> None:
        one, other = np.ones(3), np.array([1.0, 1.0, 1.5])
        assert movement_of([one], [one]) == 0
        assert movement_of([one, one], [one, other]) == pytest.approx(0.5)


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_exported_is_refused(name: str) -> None:
    """Never wrong; and should torch learn it, this says so."""
    assert attempt(HARD[name], "ours").status == "refused", REFUSED[name]
