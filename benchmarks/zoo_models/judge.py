"""The zoo's own comparison: the eager module against ONNX Runtime, apart from modelport's checks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from zoo_models.case import flattened

TOLERANCE = 1e-3
"""Largest relative error of an output that counts as correct."""

MOVEMENT = 1e-2
"""Least relative change of an output between two inputs that counts as movement."""

_TINY = 1e-6

Pair = tuple[np.ndarray, np.ndarray]
"""An output of the eager module, and the same one of the graph."""


def results_of(value: Any) -> list[np.ndarray | bool | int | float]:
    """What a module returned, flat: arrays for tensors, and Python's own numbers as they are."""
    leaves = [
        leaf for leaf in flattened(value) if isinstance(leaf, (torch.Tensor, bool, int, float))
    ]
    return [
        leaf.detach().cpu().numpy() if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves
    ]


def aligned(want: Sequence[Any], count: int) -> list[np.ndarray]:
    """The results that a graph of so many outputs can be compared with.

    A graph may hold Python's numbers as constants or leave them out.

    Raises:
        AssertionError: where the number of outputs fits neither.
    """
    tensors = [value for value in want if isinstance(value, np.ndarray)]
    if count == len(tensors):
        return tensors
    assert count == len(want), f"{count} outputs where the module returns {len(tensors)}"
    return [np.asarray(value) for value in want]


def error_of(want: Sequence[np.ndarray], got: Sequence[np.ndarray], *, rows: bool) -> float:
    """The largest relative error over all outputs; infinite where shapes or kinds differ."""
    if rows:
        return _error_of_rows(want, got)
    return max(
        (relative_error(one, other) for one, other in zip(want, got, strict=True)), default=0
    )


def _error_of_rows(want: Sequence[np.ndarray], got: Sequence[np.ndarray]) -> float:
    """Rows of several outputs belong together; what has more axes is compared on its own."""
    pairs = list(zip(want, got, strict=True))
    flat = [pair for pair in pairs if pair[0].ndim < 4]
    errors = [_error_of_flat(flat)] if flat else []
    if flat and errors[0] > TOLERANCE and any(_is_of_pairs(*pair) for pair in flat):
        errors = [min(errors[0], _error_with_pairs(flat))]
    errors += [_error_on_any_axis(one, other) for one, other in pairs if one.ndim >= 4]
    return max(errors, default=math.inf if want else 0)


def _error_of_flat(flat: Sequence[Pair]) -> float:
    groups = _grouped([one for one, _ in flat], [other for _, other in flat])
    return max(_rows_error(*group) for group in groups)


def _is_of_pairs(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether it may hold a number for each two rows: which is read before the other, say."""
    return one.ndim == 3 and one.shape[1] == one.shape[2] and one.shape == other.shape


def _error_with_pairs(flat: Sequence[Pair]) -> float:
    """The error where numbers of two rows move along both axes, as the other outputs say.

    Infinite where no other output says which row is which.
    """
    others = [pair for pair in flat if not _is_of_pairs(*pair)]
    errors = [_error_of_flat(others)] if others else []
    for want, got in [pair for pair in flat if _is_of_pairs(*pair)]:
        rows = [
            pair for pair in others if pair[0].ndim == 3 and pair[0].shape[:2] == want.shape[:2]
        ]
        errors.append(_error_of_pairs(want, got, rows) if rows else math.inf)
    return max(errors)


def _error_of_pairs(want: np.ndarray, got: np.ndarray, rows: Sequence[Pair]) -> float:
    """A table may be square by chance: ten queries with ten coordinates each, say."""
    ((mine, theirs),) = _grouped([one for one, _ in rows], [other for _, other in rows])
    if mine.shape != theirs.shape:
        return math.inf
    orders = [_matching(one, other) for one, other in zip(mine, theirs, strict=True)]
    moved = [table[order] for table, order in zip(got, orders, strict=True)]
    both = [table[:, order] for table, order in zip(moved, orders, strict=True)]
    return min(relative_error(want, np.stack(moved)), relative_error(want, np.stack(both)))


def _error_on_any_axis(want: np.ndarray, got: np.ndarray) -> float:
    """The error where rows may lie on any axis but the first and the last, as layers of queries do."""
    as_it_is = relative_error(want, got)
    if as_it_is <= TOLERANCE or want.shape != got.shape:
        return as_it_is
    one, other = _scaled(want, want), _scaled(got, want)
    found = [
        _rows_error(
            one.reshape(math.prod(one.shape[:axis]), one.shape[axis], -1),
            other.reshape(math.prod(one.shape[:axis]), one.shape[axis], -1),
        )
        for axis in range(1, want.ndim - 1)
    ]
    return min(as_it_is, *found)


def relative_error(want: np.ndarray, got: np.ndarray) -> float:
    """max|want - got| / max|want|, with NaNs and infinities in the same places.

    Integers and booleans must be equal.
    """
    if want.shape != got.shape or want.dtype.kind not in _kin(got.dtype.kind):
        return math.inf
    if not want.size:
        return 0.0
    if want.dtype.kind in "biu":
        return 0.0 if np.array_equal(want, got) else math.inf
    one, other = _wide(want), _wide(got)
    finite = np.isfinite(one)
    if not np.array_equal(one[~finite], other[~finite], equal_nan=True):
        return math.inf
    if not np.isfinite(other[finite]).all():
        return math.inf
    if not finite.any():
        return 0.0
    largest = float(np.abs(one[finite]).max())
    return float(np.abs(one[finite] - other[finite]).max()) / max(largest, _TINY)


def _kin(kind: str) -> str:
    return {"i": "iu", "u": "iu", "b": "b", "f": "fV", "V": "fV", "c": "cf"}.get(kind, kind)


def _wide(array: np.ndarray) -> np.ndarray:
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)


def _grouped(
    want: Sequence[np.ndarray], got: Sequence[np.ndarray]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Outputs that describe the same rows, joined: boxes with their scores and labels.

    Those of `[rows, ...]` or `[batch, rows, ...]` belong together where both sizes agree.
    """
    groups: dict[tuple[int, ...], tuple[list[np.ndarray], list[np.ndarray]]] = {}
    for one, other in zip(want, got, strict=True):
        batched = one.ndim == 3
        lead = one.shape[:2] if batched else (1, *one.shape[:1])
        if one.ndim == 0 or other.ndim != one.ndim:
            return [(one, np.full((1, 1, 1), np.inf))]
        mine, theirs = groups.setdefault(lead, ([], []))
        seen = other.shape[:2] if batched else (1, *other.shape[:1])
        mine.append(_lines(_scaled(one, one), lead))
        theirs.append(_lines(_scaled(other, one), seen))
    return [_joined(mine, theirs) for mine, theirs in groups.values()]


def _joined(mine: list[np.ndarray], theirs: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    one = np.concatenate(mine, axis=-1)
    if any(part.shape[:2] != theirs[0].shape[:2] for part in theirs):
        return one, np.full((1, 1, 1), np.inf)
    return one, np.concatenate(theirs, axis=-1)


def _lines(array: np.ndarray, lead: tuple[int, ...]) -> np.ndarray:
    """One line of numbers to a row, also where there are no rows."""
    return array.reshape(*lead, math.prod(array.shape[2 if array.ndim == 3 else 1 :]))


def _scaled(array: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Divided by the largest value, so that boxes and scores count alike."""
    finite = reference[np.isfinite(reference)]
    largest = float(np.abs(finite).max()) if finite.size else 1.0
    scaled = array.astype(np.float64) / max(largest, _TINY)
    return np.nan_to_num(scaled, nan=_FAR / 2, posinf=_FAR, neginf=-_FAR)


_FAR = 1e9
"""Stands for what is not finite, which must be found in the same places."""


def _rows_error(want: np.ndarray, got: np.ndarray) -> float:
    """The largest difference of a row and the one that it is matched with."""
    if want.shape != got.shape:
        return math.inf
    differences = [
        np.abs(others[_matching(rows, others)] - rows)
        for rows, others in zip(want, got, strict=True)
    ]
    return max((float(each.max(initial=0.0)) for each in differences), default=0.0)


def _matching(rows: np.ndarray, others: np.ndarray) -> list[int]:
    """For each row the nearest of the others that is not taken yet."""
    left, found = list(range(len(others))), list[int]()
    for row in rows:
        distances = np.abs(others[left] - row).max(axis=-1, initial=0.0)
        found.append(left.pop(int(distances.argmin())))
    return found


def movement_of(one: Sequence[Any], other: Sequence[Any]) -> float:
    """How far the outputs move between two inputs: the largest relative change of any of them.

    Outputs of integers or booleans, and outputs of other sizes, move fully where they differ.
    """
    changes = [
        _change(a, b)
        for a, b in zip(one, other, strict=True)
        if isinstance(a, np.ndarray) and isinstance(b, np.ndarray)
    ]
    return max(changes, default=0.0)


def _change(one: np.ndarray, other: np.ndarray) -> float:
    if one.shape != other.shape:
        return 1.0
    if one.dtype.kind in "biu":
        return float(not np.array_equal(one, other))
    finite = np.isfinite(one) & np.isfinite(other)
    if not finite.any():
        return 0.0
    a, b = _wide(one)[finite], _wide(other)[finite]
    return float(np.abs(a - b).max()) / max(float(np.abs(a).max()), _TINY)
