"""Finds the best choice without trying everything: successive halving, from families to details.

One precision of each family of engine and route is compiled and timed first, in every layout. Families
that are far behind are left; of the others all precisions are tried, in the layout that was fastest. Of
the faster half other layouts and numbers of threads are tried too, and halved again with more rounds each
time, until few are left; these are measured on all data and timed as long as an exhaustive search would.
Choices that turn out too far from the source make room for the next fastest, so the search never ends
without an answer that exists.

The idea of giving few a long look and many a short one: Jamieson and Talwalkar, "Non-stochastic Best Arm
Identification and Hyperparameter Optimization", 2016.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from modelport.profile.latency import Latency
from modelport.tune.limits import Limits
from modelport.tune.select import CLOSE_CALL, Candidate
from modelport.tune.space import Choice
from modelport.verify.compare import Fidelity


@dataclass(frozen=True)
class Effort:
    """How long choices are timed in turn: rounds, and calls of a turn that do not and do count."""

    rounds: int
    warm: int
    counted: int


SHORT = Effort(rounds=5, warm=1, counted=1)
LONG = Effort(rounds=20, warm=2, counted=3)

FAR_BEHIND = 2.0
"""Families this many times slower than the fastest are left: an assumption, that between engines what int8
gains over fp32 differs by less. On the one model in `benchmarks/results/engines.md` it did (1.6 times)."""

DETAILED = 3
"""Of how many choices layouts and numbers of threads are tried."""

FINALISTS = 3


NOT_TRIED = "it was not tried: others like it were too slow"


ENOUGH = "others as fast or faster are close enough to the source"


@dataclass(frozen=True)
class Prepared:
    """What came of compiling a choice and running it for the first time, in a process of its own.

    Attributes:
        problem: why it cannot be had, or is not the same model.
        elsewhere: why it was compiled, and runs on another machine alone.
        fidelity: over the first few samples.
    """

    problem: str | None = None
    elsewhere: str | None = None
    fidelity: Fidelity | None = None
    size_bytes: int | None = None
    memory_bytes: int | None = None
    start_up_ms: float | None = None


class Bench(Protocol):
    """Where choices are tried."""

    def prepare(self, choice: Choice) -> Prepared:
        """Compiles it and runs it once."""

    def prove(self, choice: Choice) -> Fidelity | str:
        """Fidelity over all samples, or why there is none."""

    def time(
        self, choices: Sequence[Choice], effort: Effort
    ) -> tuple[dict[str, Latency], dict[str, str]]:
        """Latencies by name, timed in turn; and the words of those that failed meanwhile."""


Tell = Callable[[str, int, int], None]
"""Takes what is happening, how many steps are done, and of how many."""


class Search:
    """One search. `halving` and `exhaustive` give a candidate for each choice.

    Args:
        budget: largest accepted loss of fidelity, as a share.
    """

    def __init__(
        self, space: Sequence[Choice], bench: Bench, budget: float, limits: Limits, tell: Tell
    ) -> None:
        self._space = list(space)
        self._bench, self._budget, self._limits, self._tell = bench, budget, limits, tell
        self._found = {
            choice.name: Candidate(choice.name, problem=NOT_TRIED, tried=False)
            for choice in self._space
        }
        self._running: list[Choice] = []
        self._possible: set[str] = set()

    def exhaustive(self) -> list[Candidate]:
        """Everything is compiled, proved, and timed to the end."""
        self._enter(self._space)
        for choice in list(self._running):
            self._prove(choice)
        self._time(LONG)
        return self._candidates()

    def halving(self) -> list[Candidate]:
        most = max((choice.threads for choice in self._space), default=0)
        plain = [c for c in self._space if c.threads == most]
        self._enter(choice for choice in plain if choice.first)
        self._time(SHORT)
        layouts = self._layouts_of_near_families()
        self._enter(c for c in plain if not c.first and c.layout == layouts.get(c.family))
        self._time(SHORT)
        self._halve(DETAILED)
        self._enter(self._details())
        self._time(SHORT)
        effort = SHORT
        while len(self._running) > FINALISTS:
            before = len(self._running)
            self._halve(FINALISTS)
            if len(self._running) == before and effort.rounds >= LONG.rounds:
                break
            effort = replace(effort, rounds=min(2 * effort.rounds, LONG.rounds))
            self._time(effort)
        self._finish()
        return self._candidates()

    def _candidates(self) -> list[Candidate]:
        return [self._found[choice.name] for choice in self._space]

    # The steps

    def _enter(self, choices: Iterable[Choice]) -> None:
        """Prepares those choices; who can run and keeps the limits takes part from now on."""
        new = list(choices)
        for done, choice in enumerate(new):
            self._tell(f"prepare {choice.name}", done, len(new))
            made = self._bench.prepare(choice)
            if made.problem is None:
                self._possible.add(choice.family)
            problem = made.problem or self._limits.broken_by(
                size_bytes=made.size_bytes,
                memory_bytes=made.memory_bytes,
                start_up_ms=made.start_up_ms,
            )
            self._found[choice.name] = Candidate(
                choice.name,
                fidelity=made.fidelity,
                problem=problem,
                elsewhere=made.elsewhere,
                size_bytes=made.size_bytes,
                memory_bytes=made.memory_bytes,
                start_up_ms=made.start_up_ms,
            )
            if problem is None and made.elsewhere is None:
                self._running.append(choice)

    def _time(self, effort: Effort) -> None:
        self._tell(f"time {len(self._running)} in turn, {effort.rounds} rounds", 0, 1)
        latencies, failed = self._bench.time(self._running, effort)
        for choice in self._running:
            if choice.name in failed:
                self._note(choice, problem=failed[choice.name])
            else:
                self._note(choice, latency=latencies[choice.name])
        self._running = [c for c in self._running if c.name not in failed]

    def _layouts_of_near_families(self) -> dict[str, str]:
        """The fastest layout of each family that is not far behind, or that may yet keep the limits."""
        best = min((self._median(choice) for choice in self._running), default=0.0)
        fastest: dict[str, Choice] = {}
        for choice in sorted(self._running, key=self._median):
            fastest.setdefault(choice.family, choice)
        far = {f for f, choice in fastest.items() if self._median(choice) > FAR_BEHIND * best}
        for choice in self._running:
            if choice.family in far:
                ratio = self._median(choice) / best
                self._note(choice, problem=f"{ratio:.1f} times as slow as the fastest at first")
        self._running = [choice for choice in self._running if choice.family not in far]
        for choice in self._space:
            if choice.family not in self._possible and not choice.first:
                words = f"it was not tried: {choice.family} cannot take the model"
                self._note(choice, problem=words)
        return {
            family: fastest[family].layout if family in fastest else ""
            for family in self._possible - far
        }

    def _halve(self, least: int) -> None:
        """Keeps the faster half, and whoever is as fast as its last."""
        ranked = sorted(self._running, key=self._median)
        count = max(least, -(-len(ranked) // 2))
        if len(ranked) <= count:
            return
        line = self._median(ranked[count - 1]) * (1 + CLOSE_CALL)
        best = self._median(ranked[0])
        for choice in ranked:
            if self._median(choice) > line:
                ratio = self._median(choice) / best
                self._note(choice, problem=f"{ratio:.2f} times as slow as the fastest")
        self._running = [choice for choice in ranked if self._median(choice) <= line]

    def _details(self) -> list[Choice]:
        """Other layouts and numbers of threads of the fastest few."""
        near = {choice.kind for choice in sorted(self._running, key=self._median)[:DETAILED]}
        return [c for c in self._space if c.kind in near and not self._found[c.name].tried]

    def _finish(self) -> None:
        """Proves from the fastest on, until there are enough that fit; then times these at length."""
        fit = self._fitting(sorted(self._running, key=self._median))
        if not fit:
            timed = [c for c in self._space if self._found[c.name].latency is not None]
            left = [c for c in timed if c not in self._running]
            fit = self._fitting(sorted(left, key=self._median))
        self._running = fit
        if fit:
            self._time(LONG)

    def _fitting(self, ranked: Sequence[Choice]) -> list[Choice]:
        """The first few that are close enough to the source; those behind them are not needed."""
        fit: list[Choice] = []
        for choice in ranked:
            if len(fit) < FINALISTS:
                fit += [choice] if self._prove(choice) else []
            elif self._found[choice.name].problem is None:
                self._note(choice, problem=ENOUGH)
        return fit

    def _prove(self, choice: Choice) -> bool:
        """Whether it is close enough to the source over all samples, which this measures."""
        self._tell(f"compare {choice.name} with the source on all samples", 0, 1)
        given = self._bench.prove(choice)
        if isinstance(given, str):
            self._note(choice, problem=given)
            self._running = [other for other in self._running if other != choice]
            return False
        self._note(choice, fidelity=given, problem=None)
        return given.passed and given.loss is not None and given.loss <= self._budget

    # What is known

    def _median(self, choice: Choice) -> float:
        latency = self._found[choice.name].latency
        return float("inf") if latency is None else latency.median_ms

    def _note(self, choice: Choice, **changes: object) -> None:
        self._found[choice.name] = replace(self._found[choice.name], **changes)  # type: ignore[arg-type]
