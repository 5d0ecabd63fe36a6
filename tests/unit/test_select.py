"""Which variant becomes the default, and what is said of the others."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelport.errors import BudgetError
from modelport.profile.latency import Latency
from modelport.tune.select import CLOSE_CALL, Candidate, Decision, select
from modelport.verify.compare import Fidelity
from modelport.verify.metrics import Closeness


def candidate(
    name: str, ms: float, loss: float | None = 0.0, reasons: list[str] | None = None
) -> Candidate:
    measured = Closeness(8, 1.0, 1.0, 0.0, 100.0, 1.0, loss, 0)
    fidelity = Fidelity(8, {"y": measured}, loss, "expected_top1", reasons or [])
    return Candidate(name, fidelity, Latency(ms, ms * 0.9, ms * 1.2, 30))


def verdicts(decisions: dict[str, Decision]) -> dict[str, str]:
    return {name: decision.verdict for name, decision in decisions.items()}


def test_fastest_within_the_budget_is_chosen() -> None:
    decisions = select(
        [candidate("fp32", 4.0), candidate("int8", 1.0, 0.005), candidate("bf16", 2.0, 0.001)], 0.01
    )
    assert verdicts(decisions) == {"fp32": "accepted", "int8": "chosen", "bf16": "accepted"}
    assert decisions["int8"].reason == "the fastest variant within the budget"
    assert decisions["fp32"].reason == "within the budget, 4.00 times as slow as the chosen one"
    assert decisions["bf16"].reason == "within the budget, 2.00 times as slow as the chosen one"


def test_a_loss_over_the_budget_is_rejected_with_both_numbers() -> None:
    decisions = select([candidate("fp32", 4.0), candidate("int8", 1.0, 0.0234)], 0.01)
    assert verdicts(decisions) == {"fp32": "chosen", "int8": "rejected"}
    assert decisions["int8"].reason == "its loss of 2.34% is over the budget of 1.00%"
    assert decisions["fp32"].reason == "the only variant within the budget"


def test_a_loss_at_the_budget_is_within_it() -> None:
    assert verdicts(select([candidate("int8", 1.0, 0.01)], 0.01)) == {"int8": "chosen"}
    assert verdicts(select([candidate("fp32", 1.0, 0.0)], 0.0)) == {"fp32": "chosen"}


def test_outside_the_tolerance_is_rejected_whatever_the_budget() -> None:
    broken = candidate("int8", 1.0, 0.0, ["y: sqnr_db is 0 dB, int8 needs 10 dB"])
    decisions = select([candidate("fp32", 4.0), broken], 1.0)
    assert decisions["int8"] == Decision(
        "rejected", "it is not the same model: y: sqnr_db is 0 dB, int8 needs 10 dB"
    )


def test_what_could_not_be_measured_is_rejected_with_its_reason() -> None:
    decisions = select(
        [
            candidate("fp32", 4.0),
            Candidate("missing", problem="openvino is not installed"),
            Candidate("silent"),
            Candidate("untimed", candidate("x", 1.0).fidelity, None),
            candidate("unknown", 1.0, None),
        ],
        0.01,
    )
    assert decisions["missing"] == Decision("rejected", "openvino is not installed")
    assert decisions["silent"] == Decision("rejected", "it was not measured")
    assert decisions["untimed"] == Decision("rejected", "it was not timed")
    assert decisions["unknown"] == Decision("rejected", "its loss cannot be computed")


def test_what_is_only_emulated_is_judged_by_its_numbers_and_not_by_its_times() -> None:
    near, far = candidate("near", 1.0), candidate("far", 1.0, 0.3)
    emulated = [replace(each, latency=None, elsewhere="an emulator") for each in (near, far)]
    decisions = select([candidate("fp32", 4.0), *emulated], 0.01)
    assert decisions["near"] == Decision("converted", "not measured: an emulator")
    assert decisions["far"].reason == "its loss of 30.00% is over the budget of 1.00%"
    assert verdicts(decisions) == {"fp32": "chosen", "near": "converted", "far": "rejected"}


def test_what_runs_elsewhere_is_converted_and_never_chosen() -> None:
    gpu = Candidate("gpu", elsewhere="there is no GPU")
    decisions = select([gpu, candidate("fp32", 4.0), candidate("int8", 1.0, 0.5)], 0.01)
    assert verdicts(decisions) == {"gpu": "converted", "fp32": "chosen", "int8": "rejected"}
    assert decisions["gpu"].reason == "not measured: there is no GPU"
    with pytest.raises(BudgetError, match="Add an engine that runs here"):
        select([gpu], 0.01)


def test_fidelity_decides_a_close_call() -> None:
    near = 1.0 + CLOSE_CALL / 2
    decisions = select([candidate("int8", 1.0, 0.008), candidate("mixed", near, 0.002)], 0.01)
    assert verdicts(decisions) == {"int8": "accepted", "mixed": "chosen"}
    assert decisions["mixed"].reason == "closest to the source of those within 3% of the fastest"
    assert decisions["int8"].reason == "as fast as the chosen one, and further from the source"


def test_speed_decides_beyond_a_close_call() -> None:
    far = 1.0 + CLOSE_CALL * 1.5
    decisions = select([candidate("int8", 1.0, 0.008), candidate("mixed", far, 0.002)], 0.01)
    assert verdicts(decisions) == {"int8": "chosen", "mixed": "accepted"}


def test_equals_are_decided_by_speed() -> None:
    decisions = select([candidate("a", 1.01), candidate("b", 1.0)], 0.01)
    assert verdicts(decisions) == {"a": "accepted", "b": "chosen"}


def test_no_variant_within_the_budget_is_an_error_that_tells_every_reason() -> None:
    with pytest.raises(BudgetError) as caught:
        select(
            [candidate("int8", 1.0, 0.2), Candidate("bf16", problem="no such instructions")], 0.01
        )
    assert str(caught.value) == (
        "No variant stays within the fidelity budget of 1.00% (int8: its loss of 20.00% is over the "
        "budget of 1.00%; bf16: no such instructions). Raise --budget, give more calibration data, "
        "or allow fp32 with --precisions fp32."
    )


@given(
    st.lists(st.tuples(st.floats(0.01, 100), st.floats(0, 1)), min_size=1, max_size=8),
    st.floats(0, 1),
)
def test_laws_of_selection(measured: list[tuple[float, float]], budget: float) -> None:
    candidates = [candidate(f"v{i}", ms, loss) for i, (ms, loss) in enumerate(measured)]
    within = {f"v{i}": ms for i, (ms, loss) in enumerate(measured) if loss <= budget}
    if not within:
        with pytest.raises(BudgetError):
            select(candidates, budget)
        return
    decisions = select(candidates, budget)
    assert set(decisions) == {each.name for each in candidates}
    (chosen,) = (name for name, each in decisions.items() if each.verdict == "chosen")
    assert within[chosen] <= min(within.values()) * (1 + CLOSE_CALL)
    assert {name for name, each in decisions.items() if each.verdict != "rejected"} == set(within)
    assert all(decision.reason for decision in decisions.values())
