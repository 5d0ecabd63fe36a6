"""What was measured of other models on machines like this one, and what it lets a search spare.

Every search leaves, for its model, how long each choice took relative to the fastest. A choice that was
clearly slower than another on every model that both were timed on is not tried while the other may be had.
Only the same instruction sets, number of cores and engine versions count: beyond them nothing is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

MODELS = 3
"""Of fewer models nothing is concluded."""

CLEARLY = 1.1
"""This much slower, at the least, on each of those models."""

Relative = Mapping[str, float]
"""Times of choices by name, over that of the fastest."""


@dataclass(frozen=True)
class Behind:
    """How a choice did beside another: at best `ratio` times its time, on that many models."""

    ratio: float
    models: int


class Experience:
    """Of several models, each with the relative times of its choices."""

    def __init__(self, runs: Sequence[Relative] = ()) -> None:
        self._runs = [dict(run) for run in runs]

    def behind(self, name: str, other: str) -> Behind | None:
        """Set where `name` was clearly slower than `other` whenever both were timed."""
        ratios = [run[name] / run[other] for run in self._runs if name in run and other in run]
        if len(ratios) < MODELS or min(ratios) < CLEARLY:
            return None
        return Behind(min(ratios), len(ratios))

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
