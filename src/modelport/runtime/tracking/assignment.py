"""Pairs of rows and columns that cost least together."""

from __future__ import annotations

import numpy as np

from modelport.types import Array


def assign(costs: Array) -> tuple[Array, Array]:
    """The cheapest way to give each row, or each column, a partner of its own.

    Shortest augmenting paths with potentials (Jonker and Volgenant, A shortest augmenting path algorithm,
    1987): a row at a time finds the cheapest path to a free column, over columns that others then
    give up. Cubic in the smaller side.

    Args:
        costs: N x M, finite.

    Returns:
        Rows in order and their columns, as many as the smaller of N and M.
    """
    costs = np.asarray(costs, np.float64)
    if costs.shape[0] > costs.shape[1]:
        columns, rows = assign(costs.T)
        order = np.argsort(rows, kind="stable")
        return rows[order], columns[order]
    count, width = costs.shape
    row_price, column_price = np.zeros(count), np.zeros(width)
    owner = np.full(width, -1)
    for start in range(count):
        _augment(costs, start, owner, row_price, column_price)
    columns = np.flatnonzero(owner >= 0)
    order = np.argsort(owner[columns], kind="stable")
    return owner[columns][order], columns[order]


def _augment(costs: Array, start: int, owner: Array, row_price: Array, column_price: Array) -> None:
    """Finds a column for one row more, in place."""
    width = costs.shape[1]
    reach = np.full(width, np.inf)  # of each column, the cheapest path to it
    before = np.full(width, -1)  # the row from which it is reached
    done = np.zeros(width, bool)
    row, paid = start, 0.0
    while True:
        reduced = paid + costs[row] - row_price[row] - column_price
        better = ~done & (reduced < reach)
        reach[better] = reduced[better]
        before[better] = row
        column = int(np.where(done, np.inf, reach).argmin())
        paid = float(reach[column])
        done[column] = True
        if owner[column] < 0:
            break
        row = int(owner[column])
    settled = done & (owner >= 0)
    row_price[start] += paid
    row_price[owner[settled]] += paid - reach[settled]
    column_price[done] -= paid - reach[done]
    while True:  # back along the path, each row takes the column it came by
        row = int(before[column])
        taken = np.flatnonzero(owner == row)
        owner[column] = row
        if row == start:
            return
        column = int(taken[0])


def pairs_below(costs: Array, limit: float) -> list[tuple[int, int]]:
    """The cheapest pairs, none of which costs more than the limit; to leave two alone costs the limit.

    Args:
        costs: N x M.
    """
    if not costs.size:
        return []
    rows, columns = assign(np.minimum(costs, limit))
    return [
        (row, column)
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
        if costs[row, column] < limit
    ]
