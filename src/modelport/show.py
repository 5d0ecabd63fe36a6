"""How results look on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from modelport.bundle.manifest import VariantEntry
from modelport.bundle.read import Bundle

if TYPE_CHECKING:
    from modelport.export import Exported
    from modelport.inspection import Overview
    from modelport.optimization import Optimized, PassRecord
    from modelport.tune.select import Candidate
    from modelport.tuning import Tuning
    from modelport.verify.bundle import BundleCheck

Justify: TypeAlias = Literal["left", "right"]

_MARKS = {
    "chosen": "[bold green]chosen[/]",
    "accepted": "[green]accepted[/]",
    "converted": "[yellow]converted[/]",
    "rejected": "[red]rejected[/]",
}


def show_bundle(console: Console, bundle: Bundle) -> None:
    """What deploy made: the verdict on every variant, and where the bundle is."""
    manifest = bundle.manifest
    _show_variants(console, manifest.variants)
    data = manifest.provenance
    console.print(
        f"Measured on {data.verification_samples} samples ({data.verification_data}); "
        f"budget {data.budget:.2%}."
    )
    for note in data.notes:
        console.print(f"[dim]Note: {escape(note)}[/]")
    console.print(f"Bundle: [bold]{escape(str(bundle.path))}[/]")
    report = bundle.path / "report.html"
    if report.is_file():
        console.print(f"Report: {escape(str(report))}")


MOST_SHOWN = 12
"""Candidates of a search that a terminal shows; the file of the summary has all."""


def show_tuning(console: Console, made: Tuning) -> None:
    """What a search found: the fastest, where the files are, and what to do next."""
    ends = {candidate.name for candidate in made.front}
    timed = sorted(
        (c for c in made.candidates if c.latency is not None),
        key=lambda c: (made.decisions[c.name].verdict == "rejected", _median_ms(c)),
    )
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("candidate", "ms", "loss", "file MB", "RAM MB", "start ms", "verdict"):
        justify: Justify = "left" if title in ("candidate", "verdict") else "right"
        table.add_column(title, justify=justify, no_wrap=True)
    for candidate in timed[:MOST_SHOWN]:
        mark = " *" if candidate.name in ends else ""
        table.add_row(
            *_candidate_row(candidate, mark), _MARKS[made.decisions[candidate.name].verdict]
        )
    console.print(table)
    console.print()
    tried = sum(candidate.tried for candidate in made.candidates)
    known = f"; {made.resumed} outcomes were known from before" if made.resumed else ""
    console.print(
        f"Tried {tried} of {len(made.candidates)} candidates in {made.seconds:.0f} s{known}. "
        "* none is both faster and closer to the source.",
        highlight=False,
    )
    reason = made.decisions[made.chosen.name].reason
    console.print(f"Chosen: [bold]{made.chosen.name}[/], {escape(reason)}.", highlight=False)
    for note in made.notes:
        console.print(f"[dim]Note: {escape(note)}[/]")
    console.print(f"All candidates, with reasons: {escape(str(made.path / 'tuning.json'))}")
    if (made.path / "pareto.svg").is_file():
        console.print(f"Plot: {escape(str(made.path / 'pareto.svg'))}")
    console.print(
        f"A bundle of it: modelport deploy ... --target auto --trials {escape(str(made.path))}"
    )


def _median_ms(candidate: Candidate) -> float:
    return float("inf") if candidate.latency is None else candidate.latency.median_ms


def _candidate_row(candidate: Candidate, mark: str) -> list[str]:
    fidelity, latency = candidate.fidelity, candidate.latency

    def megabytes(value: int | None) -> str:
        return "-" if value is None else f"{value / 1e6:.1f}"

    return [
        candidate.name + mark,
        "-" if latency is None else f"{latency.median_ms:.2f}",
        "-" if fidelity is None or fidelity.loss is None else f"{fidelity.loss:.2%}",
        megabytes(candidate.size_bytes),
        megabytes(candidate.memory_bytes),
        "-" if candidate.start_up_ms is None else f"{candidate.start_up_ms:.0f}",
    ]


def _show_variants(console: Console, variants: Sequence[VariantEntry]) -> None:
    """A table of figures, and the reason for each verdict below it, where it has room."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("variant", "median ms", "loss", "SQNR dB", "size MB", "verdict"):
        justify: Justify = "left" if title in ("variant", "verdict") else "right"
        table.add_column(title, justify=justify, no_wrap=True)
    for entry in variants:
        table.add_row(*_variant_row(entry))
    console.print(table)
    console.print()
    for entry in variants:
        console.print(f"[dim]{entry.name}: {escape(entry.reason)}[/]", highlight=False)


def _variant_row(entry: VariantEntry) -> list[str]:
    fidelity, latency = entry.fidelity, entry.latency
    return [
        entry.name,
        "-" if latency is None else f"{latency.median_ms:.2f}",
        "-" if fidelity is None or fidelity.loss is None else f"{fidelity.loss:.2%}",
        "-" if fidelity is None or fidelity.sqnr_db is None else f"{fidelity.sqnr_db:.1f}",
        f"{entry.size_bytes / 1e6:.1f}" if entry.size_bytes else "-",
        _MARKS[entry.verdict],
    ]


def show_check(console: Console, check: BundleCheck) -> None:
    console.print(f"{check.files} files match their checksums; {check.cases} golden cases.")
    if check.grey_levels is not None:
        console.print(
            f"Transforms: within {check.grey_levels:.2f} grey levels of the golden feeds."
        )
    for variant in check.variants:
        if variant.skipped is not None:
            console.print(f"[yellow]skipped[/] {variant.name}: {escape(variant.skipped)}")
        elif variant.passed and variant.fidelity is not None:
            worst = variant.fidelity.worst
            sqnr = "-" if worst.sqnr_db is None else f"{worst.sqnr_db:.1f}"
            console.print(f"[green]passed[/]  {variant.name}: SQNR {sqnr} dB")
        else:
            console.print(f"[red]failed[/]  {variant.name}")
    for problem in check.problems:
        console.print(f"[red]Problem:[/] {escape(problem)}")
    verdict = (
        "[bold green]The bundle holds.[/]"
        if check.passed
        else "[bold red]The bundle does not hold.[/]"
    )
    console.print(verdict)


def show_overview(console: Console, overview: Overview) -> None:
    console.print(
        f"[bold]{escape(overview.name)}[/]  {overview.kind}, {overview.size_bytes / 1e6:.1f} MB"
    )
    for key, value in overview.facts.items():
        if value not in (None, "", []):
            text = ", ".join(value) if isinstance(value, list) else str(value)
            console.print(f"  {key}: {escape(text)}", highlight=False)
    for title, specs in (
        ("input", overview.signature.inputs),
        ("output", overview.signature.outputs),
    ):
        for spec in specs:
            console.print(f"  {title} {escape(str(spec))}", highlight=False)
    cost = overview.cost
    if cost:
        console.print(
            f"  cost: {cost['parameters'] / 1e6:.2f} M parameters, "
            f"{cost['multiply_adds'] / 1e6:.1f} M multiply-adds"
            + (f" ({cost['unknown']} nodes of unknown shape left out)" if cost["unknown"] else ""),
            highlight=False,
        )
    total = sum(overview.operators.values())
    counts = ", ".join(f"{name} {count}" for name, count in overview.operators.items())
    console.print(f"  operators: {total} ({escape(counts)})", highlight=False)
    if overview.variants:
        _show_variants(console, overview.variants)


def show_exported(console: Console, exported: Exported) -> None:
    """What export made: the signature, how it came about, and where it is."""
    for spec in signature_lines(exported):
        console.print(f"  {escape(spec)}", highlight=False)
    if exported.exporter:
        console.print(f"Exported with {exported.exporter}: {escape(exported.reason)}.")
    if len(exported.attempts) > 1:
        for attempt in exported.attempts:
            console.print(f"[dim]{escape(attempt)}[/]", highlight=False)
    for record in exported.passes:
        if record.rejected:
            console.print(f"[yellow]rolled back[/] {record.name}: {escape(record.rejected)}")
    for note in exported.notes:
        console.print(f"[dim]Note: {escape(note)}[/]")
    if exported.path is not None:
        console.print(f"Graph: [bold]{escape(str(exported.path))}[/]")


def signature_lines(exported: Exported) -> list[str]:
    signature = exported.signature
    return [
        *(f"input {spec}" for spec in signature.inputs),
        *(f"output {spec}" for spec in signature.outputs),
    ]


def _deed(record: PassRecord) -> str:
    if record.rejected:
        return "rolled back"
    if not record.changed:
        return "nothing to do"
    count = record.removed_nodes
    if count == 0:
        return "changed"
    return f"changed, {abs(count)} node{'' if abs(count) == 1 else 's'} {'fewer' if count > 0 else 'more'}"


def show_optimized(console: Console, optimized: Optimized, why_not: str | None) -> None:
    """What passes did; of those that found nothing, only how many they were, unless one is asked for."""
    idle = 0
    for record in optimized.records:
        if why_not is not None and record.name != why_not:
            continue
        if why_not is None and not (record.changed or record.rejected):
            idle += 1
            continue
        console.print(f"{record.name}: {_deed(record)}")
        if record.rejected:
            console.print(f"  [red]{escape(record.rejected)}[/]")
        for refusal in record.refusals if why_not is not None else ():
            console.print(f"  left alone {escape(refusal.where)}: {escape(refusal.reason)}")
    if idle:
        console.print(f"{idle} other {'pass' if idle == 1 else 'passes'} found nothing to do")
    if not optimized.checked:
        console.print("[yellow]The results were not compared.[/]")
