"""What a search knows of its choices, and the three things it can do with them: enter, time, prove."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from modelport.profile.latency import Latency
from modelport.tune.experience import relative_times
from modelport.tune.limits import Limits
from modelport.tune.select import Candidate
from modelport.tune.space import Choice
from modelport.verify.compare import Fidelity

NOT_TRIED = "it was not tried: others like it were too slow"


@dataclass(frozen=True)
class Effort:
    """How long choices are timed in turn: rounds, and calls of a turn that do not and do count."""

    rounds: int
    warm: int
    counted: int


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


class Trials:
    """The choices of a space with what was found of them.

    Args:
        budget: largest accepted loss of fidelity, as a share.

    Attributes:
        running: those that take part in what is timed next.
        refused: names of those that cannot be chosen, whatever their speed.
    """

    def __init__(
        self, space: Sequence[Choice], bench: Bench, budget: float, limits: Limits, tell: Tell
    ) -> None:
        self.space = list(space)
        self.running: list[Choice] = []
        self.refused: set[str] = set()
        self._bench, self._budget, self._limits, self._tell = bench, budget, limits, tell
        self._found = {
            choice.name: Candidate(choice.name, problem=NOT_TRIED, tried=False)
            for choice in self.space
        }
        self._races: list[dict[str, float]] = []
        self._possible: set[str] = set()

    def candidates(self) -> list[Candidate]:
        return [self._found[choice.name] for choice in self.space]

    def relative(self) -> dict[str, float]:
        """Times of all that was timed, on one scale."""
        return relative_times(self._races)

    # What can be done

    def enter(self, choices: Iterable[Choice]) -> None:
        """Prepares those choices; who can run and keeps the limits takes part from now on."""
        new = [choice for choice in choices if not self.tried(choice)]
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
                self.running.append(choice)
            else:
                self.refused.add(choice.name)

    def time(self, effort: Effort) -> None:
        """Times all that take part, in turn."""
        self._tell(f"time {len(self.running)} in turn, {effort.rounds} rounds", 0, 1)
        latencies, failed = self._bench.time(self.running, effort)
        for choice in self.running:
            if choice.name in failed:
                self.refuse(choice, failed[choice.name])
            else:
                self.note(choice, latency=latencies[choice.name])
        self.running = [choice for choice in self.running if choice.name not in failed]
        self._races.append({name: latency.median_ms for name, latency in latencies.items()})

    def prove(self, choice: Choice) -> bool:
        """Whether it is close enough to the source over all samples, which this measures."""
        self._tell(f"compare {choice.name} with the source on all samples", 0, 1)
        given = self._bench.prove(choice)
        if isinstance(given, str):
            self.refuse(choice, given)
            return False
        self.note(choice, fidelity=given, problem=None)
        if not self.close(choice):
            self.refused.add(choice.name)
        return choice.name not in self.refused

    def leave(self, choice: Choice, reason: str) -> None:
        """It takes part no longer, though it might come back."""
        self.note(choice, problem=reason)
        self.running = [other for other in self.running if other != choice]

    def refuse(self, choice: Choice, reason: str) -> None:
        self.refused.add(choice.name)
        self.leave(choice, reason)

    def note(self, choice: Choice, **changes: object) -> None:
        self._found[choice.name] = replace(self._found[choice.name], **changes)  # type: ignore[arg-type]

    # What is known

    def tried(self, choice: Choice) -> bool:
        return self._found[choice.name].tried

    def count_tried(self) -> int:
        return sum(candidate.tried for candidate in self._found.values())

    def possible(self, family: str) -> bool:
        """Whether the family could take the model, whatever else was wrong with it."""
        return family in self._possible

    def median(self, choice: Choice) -> float:
        latency = self._found[choice.name].latency
        return float("inf") if latency is None else latency.median_ms

    def close(self, choice: Choice) -> bool:
        """Whether it is close enough to the source on the samples seen so far."""
        fidelity = self._found[choice.name].fidelity
        return (
            fidelity is not None
            and fidelity.passed
            and fidelity.loss is not None
            and fidelity.loss <= self._budget
        )

    def ranked(self, choices: Iterable[Choice]) -> list[Choice]:
        return sorted(choices, key=self.median)

    def timed(self) -> list[Choice]:
        """Those that were timed and may be chosen."""
        return [
            choice
            for choice in self.space
            if self._found[choice.name].latency is not None and choice.name not in self.refused
        ]

    @property
    def plain(self) -> list[Choice]:
        """Those with the most threads."""
        most = max((choice.threads for choice in self.space), default=0)
        return [choice for choice in self.space if choice.threads == most]

    def times(self) -> dict[str, float]:
        """Of all that were timed, over the fastest that is close enough to the source so far."""
        known = self.relative()
        close = [known[choice.name] for choice in self.timed() if self.close(choice)]
        best = min(close or known.values(), default=1.0)
        return {name: time / best for name, time in known.items()}
