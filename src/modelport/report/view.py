"""What the page says: plain data made from a manifest, so that the template only lays it out."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from modelport.bundle.manifest import (
    FidelityEntry,
    Manifest,
    PassEntry,
    Provenance,
    RefusalEntry,
    VariantEntry,
)
from modelport.report import words
from modelport.report.data import ReportCase

BASE_VARIANT = "onnxruntime-fp32"
"""What a speed-up is measured against: the least that a user would have without modelport."""

_BASE_IN_WORDS = "the fp32 ONNX Runtime variant"
_SAME_SPEED = 1.05
"""Medians closer than this factor are called equal: timing on a busy machine tells no less."""

_LOSS_MEANING = {
    "expected_top1": (
        "Loss is the expected share of answers that change for the worse: the mean of how much "
        "probability the source gives its own answer over the variant's."
    ),
    "cosine": "Loss is 1 - mean cosine similarity of the outputs.",
}

_MAGIC = {b"\xff\xd8\xff": "jpeg", b"\x89PNG\r\n\x1a\n": "png"}


class Phrase(NamedTuple):
    """A piece of the verdict."""

    text: str
    strong: bool = False


@dataclass(frozen=True)
class Verdict:
    """The answer that the reader came for.

    Attributes:
        standing: a few words, of which `good` says whether they are good news, None being neither.
        sentence: pieces that join to one sentence without its full stop.
        remarks: sentences that back it or put it in doubt.
    """

    standing: str
    good: bool | None
    sentence: tuple[Phrase, ...]
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class Fact:
    term: str
    value: str
    detail: str = ""


@dataclass(frozen=True)
class OperatorRow:
    """How often an operator occurs; None where that side was not counted. Widths are in percent."""

    name: str
    before: int | None
    after: int | None
    before_width: float = 0.0
    after_width: float = 0.0

    @property
    def change(self) -> str:
        if self.before is None or self.after is None:
            return words.DASH
        difference = self.after - self.before
        return "=" if difference == 0 else f"{difference:+d}".replace("-", "\u2212")


@dataclass(frozen=True)
class PassView:
    name: str
    summary: str
    outcome: str
    nodes: str
    reason: str
    refusals: tuple[tuple[str, tuple[str, ...]], ...]
    """Each reason with the places it was given for."""

    @property
    def refused(self) -> int:
        return sum(len(places) for _, places in self.refusals)


@dataclass(frozen=True)
class CaseView:
    case: ReportCase
    picture: str | None
    """A `data:` address."""


def chosen_variant(manifest: Manifest) -> VariantEntry | None:
    """The variant with that verdict, else the default one; None in a manifest that has neither."""
    for variant in manifest.variants:
        if variant.verdict == "chosen":
            return variant
    return next((each for each in manifest.variants if each.name == manifest.default), None)


def ordered_variants(manifest: Manifest) -> list[VariantEntry]:
    """Chosen, then accepted, converted and rejected; the fastest first in each, the unmeasured last."""
    rank = {"chosen": 0, "accepted": 1, "converted": 2, "rejected": 3}

    def key(variant: VariantEntry) -> tuple[int, float, str]:
        latency = variant.latency
        return rank[variant.verdict], latency.median_ms if latency else float("inf"), variant.name

    return sorted(manifest.variants, key=key)


def loss_of(variant: VariantEntry | None) -> float | None:
    return variant.fidelity.loss if variant and variant.fidelity else None


def extra_reasons(variant: VariantEntry) -> list[str]:
    """What the fidelity check objected to, unless the verdict's own reason already says it."""
    reasons = variant.fidelity.reasons if variant.fidelity else ()
    return [reason for reason in reasons if reason not in variant.reason]


def loss_meaning(manifest: Manifest) -> str:
    """One sentence for each kind of loss that the variants were measured by."""
    kinds = {each.fidelity.loss_kind: None for each in manifest.variants if each.fidelity}
    if not kinds:
        return "No variant was compared with the source."
    return " ".join(_LOSS_MEANING.get(kind, f"Loss is measured as {kind}.") for kind in kinds)


# The verdict


def verdict(manifest: Manifest) -> Verdict:
    chosen = chosen_variant(manifest)
    if chosen is None:
        return Verdict("Nothing chosen", False, (Phrase("No variant was chosen"),), ())
    standing, good = _standing(chosen, manifest.provenance.budget)
    return Verdict(
        standing, good, _sentence(manifest, chosen), tuple(_remarks(manifest, chosen, good))
    )


def _standing(chosen: VariantEntry, budget: float | None) -> tuple[str, bool | None]:
    loss = loss_of(chosen)
    if chosen.fidelity is None or loss is None:
        return "Not verified", None
    if budget is not None and loss > budget:
        return "Over the budget", False
    if not chosen.fidelity.passed:
        return "Failed verification", False
    return ("Verified", True) if budget is None else ("Within the budget", True)


def _sentence(manifest: Manifest, chosen: VariantEntry) -> tuple[Phrase, ...]:
    speed, loss = _speed(manifest, chosen), loss_of(chosen)
    name = Phrase(chosen.name, strong=True)
    if loss is None:
        if not speed:
            return name, Phrase(" was chosen; neither its latency nor its loss was measured")
        return name, Phrase(" "), *speed, Phrase("; its loss was not measured")
    budget = manifest.provenance.budget
    loses = (
        Phrase("loses nothing" if loss <= 0 else f"loses {words.percent(loss)}", strong=True),
        Phrase("" if budget is None else f" (budget {words.percent(budget)})"),
    )
    if not speed:
        return name, Phrase(" "), *loses, Phrase("; its latency was not measured")
    return name, Phrase(" "), *speed, Phrase(" and "), *loses


def _speed(manifest: Manifest, chosen: VariantEntry) -> tuple[Phrase, ...]:
    """What the chosen variant's latency is worth, or nothing where it was not measured."""
    if chosen.latency is None:
        return ()
    base = _base(manifest, chosen)
    if base is None or base.latency is None:
        median = words.milliseconds(chosen.latency.median_ms)
        return Phrase("takes "), Phrase(f"{median}\u00a0ms", strong=True), Phrase(" a call")
    gain = base.latency.median_ms / chosen.latency.median_ms
    if 1 / _SAME_SPEED < gain < _SAME_SPEED:
        return Phrase("is "), Phrase("about as fast", strong=True), Phrase(f" as {_BASE_IN_WORDS}")
    words_of_gain = f"{words.ratio(gain)} faster" if gain > 1 else f"{words.ratio(1 / gain)} slower"
    return Phrase("is "), Phrase(words_of_gain, strong=True), Phrase(f" than {_BASE_IN_WORDS}")


def _base(manifest: Manifest, chosen: VariantEntry) -> VariantEntry | None:
    """The variant to compare with; None where it is the chosen one itself or was not timed."""
    if chosen.latency is None or chosen.latency.median_ms <= 0:
        return None
    for variant in manifest.variants:
        if variant.name == BASE_VARIANT and variant is not chosen and variant.latency:
            return variant
    return None


def _remarks(manifest: Manifest, chosen: VariantEntry, good: bool | None) -> Iterable[str]:
    if good is False and chosen.fidelity:
        yield from (words.sentence(reason) for reason in chosen.fidelity.reasons)
    latency, base = chosen.latency, _base(manifest, chosen)
    if latency is None:
        return
    rounds = words.count(latency.rounds, "interleaved round")
    threads = (
        words.count(latency.threads, "thread")
        if latency.threads
        else "threads as the engines choose"
    )
    how = f"{rounds}, {threads}"
    if base is None or base.latency is None:
        yield f"A call takes {timing(chosen)} ({how})."
        return
    yield f"A call takes {timing(chosen)} against {timing(base)} ({how})."
    if latency.low_ms <= base.latency.high_ms and base.latency.low_ms <= latency.high_ms:
        yield "The two ranges overlap, so part of the difference may be noise."


def timing(variant: VariantEntry) -> str:
    """Median and range, as `1.00 ms (0.97-1.06)`."""
    latency = variant.latency
    if latency is None:
        return words.DASH
    median, low, high = (
        words.milliseconds(value) for value in (latency.median_ms, latency.low_ms, latency.high_ms)
    )
    return f"{median}\u00a0ms ({low}\u2013{high})"


# The facts needed to trust it


def facts(manifest: Manifest, cases: Sequence[ReportCase]) -> list[Fact]:
    provenance, chosen = manifest.provenance, chosen_variant(manifest)
    fidelity = chosen.fidelity if chosen else None
    samples = provenance.verification_samples
    return [
        Fact(
            "Verified on",
            words.count(samples, "sample") if samples else words.DASH,
            provenance.verification_data,
        ),
        _held_out(provenance),
        _same_answer(fidelity, cases),
        _worst(fidelity),
        _size(manifest, chosen),
    ]


def _held_out(provenance: Provenance) -> Fact:
    calibrated = words.count(provenance.calibration_samples, "sample")
    if not provenance.verification_samples:
        return Fact("Held out", words.DASH)
    if provenance.held_out:
        return Fact("Held out", "yes", f"calibration used {calibrated}, none of them verified here")
    if provenance.calibration_samples == 0:
        return Fact("Held out", "no need", "nothing was calibrated")
    return Fact(
        "Held out",
        "no",
        f"calibration used {calibrated}, some of them verified here too: "
        "on new data, quantized variants may do worse than this page says",
    )


def _same_answer(fidelity: FidelityEntry | None, cases: Sequence[ReportCase]) -> Fact:
    agreement = fidelity.top1_agreement if fidelity else None
    shown = f"{sum(case.agrees for case in cases)} of the {len(cases)} shown below" if cases else ""
    return Fact("Same answer", words.percent(agreement), shown)


def _worst(fidelity: FidelityEntry | None) -> Fact:
    if fidelity is None or fidelity.cosine_min is None:
        return Fact("Worst sample", words.DASH)
    detail = "the smallest cosine similarity to the source"
    return Fact("Worst sample", words.decimal(fidelity.cosine_min, 6), detail)


def _size(manifest: Manifest, chosen: VariantEntry | None) -> Fact:
    size = words.megabytes(chosen.size_bytes if chosen else None)
    if size == words.DASH:
        return Fact("Size", size)
    base = next((each for each in manifest.variants if each.name == BASE_VARIANT), None)
    if base is None or base is chosen or not base.size_bytes:
        return Fact("Size", f"{size}\u00a0MB")
    detail = f"{BASE_VARIANT} has {words.megabytes(base.size_bytes)}\u00a0MB"
    return Fact("Size", f"{size}\u00a0MB", detail)


# The graph


def operator_rows(provenance: Provenance) -> list[OperatorRow]:
    """The most frequent first. A side without any operator was not counted, rather than empty."""
    before, after = provenance.operators_before, provenance.operators_after
    names = sorted({*before, *after}, key=lambda name: (-_most(name, before, after), name))
    largest = max((_most(name, before, after) for name in names), default=0) or 1
    return [
        OperatorRow(
            name,
            before.get(name, 0) if before else None,
            after.get(name, 0) if after else None,
            before_width=100 * before.get(name, 0) / largest,
            after_width=100 * after.get(name, 0) / largest,
        )
        for name in names
    ]


def _most(name: str, before: Mapping[str, int], after: Mapping[str, int]) -> int:
    return max(before.get(name, 0), after.get(name, 0))


def operator_total(provenance: Provenance) -> OperatorRow:
    before, after = provenance.operators_before, provenance.operators_after
    return OperatorRow(
        "all", sum(before.values()) if before else None, sum(after.values()) if after else None
    )


def pass_views(provenance: Provenance) -> list[PassView]:
    return [_pass_view(entry) for entry in provenance.passes]


def _pass_view(entry: PassEntry) -> PassView:
    return PassView(
        name=entry.name,
        summary=entry.summary if entry.engine is None else f"{entry.summary}, for {entry.engine}",
        outcome=_outcome(entry),
        nodes=_nodes(entry.removed_nodes),
        reason=entry.rejected or "",
        refusals=_refusals(entry.refusals),
    )


def _outcome(entry: PassEntry) -> str:
    if entry.rejected:
        return "rolled back"
    return "changed" if entry.changed else "nothing to change"


def _nodes(removed: int) -> str:
    if removed == 0:
        return ""
    return f"{words.count(abs(removed), 'node')} {'fewer' if removed > 0 else 'more'}"


def _refusals(entries: Iterable[RefusalEntry]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    places: dict[str, list[str]] = {}
    for entry in entries:
        places.setdefault(entry.reason, []).append(entry.where)
    return tuple((reason, tuple(where)) for reason, where in places.items())


# The cases


def case_views(cases: Sequence[ReportCase]) -> list[CaseView]:
    """Disagreements first: they are what a reader looks for. Otherwise in the order given."""
    return [
        CaseView(case, _data_address(case.picture))
        for case in sorted(cases, key=lambda case: case.agrees)
    ]


def _data_address(picture: bytes | None) -> str | None:
    """Only the two formats that are promised: an SVG picture, say, could carry a script."""
    for magic, kind in _MAGIC.items():
        if picture and picture.startswith(magic):
            return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"
    return None


def transform_views(manifest: Manifest) -> list[tuple[str, str]]:
    """Each transform's kind, and its parameters in words."""
    return [
        (words.or_dash(entry.get("kind")), parameters(entry, leave_out="kind"))
        for entry in manifest.transforms
    ]


def parameters(entry: Mapping[str, Any] | None, leave_out: str = "") -> str:
    """`size 224, mean [0.5, 0.5]`, or a dash."""
    parts = [f"{key}\u00a0{value}" for key, value in (entry or {}).items() if key != leave_out]
    return words.or_dash(", ".join(parts))
