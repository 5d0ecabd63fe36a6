"""COCO's run lengths, against texts that COCO's own library wrote."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from modelport.errors import DataError
from modelport.runtime.decoding.rle import (
    counts_in,
    counts_of,
    mask_from_rle,
    mask_of,
    rle_from_mask,
    text_of,
)

Array = np.ndarray[Any, Any]


def checkers(height: int, width: int, step: int) -> Array:
    down, across = np.indices((height, width))
    return (down // step + across // step) % 2 == 1


def disc(height: int, width: int, radius: int) -> Array:
    down, across = np.indices((height, width))
    return (down - height / 2) ** 2 + (across - width / 2) ** 2 < radius**2


KNOWN = {
    "checkers": (checkers(9, 7, 2), "222010O0O010010O0O010010O0O0100O"),
    "disc": (
        disc(60, 80, 21),
        "XV1=]14L4L4M2N2N2N2N2O0O2O0O2O0O2O000000000000000000000001N101N101N101N2N2N2N2N3L4L4LnR1",
    ),
    "all": (np.ones((5, 6), bool), "0n0"),
    "none": (np.zeros((300, 200), bool), "Pcj1"),
}
"""What `pycocotools.mask.encode` 2.0.11 writes for these masks."""


@pytest.mark.parametrize("name", KNOWN)
def test_the_text_is_that_of_cocos_library(name: str) -> None:
    mask, text = KNOWN[name]
    assert rle_from_mask(mask) == {"size": list(mask.shape), "counts": text}
    np.testing.assert_array_equal(mask_from_rle({"size": mask.shape, "counts": text}), mask)


masks = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40))


@settings(max_examples=20)
@given(masks)
def test_masks_come_back(mask: Array) -> None:
    np.testing.assert_array_equal(mask_from_rle(rle_from_mask(mask)), mask)
    counts = counts_of(mask)
    assert sum(counts[1::2]) == mask.sum()
    assert all(count > 0 for count in counts[1:])
    listed = {"size": list(mask.shape), "counts": counts}
    np.testing.assert_array_equal(mask_from_rle(listed), mask)


@settings(max_examples=20)
@given(st.lists(st.integers(0, 10**7), min_size=1, max_size=30))
def test_counts_come_back(counts: list[int]) -> None:
    assert counts_in(text_of(counts)) == counts


def test_runs_that_do_not_fill_the_mask_are_refused() -> None:
    with pytest.raises(DataError, match=r"Run lengths add up to 5\. Expected 6: 2x3"):
        mask_of([2, 3], 2, 3)
