"""What was measured of other models on machines like this one, and what it lets a search spare.

Every search leaves, for its model, how long each choice took relative to the fastest. The least ratio of
two choices over several models is taken for a bound: what it puts clearly behind something that may be had
is not tried. Only the same instruction sets, number of cores and engine versions count: beyond them nothing
is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

MODELS = 3
"""Of fewer models nothing is concluded."""

CLEARLY = 1.25
"""How far behind what is spared must be: the next model may be outside all ratios that were seen. With 1.1
`benchmarks/engines.py` lost the best choice of one model in nine."""

Relative = Mapping[str, float]
"""Times of choices by name, over that of the fastest."""


@dataclass(frozen=True)
class Least:
    """How a choice did beside another where it did best: at `ratio` times its time, of that many models."""

    ratio: float
    models: int


class Experience:
    """Of several models, each with the relative times of its choices."""

    def __init__(self, runs: Sequence[Relative] = ()) -> None:
        self._runs = [dict(run) for run in runs]

    def least(self, name: str, other: str) -> Least | None:
        """None where too few models tell."""
        ratios = [run[name] / run[other] for run in self._runs if name in run and other in run]
        return Least(min(ratios), len(ratios)) if len(ratios) >= MODELS else None

    def to_json(self) -> list[dict[str, float]]:
        return self._runs


NO_EXPERIENCE = Experience()


def relative_times(races: Iterable[Relative]) -> dict[str, float]:
    """One scale for races that were run at different times, by those who took part in several.

    Args:
        races: times by name, in the order they were run; whoever is fast is in the later ones too.
    """
    known: dict[str, float] = {}
    for race in reversed(list(races)):
        shared = sorted(known[name] / race[name] for name in race if name in known)
        if race and (shared or not known):
            scale = shared[len(shared) // 2] if shared else 1 / min(race.values())
            for name, time in race.items():
                known.setdefault(name, time * scale)
    return known
