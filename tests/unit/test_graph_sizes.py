"""Arithmetic with free sizes agrees with arithmetic with numbers, at every size."""

from __future__ import annotations

import operator
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelport.graph import sizes
from modelport.graph.sizes import Call, Entry, Size, Symbol

LEASTS = {"N": 0, "M": 1, "batch size": 2}
N, M = (sizes.symbol(name, least=LEASTS[name]) for name in ("N", "M"))

OPERATIONS: list[tuple[Callable[..., Entry], Callable[[int, int], int]]] = [
    (sizes.add, operator.add),
    (sizes.subtract, operator.sub),
    (sizes.multiply, operator.mul),
    (sizes.divide, operator.floordiv),
    (sizes.truncated, lambda a, b: int(a / b)),
    (sizes.modulo, operator.mod),
    (sizes.maximum, max),
    (sizes.minimum, min),
]


def at(entry: Entry, where: dict[str, int]) -> int:
    """What an entry is at those sizes."""
    assert entry is not None
    if isinstance(entry, int):
        return entry
    total = 0
    for monomial, factor in entry.terms:
        for atom in monomial:
            factor *= where[atom.name] if isinstance(atom, Symbol) else call(atom, where)
        total += factor
    return total


def call(atom: Call, where: dict[str, int]) -> int:
    functions = {"//": operator.floordiv, "%": operator.mod, "Max": max, "Min": min}
    return int(functions[atom.operator](at(atom.left, where), at(atom.right, where)))


@st.composite
def terms(draw: st.DrawFn) -> tuple[Entry, dict[str, int], int]:
    """An entry made by random operations, sizes, and the number that the same operations give."""
    where = {name: draw(st.integers(least, 9)) for name, least in LEASTS.items()}
    pairs: list[tuple[Entry, int]] = [
        (sizes.symbol(name, least=least), where[name]) for name, least in LEASTS.items()
    ]
    pairs += [(number, number) for number in draw(st.lists(st.integers(-3, 12), max_size=3))]
    for _ in range(draw(st.integers(1, 5))):
        symbolic, plain = draw(st.sampled_from(OPERATIONS))
        (left, one), (right, two) = draw(st.sampled_from(pairs)), draw(st.sampled_from(pairs))
        try:
            number = plain(one, two)
        except ZeroDivisionError:
            continue  # a model that divides by zero fails
        entry = symbolic(left, right)
        if entry is not None:
            pairs.append((entry, number))
    entry, number = pairs[-1]
    return entry, where, number


@settings(max_examples=400, deadline=None, derandomize=True)
@given(drawn=terms())
def test_entries_are_what_numbers_are(drawn: tuple[Entry, dict[str, int], int]) -> None:
    entry, where, number = drawn
    try:
        assert at(entry, where) == number
    except ZeroDivisionError:
        return
    bound = sizes.least(entry)
    assert bound is None or bound <= number
    if isinstance(entry, Size):
        text = sizes.rendered(entry)
        if text is not None:
            again = sizes.parsed(text, LEASTS)
            assert again == entry or again == sizes.symbol(text)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(one=terms(), other=terms())
def test_comparisons_hold_everywhere(
    one: tuple[Entry, dict[str, int], int], other: tuple[Entry, dict[str, int], int]
) -> None:
    where = one[1]
    try:
        left, right = at(one[0], where), at(other[0], where)
    except ZeroDivisionError:
        return
    assert sizes.equals(one[0], other[0]) in (None, left == right)
    assert sizes.less(one[0], other[0]) in (None, left < right)


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        (sizes.add(N, 1), "N + 1"),
        (sizes.subtract(N, 1), "N - 1"),
        (sizes.multiply(sizes.add(N, 2), M), "M*N + 2*M"),
        (sizes.divide(sizes.multiply(N, 8), 4), "2*N"),
        (sizes.divide(sizes.add(sizes.multiply(N, 2), 5), 2), "N + 2"),
        (sizes.divide(sizes.multiply(sizes.multiply(M, N), 6), sizes.multiply(M, 3)), "2*N"),
        (sizes.subtract(sizes.add(N, 3), N), "3"),
        (sizes.modulo(sizes.add(sizes.multiply(N, 2), 5), 2), "1"),
        (sizes.maximum(sizes.subtract(M, 1), 0), "M - 1"),
        (sizes.maximum(sizes.subtract(N, 1), 0), "Max(0, N - 1)"),
        (sizes.minimum(N, sizes.add(N, 1)), "N"),
    ],
)
def test_one_form(entry: Entry, text: str) -> None:
    assert str(entry) == text


def test_what_depends_is_not_decided() -> None:
    assert sizes.equals(N, -1) is False
    assert sizes.equals(N, 0) is None
    assert sizes.equals(M, 0) is False
    assert sizes.equals(N, M) is None
    assert sizes.truncated(sizes.subtract(N, 5), 2) is None  # rounds up below zero


@pytest.mark.parametrize("text", ["batch-size", "batch size", "a +b", "images::0", "if", "2x", ""])
def test_names_are_names(text: str) -> None:
    assert sizes.parsed(text, {}) == sizes.symbol(text)


def test_exporters_write_sums() -> None:
    past, one = sizes.symbol("past"), sizes.symbol("seq")
    assert sizes.parsed("past + seq", {}) == sizes.add(past, one)
    assert sizes.parsed("2*past", {}) == sizes.multiply(past, 2)
    assert sizes.parsed("(past + 1)//2", {}) == sizes.divide(sizes.add(past, 1), 2)


def test_sums_do_not_grow_without_end() -> None:
    entry: Entry = 1
    for number in range(100):
        entry = sizes.multiply(entry, sizes.add(sizes.symbol(f"s{number % 7}"), 1))
    assert entry is None
