"""The search over choices: finds what an exhaustive one finds, in fewer steps, and goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelport.errors import BudgetError, UsageError
from modelport.profile.latency import Latency
from modelport.report.pareto import write_plot
from modelport.tune.experience import NO_EXPERIENCE, Experience
from modelport.tune.front import front
from modelport.tune.ledger import Ledger
from modelport.tune.limits import NO_LIMITS, Limits, parse_duration_ms
from modelport.tune.search import FAR_BEHIND, FINAL, Search
from modelport.tune.select import CLOSE_CALL, Candidate, Decision, select
from modelport.tune.space import Choice, thread_counts
from modelport.tune.trying import Effort, Prepared
from modelport.verify.compare import Fidelity
from modelport.verify.metrics import Closeness

ENGINES = ("alpha", "beta", "gamma", "delta")
PRECISIONS = ("fp32", "bf16", "int8")
THREADS = (2, 1)
SPACE = [
    Choice(
        f"{engine}-{precision}",
        engine,
        threads,
        precision == "fp32",
        layout,
        f"{engine}-{precision}",
    )
    for engine in ENGINES
    for precision in PRECISIONS
    for layout in ("", "nhwc")
    for threads in THREADS
]


def fidelity(loss: float, reasons: Sequence[str] = ()) -> Fidelity:
    measured = Closeness(8, 1.0, 1.0, 0.0, 50.0, None, loss, 0)
    return Fidelity(8, {"y": measured}, loss, "cosine", list(reasons))


@dataclass
class Bench:
    """Choices with known figures, and a record of what was asked of them."""

    milliseconds: dict[str, float]
    losses: dict[str, float] = field(default_factory=dict)
    first_losses: dict[str, float] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    failing: set[str] = field(default_factory=set)
    prepared: list[str] = field(default_factory=list)
    calls: float = 0.0

    def prepare(self, choice: Choice) -> Prepared:
        self.prepared.append(choice.artifact)
        if choice.artifact in self.problems:
            return Prepared(problem=self.problems[choice.artifact])
        return Prepared(
            fidelity=fidelity(self.first_losses.get(choice.kind, 0.0)),
            size_bytes=self.sizes.get(choice.kind, 10),
        )

    def prove(self, choice: Choice) -> Fidelity:
        return fidelity(self.losses.get(choice.kind, 0.0))

    def time(
        self, choices: Sequence[Choice], effort: Effort
    ) -> tuple[dict[str, Latency], dict[str, str]]:
        lively = [choice for choice in choices if choice.name not in self.failing]
        self.calls += effort.rounds * (effort.warm + effort.counted) * len(lively)
        latencies = {
            choice.name: Latency(ms, ms, ms, effort.rounds)
            for choice in lively
            for ms in [self.milliseconds[choice.name]]
        }
        return latencies, dict.fromkeys(self.failing & {c.name for c in choices}, "it crashed")


def run(bench: Bench, limits: Limits = NO_LIMITS, budget: float = 0.01) -> list[Candidate]:
    return Search(SPACE, bench, budget, limits, lambda *_: None).halving()


def chosen(candidates: list[Candidate], limits: Limits = NO_LIMITS, budget: float = 0.01) -> str:
    decisions = select(candidates, budget, limits)
    return next(name for name, decision in decisions.items() if decision.verdict == "chosen")


def plain_figures(**engines: float) -> dict[str, float]:
    """Milliseconds of every choice: each engine a factor of its own, the same gains for all."""
    gains = {"fp32": 1.0, "bf16": 0.6, "int8": 0.35}
    return {
        c.name: 10.0
        * engines.get(c.family, 1.0)
        * gains[c.kind.partition("-")[2]]
        * (1.1 if c.layout else 1.0)
        * (1.7 if c.threads == 1 else 1.0)
        for c in SPACE
    }


FACTORS = st.floats(1.0, 1.25)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(0.5, 20.0), min_size=4, max_size=4),
    st.lists(FACTORS, min_size=48, max_size=48),
)
def test_it_finds_what_an_exhaustive_search_finds(engines: list[float], noise: list[float]) -> None:
    """Where engines gain alike from a precision, a layout and threads, within a quarter."""
    speeds = dict(zip(ENGINES, engines, strict=True))
    figures = plain_figures(**speeds)
    bench = Bench({name: ms * f for (name, ms), f in zip(figures.items(), noise, strict=True)})
    best = min(bench.milliseconds.values())
    found = bench.milliseconds[chosen(run(bench))]
    # Halving takes the better half by what is known then; a quarter of noise may put it one place off.
    assert found <= best * 1.25 * (1 + CLOSE_CALL)


def test_it_finds_the_best_where_nothing_is_strange_and_spares_most() -> None:
    bench = Bench(plain_figures(alpha=1.0, beta=1.2, gamma=FAR_BEHIND * 1.1, delta=30.0))
    candidates = run(bench)
    assert chosen(candidates) == "alpha-int8-2t"
    assert {name.partition("-")[0] for name in bench.prepared if "fp32" not in name} == {
        "alpha",
        "beta",
    }
    exhaustive = Bench(bench.milliseconds)
    Search(SPACE, exhaustive, 0.01, NO_LIMITS, lambda *_: None).exhaustive()
    assert bench.calls < exhaustive.calls / 3
    told = {candidate.name: candidate for candidate in candidates}
    assert told["delta-fp32-2t"].problem == "30.0 times as slow as the fastest at first"
    assert not told["delta-int8-2t"].tried


def test_a_layout_may_rescue_a_family() -> None:
    figures = plain_figures(alpha=1.0)
    for name in figures:
        if name.startswith("beta"):
            figures[name] *= 0.5 if "nhwc" in name else 5.0
    assert chosen(run(Bench(figures))) == "beta-int8-nhwc-2t"


def test_what_is_too_far_from_the_source_makes_room() -> None:
    losses = {f"{engine}-int8": 0.3 for engine in ENGINES}
    assert chosen(run(Bench(plain_figures(alpha=0.9), losses))).startswith("alpha-bf16")
    losses |= {f"{engine}-bf16": 0.3 for engine in ENGINES}
    assert chosen(run(Bench(plain_figures(alpha=0.9), losses))).startswith("alpha-fp32")


def test_finalists_are_timed_at_length() -> None:
    bench = Bench(plain_figures(alpha=0.9))
    final = [c for c in run(bench) if c.problem is None]
    assert final
    assert all(c.latency is not None and c.latency.rounds == FINAL.rounds for c in final)


def test_a_size_that_only_int8_keeps_leaves_its_family_in() -> None:
    bench = Bench(plain_figures(), sizes={f"{engine}-int8": 3 for engine in ENGINES})
    limits = Limits(size_bytes=5)
    candidates = run(bench, limits)
    assert "int8" in chosen(candidates, limits)
    told = {candidate.name: candidate.problem for candidate in candidates}
    assert told["alpha-fp32-2t"] == "its size of 1e-05 MB is over the limit of 5e-06 MB"


def test_limits_that_nothing_keeps_end_with_the_figures() -> None:
    limits = Limits(latency_ms=0.1)
    candidates = run(Bench(plain_figures()), limits)
    with pytest.raises(BudgetError, match=r"its latency of 3\.5 ms is over the limit of 0\.1 ms"):
        select(candidates, 0.01, limits)


def test_an_engine_that_fails_is_left_with_its_words() -> None:
    problems = {f"alpha-fp32{layout}": "no Foo" for layout in ("", "-nhwc")}
    bench = Bench(plain_figures(alpha=0.5), problems=problems, failing={"beta-int8-2t"})
    candidates = run(bench)
    told = {candidate.name: candidate for candidate in candidates}
    assert told["alpha-fp32-2t"].problem == "no Foo"
    assert told["alpha-int8-2t"].problem == "it was not tried: alpha cannot take the model"
    assert told["beta-int8-2t"].problem == "it crashed"
    assert chosen(candidates).partition("-")[0] in ("gamma", "delta")


def test_nothing_that_runs_is_an_error_with_every_reason() -> None:
    artifacts = {choice.artifact: "no Foo" for choice in SPACE}
    with pytest.raises(BudgetError, match="alpha-fp32-2t: no Foo") as caught:
        select(run(Bench({}, problems=artifacts)), 0.01)
    assert "not tried" not in str(caught.value)


# The ledger


def test_a_ledger_remembers(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "trials.jsonl"
    first = Ledger(path, {"model": "a"})
    assert first.once("x", lambda: {"ms": 1.5}) == {"ms": 1.5}
    again = Ledger(path, {"model": "a"})
    assert again.once("x", lambda: pytest.fail("it is known")) == {"ms": 1.5}
    assert again.found == 1


def test_a_torn_line_is_done_again(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    ledger = Ledger(path, {})
    ledger.once("x", lambda: 1)
    ledger.once("y", lambda: 2)
    path.write_bytes(path.read_bytes()[:-4])
    again = Ledger(path, {})
    assert (again.once("x", lambda: 10), again.once("y", lambda: 20)) == (1, 20)
    assert [json.loads(line)["gave"] for line in path.read_text().splitlines()] == [{}, 1, 20]


def test_a_ledger_of_another_question_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    Ledger(path, {"model": "a", "machine": "m"})
    with pytest.raises(UsageError, match=r"its model differed.*--overwrite"):
        Ledger(path, {"model": "b", "machine": "m"})


# The small parts


@pytest.mark.parametrize(("text", "ms"), [("20ms", 20.0), ("1.5 s", 1500.0), ("0.5MS", 0.5)])
def test_durations(text: str, ms: float) -> None:
    assert parse_duration_ms(text) == ms


@pytest.mark.parametrize("text", ["20", "ms", "-1ms", "0ms", "1m"])
def test_durations_that_cannot_be_read(text: str) -> None:
    with pytest.raises(UsageError, match="such as 20ms"):
        parse_duration_ms(text)


def test_thread_counts() -> None:
    assert [thread_counts(n) for n in (1, 2, 6, 8)] == [[1], [2, 1], [6, 4, 2, 1], [8, 4, 2, 1]]


def candidate(name: str, ms: float, loss: float, reasons: Sequence[str] = ()) -> Candidate:
    return Candidate(name, fidelity(loss, reasons), Latency(ms, ms, ms, 5))


POINTS = [
    candidate("slow", 9.0, 0.0),
    candidate("fast", 1.0, 0.02),
    candidate("middle", 4.0, 0.001),
    candidate("beaten", 5.0, 0.002),
    candidate("broken", 0.5, 0.0, ["it is another model"]),
    Candidate("unmeasured", problem="no"),
]


def test_the_front_has_what_nothing_beats() -> None:
    assert [c.name for c in front(POINTS)] == ["fast", "middle", "slow"]


def test_the_plot_names_the_front(tmp_path: Path) -> None:
    decisions = {c.name: Decision("rejected", "") for c in POINTS}
    decisions["middle"] = Decision("chosen", "")
    write_plot(POINTS, decisions, 0.01, tmp_path / "pareto.svg")
    text = (tmp_path / "pareto.svg").read_text()
    assert all(f">{name}<" in text for name in ("fast", "middle", "slow"))
    assert ">beaten<" not in text
    assert 'id="beaten"' in text
    assert 'id="broken"' not in text


# Programs, which are slow to compile


def program_space(*alone: str) -> list[Choice]:
    """Every engine with a graph route and a program route; those named have the latter alone."""
    return [
        Choice(
            f"{engine}-{precision}{way}", f"{engine}{way}", 2, precision == "fp32", "",
            f"{engine}-{precision}", bool(way), precision == "int8",
        )
        for engine in ENGINES
        for precision in PRECISIONS
        for way in ("", "-direct")
        if way or engine not in alone
    ]  # fmt: skip


def climb(
    space: list[Choice], bench: Bench, experience: Experience = NO_EXPERIENCE
) -> dict[str, Candidate]:
    found = Search(space, bench, 0.01, NO_LIMITS, lambda *_: None, experience).halving()
    return {candidate.name: candidate for candidate in found}


def figures_of(space: list[Choice], int8: float = 0.5, **engines: float) -> dict[str, float]:
    gains = {"fp32": 1.0, "bf16": 0.8, "int8": int8}
    return {
        c.name: engines.get(c.base.partition("-")[0], 1.0) * gains[c.base.partition("-")[2]]
        for c in space
    }


def test_another_route_is_tried_for_the_fastest_alone() -> None:
    space = program_space()
    bench = Bench(figures_of(space, alpha=1.0, beta=1.3, gamma=1.5, delta=1.9))
    bench.milliseconds["alpha-int8-direct-2t"] = 0.4
    found = climb(space, bench)
    assert chosen(list(found.values())) == "alpha-int8-direct-2t"
    assert not any(name.endswith("direct") for name in bench.prepared if "delta" in name)


def test_a_program_is_tried_where_the_graph_cannot_be_taken() -> None:
    space = program_space()
    problems = {c.artifact: "no Foo" for c in space if c.family == "alpha"}
    bench = Bench(figures_of(space, alpha=0.5), problems=problems)
    assert chosen(list(climb(space, bench).values())) == "alpha-int8-direct-2t"


def test_programs_are_left_whose_precisions_cannot_win() -> None:
    space = program_space("gamma", "delta")
    bench = Bench(figures_of(space, alpha=1.0, beta=1.2, gamma=1.1, delta=1.4))
    bench.milliseconds["gamma-int8-direct-2t"] = 0.45
    found = climb(space, bench)
    # int8 made others twice as fast: with a little doubt, 1.1 may still win, and 1.4 may not.
    assert chosen(list(found.values())) == "gamma-int8-direct-2t"
    assert "delta-fp32-direct" in bench.prepared
    assert "delta-int8-direct" not in bench.prepared
    assert found["delta-fp32-direct-2t"].problem == "2.8 times as slow as the fastest at first"


def test_what_was_left_because_of_a_bad_one_comes_back() -> None:
    """All int8 of the graph routes is wrong on all samples, though not on the first."""
    space = program_space("gamma", "delta")
    losses = {f"{e}-int8{way}": 0.3 for e in ("alpha", "beta") for way in ("", "-direct")}
    bench = Bench(figures_of(space, alpha=1.0, beta=1.2, gamma=1.4, delta=5.0), losses)
    found = climb(space, bench)
    # gamma was 2.8 times behind what is refused now, and 1.75 times behind what is left.
    assert chosen(list(found.values())) == "gamma-int8-direct-2t"
    assert not found["delta-int8-direct-2t"].tried


# With what other models taught

TAUGHT = Experience(
    [{"alpha-int8-2t": 1.0, "beta-int8-2t": r, "beta-fp32-2t": 3.0} for r in (1.5, 1.3, 2)]
)


def test_experience_spares_what_was_always_slower() -> None:
    space = [c for c in SPACE if not c.layout and c.threads == 2 and c.family in ("alpha", "beta")]
    bench = Bench(plain_figures(alpha=1.0, beta=1.2))
    found = climb(space, bench, TAUGHT)
    assert chosen(list(found.values())) == "alpha-int8-2t"
    assert "beta-int8" not in bench.prepared
    words = "it was not tried: at best 1.30 times as slow as alpha-int8-2t on 3 other models"
    assert found["beta-int8-2t"].problem == words
    assert found["beta-bf16-2t"].tried, "of it nothing is known"


@pytest.mark.parametrize("how", ["cannot be compiled", "is far at first", "is far in the end"])
def test_experience_counts_only_while_the_faster_one_may_be_had(how: str) -> None:
    space = [c for c in SPACE if not c.layout and c.threads == 2 and c.family in ("alpha", "beta")]
    bench = Bench(plain_figures(alpha=1.0, beta=1.1))
    if how == "cannot be compiled":
        bench.problems["alpha-int8"] = "no Foo"
    elif how == "is far at first":
        bench.first_losses["alpha-int8"] = 0.3
        bench.losses["alpha-int8"] = 0.3
    else:
        bench.losses["alpha-int8"] = 0.3
    assert chosen(list(climb(space, bench, TAUGHT).values())) == "beta-int8-2t"


def test_experience_counts_beside_what_was_timed_here() -> None:
    """beta was never timed beside the fastest, and yet what is known of it and gamma spares its int8."""
    space = program_space("beta")
    taught = Experience([{"gamma-int8-2t": 1.0, "beta-int8-direct-2t": 0.95}] * 3)
    bench = Bench(figures_of(space, alpha=0.4, beta=0.4, gamma=0.7))
    found = climb(space, bench, taught)
    assert found["beta-int8-direct-2t"].problem == (
        "it was not tried: at best 0.95 times as slow as gamma-int8-2t on 3 other models, "
        "which is 1.75 times as slow as the fastest here"
    )
    assert found["beta-bf16-direct-2t"].tried, "of it nothing is known"


def test_other_arithmetic_gives_no_bound() -> None:
    """int8 of alpha is slow on this model alone, which says nothing of beta in float."""
    space = program_space("beta")
    taught = Experience([{"alpha-int8-2t": 1.0, "beta-fp32-direct-2t": 2.0}] * 3)
    bench = Bench(figures_of(space, alpha=1.0, beta=0.7, gamma=3.0, delta=3.0))
    bench.milliseconds["alpha-int8-2t"] = 1.3
    bench.milliseconds["alpha-int8-direct-2t"] = 1.3
    bench.first_losses["alpha-int8"] = bench.losses["alpha-int8"] = 0.3
    assert chosen(list(climb(space, bench, taught).values())) == "beta-int8-direct-2t"


def test_a_precision_that_may_win_is_tried_though_its_family_is_slow_in_others() -> None:
    space = program_space("beta", "gamma")
    floats = {"alpha-fp32-2t": 1.0, "beta-fp32-direct-2t": 6.0, "gamma-fp32-direct-2t": 6.0}
    runs = [
        {**floats, "alpha-int8-2t": 0.5, "beta-int8-direct-2t": r, "gamma-int8-direct-2t": 2 * r}
        for r in (0.6, 0.9, 2.0)
    ]
    bench = Bench(figures_of(space, beta=0.9, gamma=0.9))
    found = climb(space, bench, Experience(runs))
    assert chosen(list(found.values())) == "beta-int8-direct-2t"
    assert not found["beta-fp32-direct-2t"].tried
    assert not any("gamma" in name for name in bench.prepared)


def test_a_family_whose_scout_is_spared_is_judged_by_what_it_did_at_best() -> None:
    space = program_space("beta", "gamma")
    runs = [
        {"alpha-fp32-2t": 1.0, "beta-fp32-direct-2t": r, "gamma-fp32-direct-2t": 1.3}
        for r in (4, 3, 5)
    ]
    bench = Bench(figures_of(space, alpha=1.0, beta=0.1, gamma=0.9, delta=1.9))
    bench.milliseconds["delta-int8-2t"] = 0.7
    found = climb(space, bench, Experience(runs))
    # At best beta was 6 times behind alpha's int8, gamma 2.6 times; int8 made delta 2.7 times as fast.
    assert not any("beta" in name for name in bench.prepared)
    assert chosen(list(found.values())) == "gamma-int8-direct-2t"
    assert not found["gamma-fp32-direct-2t"].tried
