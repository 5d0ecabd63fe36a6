"""The measures of closeness, and the verdict that stands on them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from modelport.runtime.transforms.picture import PicturePreprocessor
from modelport.types import PRECISIONS, Signature, TensorSpec
from modelport.verify.compare import Fidelity, compare
from modelport.verify.metrics import (
    SQNR_CEILING_DB,
    closeness,
    cosine,
    expected_top1_loss,
    sqnr_db,
)
from modelport.verify.tolerances import TOLERANCES, violations
from support import CLASSES, TRANSFORMS, picture, small_net

Array = np.ndarray[Any, Any]


def rows(seed: int = 0, samples: int = 12, classes: int = 10) -> Array:
    return 3 * np.random.default_rng(seed).standard_normal((samples, classes))


def noisy(source: Array, sqnr: float, seed: int = 1) -> Array:
    """The source with noise of exactly that SQNR in dB."""
    noise = np.random.default_rng(seed).standard_normal(source.shape)
    power = np.square(source).sum() / np.square(noise).sum() / 10 ** (sqnr / 10)
    return source + noise * np.sqrt(power)


matrices = hnp.arrays(
    np.float64,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=6),
    elements=st.floats(-100, 100, width=32),
)
seeds = st.integers(0, 2**32 - 1)


# --- known values -------------------------------------------------------------------------------


def test_equal_outputs_are_as_close_as_can_be() -> None:
    source = rows()
    measured = closeness(source, source.copy(), classes=True)
    assert measured.samples == 12
    assert measured.cosine_mean == pytest.approx(1.0)
    assert measured.cosine_min == pytest.approx(1.0)
    assert measured.max_abs_error == 0.0
    assert measured.sqnr_db == SQNR_CEILING_DB
    assert measured.top1_agreement == 1.0
    assert measured.expected_top1_loss == 0.0
    assert measured.non_finite == 0


def test_known_values() -> None:
    source = np.array([[3.0, 4.0], [1.0, 0.0]])
    other = np.array([[4.0, 3.0], [1.0, 1.0]])
    measured = closeness(source, other, classes=True)
    assert measured.cosine_mean == pytest.approx((24 / 25 + 1 / np.sqrt(2)) / 2)
    assert measured.cosine_min == pytest.approx(1 / np.sqrt(2))
    assert measured.max_abs_error == 1.0
    assert measured.sqnr_db == pytest.approx(10 * np.log10(26 / 3))
    assert measured.top1_agreement == 0.5
    own, lost = 1 / (1 + np.exp(-1)), 1 / (1 + np.exp(1))
    assert measured.expected_top1_loss == pytest.approx((own - lost) / 2)


@pytest.mark.parametrize(
    ("factor", "decibels"), [(2.0, 0.0), (1.1, 20.0), (0.9, 20.0), (1.01, 40.0)]
)
def test_sqnr_of_a_scaled_copy(factor: float, decibels: float) -> None:
    source = rows()
    assert sqnr_db(source, factor * source) == pytest.approx(decibels, abs=1e-6)


def test_ten_times_less_noise_is_twenty_decibels() -> None:
    source = rows()
    noise = rows(seed=5)
    gain = sqnr_db(source, source + noise / 10) - sqnr_db(source, source + noise)
    assert gain == pytest.approx(20.0)


def test_measures_without_classes_leave_answers_out() -> None:
    measured = closeness(rows(), rows(1), classes=False)
    assert measured.top1_agreement is None
    assert measured.expected_top1_loss is None


def test_outputs_of_any_rank_are_flattened_by_sample() -> None:
    source = rows(samples=4, classes=24)
    other = noisy(source, 20)
    flat = closeness(source, other, classes=False)
    assert closeness(source.reshape(4, 2, 3, 4), other.reshape(4, 2, 3, 4), classes=False) == flat


def test_half_precision_is_measured_in_double() -> None:
    source = np.full((2, 3), 6e4, np.float16)
    other = np.full((2, 3), -6e4, np.float16)
    assert closeness(source, other, classes=False).max_abs_error == pytest.approx(12e4, rel=1e-3)


def test_one_sample() -> None:
    source = np.array([[1.0, 2.0, 3.0]])
    measured = closeness(source, source * 1.1, classes=True)
    assert measured.samples == 1
    assert measured.cosine_mean == measured.cosine_min == pytest.approx(1.0)
    assert measured.top1_agreement == 1.0


def test_one_value_to_a_sample() -> None:
    source = np.array([2.0, -1.0, 4.0])
    assert closeness(source, -source, classes=False).cosine_mean == pytest.approx(-1.0)


def test_zeros() -> None:
    nothing, something = np.zeros((1, 3)), np.ones((1, 3))
    assert cosine(nothing, nothing).tolist() == [1.0]
    assert cosine(nothing, something).tolist() == [0.0]
    assert cosine(something, nothing).tolist() == [0.0]
    assert sqnr_db(nothing, nothing) == SQNR_CEILING_DB
    assert sqnr_db(nothing, something) == -SQNR_CEILING_DB
    assert sqnr_db(something, nothing) == 0.0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_counted_and_nothing_else_is_said(bad: float) -> None:
    source, other = rows(), rows()
    other[2, 3] = other[4, 5] = bad
    measured = closeness(source, other, classes=True)
    assert measured.non_finite == 2
    numbers = {**vars(measured)}
    del numbers["samples"], numbers["non_finite"]
    assert set(numbers.values()) == {None}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_infinities_in_the_same_places_are_equal(precision: str) -> None:
    source = rows()
    source[1, 1], source[2, 3] = np.inf, -np.inf
    assert not violations(closeness(source, source.copy(), classes=False), precision)
    turned = np.where(np.isinf(source), -source, source)
    assert closeness(source, turned, classes=False).non_finite == 2
    worse = closeness(source, np.where(np.isinf(source), source, -source), classes=False)
    assert violations(worse, precision)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_source_that_is_not_finite_proves_nothing(bad: float, precision: str) -> None:
    source = rows()
    source[1, 1] = bad
    for other in (rows(), np.where(np.isnan(source), source, -source)):
        measured = closeness(source, other, classes=True)
        assert measured.cosine_mean is None
        assert measured.sqnr_db is None
        assert measured.expected_top1_loss is None
        assert violations(measured, precision)


# --- laws ---------------------------------------------------------------------------------------


@given(matrices, seeds)
def test_cosine_is_bounded_symmetric_and_blind_to_scale(source: Array, seed: int) -> None:
    other = np.random.default_rng(seed).standard_normal(source.shape)
    found = cosine(source, other)
    assert (np.abs(found) <= 1 + 1e-9).all()
    np.testing.assert_allclose(found, cosine(other, source), atol=1e-12)
    if np.abs(source[source != 0]).min(initial=1.0) > 1e-30:  # else the products underflow
        np.testing.assert_allclose(found, cosine(4 * source, other / 8), atol=1e-9)


@given(matrices, seeds)
def test_sqnr_is_bounded_and_blind_to_a_common_scale(source: Array, seed: int) -> None:
    other = source + np.random.default_rng(seed).standard_normal(source.shape)
    found = sqnr_db(source, other)
    assert -SQNR_CEILING_DB <= found <= SQNR_CEILING_DB
    if np.square(source).sum() > 1e-200:
        assert sqnr_db(1024 * source, 1024 * other) == pytest.approx(found, abs=1e-6)


@given(matrices, seeds)
def test_expected_loss_lies_between_nothing_and_everything(source: Array, seed: int) -> None:
    other = np.random.default_rng(seed).standard_normal(source.shape)
    found = expected_top1_loss(source, other)
    assert 0.0 <= found <= 1.0


@given(matrices, st.floats(-50, 50), st.floats(0.1, 10))
def test_expected_loss_looks_at_answers_only(source: Array, shift: float, factor: float) -> None:
    """Whatever keeps the answers of the other model keeps the loss; so does a shift of the logits."""
    other = np.random.default_rng(3).standard_normal(source.shape)
    found = expected_top1_loss(source, other)
    assert expected_top1_loss(source, factor * other + shift) == pytest.approx(found)


@given(matrices, seeds)
def test_order_of_samples_does_not_matter(source: Array, seed: int) -> None:
    generator = np.random.default_rng(seed)
    other, order = (
        source + generator.standard_normal(source.shape),
        generator.permutation(len(source)),
    )
    before, after = (
        closeness(source, other, classes=True),
        closeness(source[order], other[order], classes=True),
    )
    for name, value in vars(before).items():
        assert getattr(after, name) == pytest.approx(value), name


def test_expected_loss_weighs_a_sure_answer_more_than_a_close_call() -> None:
    sure, torn = np.array([[9.0, 0.0, 0.0]]), np.array([[1.01, 1.0, 0.0]])
    wrong = np.array([[0.0, 1.0, 0.0]])
    assert expected_top1_loss(sure, wrong) > 0.99
    assert 0 < expected_top1_loss(torn, wrong) < 0.01


def test_expected_loss_takes_probabilities_as_they_are() -> None:
    chances = np.array([[0.7, 0.2, 0.1], [0.4, 0.35, 0.25]])
    other = np.array([[0.1, 0.8, 0.1], [0.5, 0.3, 0.2]])
    assert expected_top1_loss(chances, other) == pytest.approx((0.7 - 0.2) / 2)


def test_expected_loss_is_stable_for_large_logits() -> None:
    assert expected_top1_loss(np.array([[1e4, 0.0]]), np.array([[0.0, 1.0]])) == pytest.approx(1.0)


# --- the verdict --------------------------------------------------------------------------------


def judge(source: Array, other: Array, precision: str) -> Fidelity:
    """Compares feed by feed, as deploy does: each feed a batch of one."""
    signature = Signature((), (TensorSpec("logits", "float32", (1, source.shape[1])),))
    return compare(
        [{"logits": row[None]} for row in source.astype(np.float32)],
        [{"logits": row[None]} for row in other.astype(np.float32)],
        signature,
        precision,
        classes=True,
    )


@pytest.fixture(scope="module")
def logits() -> Array:
    """What a classifier really gives for pictures."""
    return answers(lambda tensor: tensor)


def answers(change: Callable[[torch.Tensor], torch.Tensor], round_weights: bool = False) -> Array:
    net, prepare = small_net(), PicturePreprocessor(TRANSFORMS)
    if round_weights:
        net = net.to(torch.bfloat16).float()
    batch = torch.cat([torch.from_numpy(prepare(picture(seed))) for seed in range(12)])
    with torch.inference_mode():
        return net(change(batch)).numpy()


def with_one(value: float) -> Callable[[Array], Array]:
    def damage(source: Array) -> Array:
        damaged = source.copy()
        damaged[3, 4] = value
        return damaged

    return damage


def swapped_pair(source: Array) -> Array:
    order = [1, 0, *range(2, source.shape[1])]
    return source[:, order]


BROKEN: dict[str, Callable[[Array], Array]] = {
    "doubled": lambda source: 2 * source,
    "halved": lambda source: source / 2,
    "negated": lambda source: -source,
    "two output channels swapped": swapped_pair,
    "output channels reversed": lambda source: source[:, ::-1],
    "classes shifted by one": lambda source: np.roll(source, 1, axis=1),
    "samples shifted by one": lambda source: np.roll(source, 1, axis=0),
    "constant": lambda source: np.broadcast_to(source.mean(0), source.shape).copy(),
    "zeros": np.zeros_like,
    "a NaN": with_one(np.nan),
    "an infinity": with_one(np.inf),
    "a negative infinity": with_one(-np.inf),
    "noise": lambda source: noisy(source, 0),
}


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("damage", BROKEN)
def test_verdict_rejects(damage: str, precision: str, logits: Array) -> None:
    fidelity = judge(logits, BROKEN[damage](logits), precision)
    assert not fidelity.passed
    assert fidelity.reasons
    assert all(reason.startswith("logits: ") for reason in fidelity.reasons)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_verdict_rejects_swapped_input_channels(precision: str, logits: Array) -> None:
    """BGR where RGB was meant: the classic mistake of a deployment."""
    assert not judge(logits, answers(lambda batch: batch.flip(1)), precision).passed


@pytest.mark.parametrize("precision", PRECISIONS)
def test_verdict_rejects_another_shape(precision: str, logits: Array) -> None:
    fidelity = judge(logits, logits[:, :-1], precision)
    assert not fidelity.passed
    assert fidelity.reasons == ["logits: shape is [1, 9], the source's is [1, 10]"]
    assert fidelity.loss is None


@pytest.mark.parametrize("precision", PRECISIONS)
def test_verdict_rejects_one_sample_that_is_wrong(precision: str, logits: Array) -> None:
    other = logits.copy()
    other[7] = -other[7]
    assert not judge(logits, other, precision).passed


def test_verdict_says_what_is_outside_the_tolerance(logits: Array) -> None:
    assert judge(logits, 2 * logits, "int8").reasons == [
        "logits: sqnr_db is 0 dB, int8 needs 10 dB",
    ]
    assert judge(logits, with_one(np.nan)(logits), "fp32").reasons == [
        "logits: 1 values are NaN or infinite where the source's are finite"
    ]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_verdict_accepts_equality(precision: str, logits: Array) -> None:
    fidelity = judge(logits, logits.copy(), precision)
    assert fidelity.passed
    assert fidelity.loss == 0.0


@pytest.mark.parametrize("precision", PRECISIONS)
def test_verdict_accepts_sums_in_another_order(precision: str, logits: Array) -> None:
    assert judge(logits, noisy(logits, 100), precision).passed


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_verdict_accepts_weights_rounded_to_bf16(precision: str, logits: Array) -> None:
    fidelity = judge(logits, answers(lambda batch: batch, round_weights=True), precision)
    assert fidelity.passed, fidelity.reasons
    assert fidelity.loss is not None
    assert fidelity.loss < 0.05


@pytest.mark.parametrize("seed", range(5))
def test_verdict_accepts_the_noise_of_int8(seed: int, logits: Array) -> None:
    fidelity = judge(logits, noisy(logits, 15, seed), "int8")
    assert fidelity.passed, fidelity.reasons


def test_verdict_tells_the_precisions_apart(logits: Array) -> None:
    assert not judge(logits, noisy(logits, 40), "fp32").passed
    assert judge(logits, noisy(logits, 40), "bf16").passed
    assert not judge(logits, noisy(logits, 15), "bf16").passed


def test_every_precision_has_a_tolerance_and_they_widen() -> None:
    assert tuple(TOLERANCES) == PRECISIONS
    for name in ("cosine_mean", "cosine_min", "sqnr_db"):
        values = [getattr(TOLERANCES[precision], name) for precision in PRECISIONS]
        assert values == sorted(values, reverse=True), name


# --- several outputs and feeds ------------------------------------------------------------------

TWO = Signature(
    (), (TensorSpec("scores", "float32", (1, 10)), TensorSpec("features", "float32", (1, 4)))
)


def test_every_output_is_judged_and_the_worst_one_counts() -> None:
    want = [{"scores": row[None], "features": row[None, :4]} for row in rows()]
    got = [{**one, "features": -one["features"]} for one in want]
    fidelity = compare(want, got, TWO, "fp32", classes=True)
    assert {reason.split(":")[0] for reason in fidelity.reasons} == {"features"}
    assert fidelity.worst is fidelity.by_output["features"]
    assert fidelity.by_output["scores"].top1_agreement == 1.0
    assert fidelity.by_output["features"].top1_agreement is None
    assert (fidelity.loss, fidelity.loss_kind) == (0.0, "expected_top1")
    plain = compare(want, got, TWO, "fp32", classes=False)
    assert (plain.loss, plain.loss_kind) == (pytest.approx(2.0), "cosine")


def test_an_output_that_cannot_be_measured_leaves_no_loss() -> None:
    want = [{"scores": row[None], "features": row[None, :4]} for row in rows()]
    got = [{**one, "features": one["features"] * np.nan} for one in want]
    fidelity = compare(want, got, TWO, "int8", classes=False)
    assert fidelity.loss is None
    assert fidelity.worst is fidelity.by_output["features"]


def test_batches_are_split_into_samples() -> None:
    signature = Signature((), (TensorSpec("y", "float32", (4, 10)),))
    source = rows(samples=12)
    other = source.copy()
    other[5] = -other[5]
    fidelity = compare(
        [{"y": part} for part in np.split(source, 3)],
        [{"y": part} for part in np.split(other, 3)],
        signature,
        "int8",
        classes=True,
    )
    assert fidelity.samples == 3
    assert fidelity.by_output["y"].samples == 12
    assert fidelity.by_output["y"].cosine_min == pytest.approx(-1.0)


def test_feeds_of_several_sizes_are_compared_as_one() -> None:
    signature = Signature((), (TensorSpec("y", "float32", ()),))
    want = [{"y": np.ones((1, 2, size))} for size in (3, 5)]
    assert compare(want, want, signature, "fp32", classes=False).passed
    got = [{"y": np.ones((1, 2, 3))}, {"y": -np.ones((1, 2, 5))}]
    assert not compare(want, got, signature, "int8", classes=False).passed


def test_scalars_are_compared() -> None:
    signature = Signature((), (TensorSpec("y", "float32", ()),))
    want = [{"y": np.float32(value)} for value in (1.0, -2.0, 3.0)]
    assert compare(want, want, signature, "fp32", classes=False).passed  # type: ignore[arg-type]
    got = [{"y": np.float32(value)} for value in (1.0, 2.0, 3.0)]
    assert not compare(want, got, signature, "fp32", classes=False).passed  # type: ignore[arg-type]


def test_loss_is_measured_against_what_training_intended(logits: Array) -> None:
    """Where a short cut was taken before the model, the tolerance sees the model, the budget both."""
    signature = Signature((), (TensorSpec("logits", "float32", (1, len(CLASSES))),))
    got = [{"logits": row[None]} for row in logits]
    intended = [{"logits": row[None]} for row in np.roll(logits, 1, axis=1)]
    fidelity = compare(got, got, signature, "fp32", classes=True, intended=intended)
    assert fidelity.passed
    assert fidelity.by_output["logits"].expected_top1_loss == 0.0
    assert fidelity.loss is not None
    assert fidelity.loss > 0.1
