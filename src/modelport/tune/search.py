"""Finds the best choice without trying everything: from families to details, by successive halving.

Engines compile a graph sooner than a PyTorch program, so those families (an engine and its route) come
first: one precision of each is timed, in every layout; families that are far behind are left, of the others
all precisions are tried. What precisions gained then tells how far behind a family may be that takes a
program: of these one precision is tried, and the others where they could still win. An engine with both
routes takes the second one only for what is among the fastest, since a route changes its speed little.

Of the fastest few other layouts, routes and numbers of threads are tried; then they are halved, with more
rounds each time, until few are left, which are measured on all data and timed at length. What turns out too
far from the source makes room: whatever was left because of it is looked at again. So the search never
ends without an answer that exists.

What was measured of other models on this machine spares what cannot have won, had it done here as well as it
did at best.

The idea of giving few a long look and many a short one: Jamieson and Talwalkar, "Non-stochastic Best Arm
Identification and Hyperparameter Optimization", 2016.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from modelport.tune.experience import CLEARLY, NO_EXPERIENCE, Experience
from modelport.tune.foresight import Foresight
from modelport.tune.limits import Limits
from modelport.tune.select import CLOSE_CALL, Candidate
from modelport.tune.space import Choice
from modelport.tune.trying import Bench, Effort, Tell, Trials

SHORT = Effort(rounds=5, warm=1, counted=1)
LONG = Effort(rounds=20, warm=2, counted=3)
FINAL = Effort(rounds=40, warm=2, counted=3)

FAR_BEHIND = 2.0
"""Families this many times slower than the fastest are left, where it is not known what other precisions
gain: an assumption, that between engines what int8 gains over fp32 differs by less."""

DOUBT = 1.15
"""Where it is known, a family may gain this much more than any before."""

DETAILED = 3
"""Of how many choices layouts, routes and numbers of threads are tried."""

FINALISTS = 3

ENOUGH = "others as fast or faster are close enough to the source"


class Search:
    """One search. `halving` and `exhaustive` give a candidate for each choice.

    Args:
        budget: largest accepted loss of fidelity, as a share.
        experience: of other models.
    """

    def __init__(
        self,
        space: Sequence[Choice],
        bench: Bench,
        budget: float,
        limits: Limits,
        tell: Tell,
        experience: Experience = NO_EXPERIENCE,
    ) -> None:
        self._trials = Trials(space, bench, budget, limits, tell)
        self._space = self._trials.space
        self._foresight = Foresight(self._trials, experience)

    def relative(self) -> dict[str, float]:
        """Times of all that was timed, over that of the fastest."""
        return self._trials.relative()

    def exhaustive(self) -> list[Candidate]:
        """Everything is compiled, proved, and timed to the end."""
        trials = self._trials
        trials.enter(self._space)
        for choice in list(trials.running):
            trials.prove(choice)
        trials.time(LONG)
        return trials.candidates()

    def halving(self) -> list[Candidate]:
        while self._climb():
            pass
        return self._trials.candidates()

    def _climb(self) -> bool:
        """From families to the finalists. Gives whether another climb may find more: what kept others
        out was refused at the end of this one."""
        trials = self._trials
        tried, refused = trials.count_tried(), set(trials.refused)
        self._families([c for c in self._trials.plain if not c.direct])
        self._families([c for c in self._trials.plain if c.direct and self._alone(c)])
        if trials.count_tried() == tried:
            return False
        self._halve(DETAILED)
        self._try(self._details())
        self._narrow()
        self._finish()
        return bool(trials.refused - refused)

    # The steps

    def _families(self, choices: Sequence[Choice]) -> None:
        """Tries one precision of each family, then the others of those that may win."""
        scouts = self._try(c for c in choices if c.first and not (c.direct and c.layout))
        reach = self._reach()
        families = {choice.family for choice in choices}
        layouts = {family: self._layout(family) for family in families if self._open(family, reach)}
        for choice in [c for c in scouts if c.family not in layouts and c in self._trials.running]:
            ratio = self._trials.times()[choice.name]
            self._trials.leave(choice, f"{ratio:.1f} times as slow as the fastest at first")
        others = [c for c in choices if not c.first]
        self._try(c for c in others if layouts.get(c.family) == c.layout or self._may_win(c))

    def _may_win(self, choice: Choice) -> bool:
        """Whether experience says so, of one whose family was left untried: by that of the choice itself,
        as a family may be slow in one precision and fast in another."""
        untried = not any(map(self._trials.tried, self._scouts(choice.family)))
        ratio = self._foresight.at_least(choice)
        return untried and ratio is not None and ratio < CLEARLY

    def _scouts(self, family: str) -> list[Choice]:
        return [c for c in self._trials.plain if c.family == family and c.first]

    def _open(self, family: str, reach: float) -> bool:
        """Whether other precisions of the family may win."""
        trials = self._trials
        scouts = self._scouts(family)
        if any(map(trials.tried, scouts)) and not trials.possible(family):
            self._note_others(family, f"it was not tried: {family} cannot take the model")
            return False
        ratios = [ratio for c in scouts if (ratio := self._foresight.at_least(c)) is not None]
        # What is known of other models alone is how it did at best: that leaves no room for doubt.
        near = reach if any(map(trials.tried, scouts)) else reach / DOUBT
        return not ratios or min(ratios) <= near

    def _reach(self) -> float:
        """How far behind the fastest a family may be with one precision, and win with another."""
        times = self._trials.times()
        gains = []
        for family in {choice.family for choice in self._space}:
            members = [c for c in self._space if c.family == family and c.name in times]
            firsts = [times[c.name] for c in members if c.first]
            others = [times[c.name] for c in members if not c.first]
            if firsts and others:
                gains.append(min(firsts) / min(others))
        return DOUBT * max(1.0, *gains) if gains else FAR_BEHIND

    def _halve(self, least: int) -> None:
        """Keeps the faster half, and whoever is as fast as its last."""
        trials = self._trials
        ranked = trials.ranked(trials.running)
        count = max(least, -(-len(ranked) // 2))
        if len(ranked) <= count:
            return
        line = trials.median(ranked[count - 1]) * (1 + CLOSE_CALL)
        best = trials.median(ranked[0])
        for choice in ranked:
            if trials.median(choice) > line:
                ratio = trials.median(choice) / best
                trials.leave(choice, f"{ratio:.2f} times as slow as the fastest")

    def _details(self) -> list[Choice]:
        """Other layouts, routes and numbers of threads of the fastest few."""
        near = {c.base for c in self._trials.ranked(self._trials.running)[:DETAILED]}
        return [c for c in self._space if c.base in near]

    def _narrow(self) -> None:
        """Halves until few are left."""
        trials, effort = self._trials, SHORT
        while len(trials.running) > FINALISTS:
            before = len(trials.running)
            self._halve(FINALISTS)
            if len(trials.running) == before and effort.rounds >= LONG.rounds:
                break
            effort = replace(effort, rounds=min(2 * effort.rounds, LONG.rounds))
            trials.time(effort)

    def _finish(self) -> None:
        """Proves from the fastest on, until there are enough that fit; then times these at length."""
        trials = self._trials
        fit = self._fitting(trials.ranked(trials.running))
        if not fit:
            left = [choice for choice in trials.timed() if choice not in trials.running]
            fit = self._fitting(trials.ranked(left))
        trials.running = fit
        if fit:
            trials.time(FINAL)

    def _fitting(self, ranked: Sequence[Choice]) -> list[Choice]:
        """The first few that are close enough to the source; those behind them are not needed."""
        fit: list[Choice] = []
        for choice in ranked:
            if len(fit) < FINALISTS:
                fit += [choice] if self._trials.prove(choice) else []
            elif choice in self._trials.running:
                self._trials.leave(choice, ENOUGH)
        return fit

    def _try(self, choices: Iterable[Choice]) -> list[Choice]:
        """Enters what is new and not known to be slower, and times it with all that take part."""
        trials = self._trials
        new = [c for c in choices if not trials.tried(c) and not self._spared(c)]
        trials.enter(new)
        if new and trials.running:
            trials.time(SHORT)
        return new

    def _spared(self, choice: Choice) -> bool:
        """Whether experience has it behind what may still be had."""
        words = self._foresight.behind(choice)
        if words is not None:
            self._trials.note(choice, problem=f"it was not tried: {words}")
        return words is not None

    # What is known

    def _alone(self, choice: Choice) -> bool:
        """Whether the engine has no other route that takes the model."""
        return not any(
            not other.direct and other.base == choice.base and self._trials.possible(other.family)
            for other in self._space
        )

    def _layout(self, family: str) -> str:
        """The fastest of the family so far."""
        members = [c for c in self._trials.timed() if c.family == family]
        return self._trials.ranked(members)[0].layout if members else ""

    def _note_others(self, family: str, words: str) -> None:
        for choice in self._space:
            if choice.family == family and not self._trials.tried(choice):
                self._trials.note(choice, problem=words)
