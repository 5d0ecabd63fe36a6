"""What experience of other models says of choices that were not tried on this one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from modelport.tune.experience import CLEARLY, Experience, Least
from modelport.tune.space import Choice
from modelport.tune.trying import Trials

RIVALS = 3
"""How many of what was timed bound what was not, the fastest of them."""


@dataclass(frozen=True)
class _Bound:
    """A choice was at best so slow beside the rival, on other models; the rival was timed here.

    Attributes:
        time: of the rival, over that of the fastest.
    """

    least: Least
    rival: str
    time: float

    @property
    def ratio(self) -> float:
        """How far behind the fastest it is, had it done as well as it did at best."""
        return self.least.ratio * self.time


class Foresight:
    """Judges choices by experience, and by what was found of the others so far."""

    def __init__(self, trials: Trials, experience: Experience) -> None:
        self._trials, self._experience = trials, experience

    def behind(self, choice: Choice) -> str | None:
        """Why it cannot be faster than what may still be had; None where it may."""
        return self._behind_a_better_one(choice) or self._behind_by_what_was_timed(choice)

    def at_least(self, choice: Choice) -> float | None:
        """How far behind the fastest it is, or by experience how far at best; None where nothing tells."""
        times = self._trials.times()
        if choice.name in times:
            return times[choice.name]
        bound = self._bound(choice)
        return None if bound is None else bound.ratio

    def _behind_a_better_one(self, choice: Choice) -> str | None:
        """It was slower than another one, on all models. Of its family it stays, where it stands for it."""
        for other in self._trials.plain:
            if choice.first and other.family == choice.family:
                continue
            known = self._experience.least(choice.name, other.name)
            if known is not None and known.ratio >= CLEARLY and self._may_be_had(other):
                return (
                    f"at best {known.ratio:.2f} times as slow as {other.name} "
                    f"on {known.models} other models"
                )
        return None

    def _behind_by_what_was_timed(self, choice: Choice) -> str | None:
        """Next to what was timed here, it never was fast enough to win."""
        bound = self._bound(choice)
        if bound is None or bound.ratio < CLEARLY:
            return None
        return (
            f"at best {bound.least.ratio:.2f} times as slow as {bound.rival} on {bound.least.models} "
            f"other models, which is {bound.time:.2f} times as slow as the fastest here"
        )

    def _bound(self, choice: Choice) -> _Bound | None:
        """The highest of what its fastest rivals here set, and its own family. Rivals that are slow here may
        be so for a reason of their own; what int8 gains differs between models more than engines differ
        in one arithmetic."""
        times = self._trials.times()
        timed = [c for c in self._trials.space if c.name in times]
        rivals = sorted(
            self._bounds(choice, [c for c in timed if c.quantized == choice.quantized]),
            key=lambda bound: bound.time,
        )
        family = self._bounds(choice, [c for c in timed if c.family == choice.family])
        return max([*rivals[:RIVALS], *family], key=lambda bound: bound.ratio, default=None)

    def _bounds(self, choice: Choice, others: Sequence[Choice]) -> list[_Bound]:
        times = self._trials.times()
        known = ((other, self._experience.least(choice.name, other.name)) for other in others)
        return [
            _Bound(least, other.name, times[other.name])
            for other, least in known
            if least is not None
        ]

    def _may_be_had(self, choice: Choice) -> bool:
        trials = self._trials
        if trials.tried(choice):
            return choice.name not in trials.refused and trials.close(choice)
        family = [c for c in self._trials.space if c.family == choice.family and trials.tried(c)]
        return not family or trials.possible(choice.family)
