"""The picture of a search: latency against loss, with the front that no other candidate beats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modelport.report import words
from modelport.tune.front import NO_LOSS, front, is_measured, place
from modelport.tune.select import Candidate, Decision

INK, MUTED, LINE, ACCENT, WARN = "#1d2430", "#7a8494", "#d9dee6", "#0b6bcb", "#b4530a"
SMALLEST = NO_LOSS
"""Stands for zero, which an axis of powers of ten has not."""


def write_plot(
    candidates: Sequence[Candidate], decisions: Mapping[str, Decision], budget: float, path: Path
) -> None:
    """Writes an SVG; the chosen candidate, those on the front and the budget are named in it."""
    import matplotlib
    from matplotlib.figure import Figure

    measured = [candidate for candidate in candidates if is_measured(candidate)]
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "modelport"}):
        figure = Figure(figsize=(9, 5), layout="constrained")
        axes = figure.add_subplot()
        _scale(axes, measured, budget)
        _draw_budget(axes, budget)
        ends = front(measured)
        axes.step(*_places(ends), where="post", color=ACCENT, linewidth=1, alpha=0.6, zorder=2)
        for candidate in measured:
            _draw(axes, candidate, decisions[candidate.name].verdict)
        chosen = [c for c in measured if decisions[c.name].verdict == "chosen" and c not in ends]
        _label(axes, [*ends, *chosen], decisions)
        figure.savefig(path, format="svg", metadata={"Date": None})


def _places(candidates: Sequence[Candidate]) -> tuple[list[float], list[float]]:
    found = [place(candidate) for candidate in candidates]
    return [ms for ms, _ in found], [max(loss, SMALLEST) for _, loss in found]


def _scale(axes: Any, measured: Sequence[Candidate], budget: float) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

    milliseconds, losses = _places(measured)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(min(milliseconds) / 1.3, max(milliseconds) * 1.6)
    axes.set_ylim(SMALLEST / 2, max([budget, *losses]) * 4)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_major_formatter(
        FuncFormatter(lambda v, _: "0" if v <= SMALLEST else words.percent(v))
    )
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("median latency of a call, ms", color=MUTED)
    axes.set_ylabel("loss", color=MUTED)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=LINE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", colors=MUTED, length=0)


def _draw_budget(axes: Any, budget: float) -> None:
    if budget <= SMALLEST:
        return
    axes.axhspan(budget, axes.get_ylim()[1], color=WARN, alpha=0.06, linewidth=0)
    axes.axhline(budget, color=WARN, linewidth=1, dashes=(5, 3))
    axes.annotate(
        f"budget {words.percent(budget)}", (1, budget), xycoords=("axes fraction", "data"),
        xytext=(-4, 4), textcoords="offset points", ha="right", color=WARN,
    )  # fmt: skip


def _draw(axes: Any, candidate: Candidate, verdict: str) -> None:
    chosen, rejected = verdict == "chosen", verdict == "rejected"
    colour = ACCENT if chosen else MUTED if rejected else INK
    (ms,), (loss,) = _places([candidate])
    axes.plot(
        [ms], [loss], marker="D" if chosen else "o", markersize=9 if chosen else 6, zorder=3,
        markerfacecolor="white" if rejected else colour, markeredgecolor=colour,
        linestyle="none", clip_on=False, gid=candidate.name,
    )  # fmt: skip


def _label(axes: Any, named: Sequence[Candidate], decisions: Mapping[str, Decision]) -> None:
    """Names stand at the upper right of their points, where a front has none; aslant, for points of one
    loss lie in a row."""
    for candidate in named:
        chosen = decisions[candidate.name].verdict == "chosen"
        (ms,), (loss,) = _places([candidate])
        axes.annotate(
            candidate.name, (ms, loss), xytext=(4, 7), textcoords="offset points", fontsize=9,
            rotation=30, rotation_mode="anchor",
            color=ACCENT if chosen else INK, fontweight="bold" if chosen else "normal", zorder=4,
        )  # fmt: skip
