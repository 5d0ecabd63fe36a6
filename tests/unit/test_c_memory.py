"""Buffers of the C engine share memory only where they are never alive together."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from modelport.engines.c.memory import ALIGNMENT, planned

NAMES = "abcdefgh"


@given(
    st.lists(st.integers(1, 200), min_size=len(NAMES), max_size=len(NAMES)),
    st.lists(st.lists(st.sampled_from(NAMES), max_size=3), max_size=12),
)
def test_buffers_alive_together_do_not_meet(numbers: list[int], steps: list[list[str]]) -> None:
    sizes = dict(zip(NAMES, numbers, strict=True))
    offsets, total = planned(sizes, steps)
    alive: dict[str, set[int]] = {}
    for name in NAMES:
        used = [index for index, step in enumerate(steps) if name in step]
        alive[name] = set(range(used[0], used[-1] + 1)) if used else set(range(len(steps)))
    for one in NAMES:
        assert offsets[one] % ALIGNMENT == 0
        assert offsets[one] + sizes[one] <= total
        for other in NAMES:
            if one < other and alive[one] & alive[other]:
                low, high = sorted((one, other), key=offsets.__getitem__)
                assert offsets[low] + sizes[low] <= offsets[high]


def test_a_chain_takes_no_more_than_its_two_largest_neighbours() -> None:
    sizes = {"a": 160, "b": 320, "c": 160, "d": 320, "e": 16}
    steps = [["a", "b"], ["b", "c"], ["c", "d"], ["d", "e"]]
    assert planned(sizes, steps)[1] == 480


def test_nothing_takes_nothing() -> None:
    assert planned({}, [["x"]]) == ({}, 0)
