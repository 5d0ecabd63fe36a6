"""Outputs that are sets of rows, such as the boxes of a detector, brought into the order of the source.

Two correct models may list equally good boxes in either order, so a detector's outputs are compared as
sets. Only rows whose number the data decides are taken for a set: where every position has its meaning,
as in a batch or a sequence, order counts.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np

from modelport.types import Array, Dim, Outputs, Signature

_DECIDED_BY_DATA = re.compile(r"u\d+")
"""How torch.export names a size that only running the model tells."""

MOST_PAIRS = 4_000_000
"""Above it rows stay in their order: what lists thousands of rows is no set of boxes."""


def row_axes(signature: Signature) -> dict[str, int]:
    """The axis that counts rows, for every output whose number of rows the data decides.

    Where every input has a fixed shape, those are all free sizes of outputs; where inputs have free
    sizes too, only the sizes that torch.export says depend on data.
    """
    static = all(spec.is_static for spec in signature.inputs)
    found = {}
    for spec in signature.outputs:
        axis = next((i for i, size in enumerate(spec.shape) if _is_count(size, static)), None)
        if axis is not None:
            found[spec.name] = axis
    return found


def _is_count(size: int | Dim, static: bool) -> bool:
    if not isinstance(size, Dim):
        return False
    return static or bool(_DECIDED_BY_DATA.fullmatch(size.name or ""))


def in_order_of(source: Outputs, other: Outputs, axes: dict[str, int]) -> Outputs:
    """The other outputs with their rows in the order of the source's.

    Outputs with equally many rows (boxes, scores, labels, masks) describe the same things, so their
    rows move together: the nearest pairs are matched first, all their outputs counted alike. Where the
    numbers of rows differ, rows of zeros stand for the missing ones and rows too many are dropped.
    """
    ordered = dict(other)
    for names in _groups(source, other, axes):
        want = [_rows(source[name], axes[name]) for name in names]
        got = [_rows(other[name], axes[name]) for name in names]
        chosen = _matched(want, got)
        for name, rows in zip(names, got, strict=True):
            ordered[name] = np.moveaxis(_taken(rows, chosen), 0, axes[name])
    return ordered


def count_problem(source: Outputs, other: Outputs, axes: dict[str, int]) -> str | None:
    """Says where the numbers of rows differ, or None where they agree."""
    for name, axis in axes.items():
        want, got = source[name], other[name]
        if want.ndim == got.ndim and want.shape[axis] != got.shape[axis]:
            return f"{name}: {got.shape[axis]} rows, the source has {want.shape[axis]}"
    return None


def _groups(source: Outputs, other: Outputs, axes: dict[str, int]) -> list[list[str]]:
    """Names of outputs that have equally many rows on both sides; those that cannot fit are left out."""
    groups: dict[tuple[int, int], list[str]] = {}
    for name, axis in axes.items():
        want, got = source[name], other[name]
        if want.ndim != got.ndim or _others(want, axis) != _others(got, axis):
            continue
        groups.setdefault((want.shape[axis], got.shape[axis]), []).append(name)
    return list(groups.values())


def _others(array: Array, axis: int) -> tuple[int, ...]:
    return array.shape[:axis] + array.shape[axis + 1 :]


def _rows(array: Array, axis: int) -> Array:
    return np.moveaxis(array, axis, 0)


def _matched(want: Sequence[Array], got: Sequence[Array]) -> list[int | None]:
    """For each row of the source the index of the other's row that it takes: nearest pairs first."""
    mine, theirs = _features(want, want), _features(got, want)
    if len(mine) * len(theirs) > MOST_PAIRS:
        return [index if index < len(theirs) else None for index in range(len(mine))]
    distances = np.array([np.abs(theirs - row).max(axis=1, initial=0.0) for row in mine])
    chosen: list[int | None] = [None] * len(mine)
    taken = np.zeros(len(theirs), bool)
    for pair in np.argsort(distances, axis=None, kind="stable"):
        row, index = divmod(int(pair), len(theirs))
        if chosen[row] is None and not taken[index]:
            chosen[row] = index
            taken[index] = True
    return chosen


def _features(arrays: Sequence[Array], reference: Sequence[Array]) -> Array:
    """One line to a row, each output divided by its largest value in the source."""
    parts = []
    for array, base in zip(arrays, reference, strict=True):
        finite = np.abs(base[np.isfinite(base)].astype(np.float64))
        scale = float(finite.max(initial=0.0)) or 1.0
        flat = array.reshape(len(array), math.prod(array.shape[1:]))
        parts.append(np.nan_to_num(flat.astype(np.float64)) / scale)
    return np.concatenate(parts, axis=1)


def _taken(rows: Array, chosen: Sequence[int | None]) -> Array:
    empty = np.zeros(rows.shape[1:], rows.dtype)
    taken = [empty if index is None else rows[index] for index in chosen]
    return np.stack(taken) if taken else rows[:0]
