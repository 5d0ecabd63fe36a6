"""Latency against loss, as SVG that takes its colours and its typeface from the page around it."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from modelport.bundle.manifest import VariantEntry
from modelport.report import words

# matplotlib wants fixed colours and the page has two themes. So the drawing is made in colours that
# mean nothing, and each is replaced by the page's own variable when the SVG is read back.
_INK, _MUTED, _LINE, _ACCENT, _WARN = "#0000a1", "#0000a2", "#0000a3", "#0000a4", "#0000a5"
_CARD = "#0000a6"
_VARIABLES = {
    _INK: "var(--ink)",
    _MUTED: "var(--muted)",
    _LINE: "var(--line)",
    _ACCENT: "var(--accent)",
    _WARN: "var(--warn)",
    _CARD: "var(--card)",
}

_LINEAR_BELOW_AT_LEAST = 1e-3
"""In percent. Losses below it are next to zero on the page, as they are in practice; the decades
they would need would press all others together."""

_LINEAR_BELOW_AT_MOST = 0.1
"""In percent. Keeps a decade between zero and a usual budget."""

_LOG_LATENCY_FROM = 20
"""With latencies further apart than this factor, a linear axis would crush the fast ones."""


@dataclass(frozen=True)
class Layout:
    """One size of the drawing; the page shows the one that fits the screen. Sizes in points."""

    name: str
    width: float
    height: float
    font: float


_LAYOUTS = (Layout("wide", 760, 350, 9.5), Layout("narrow", 360, 400, 10.0))


@dataclass(frozen=True)
class _Box:
    """A rectangle on the canvas, in points."""

    left: float
    bottom: float
    right: float
    top: float

    @property
    def centre(self) -> tuple[float, float]:
        return (self.left + self.right) / 2, (self.bottom + self.top) / 2

    def overlap(self, other: _Box) -> float:
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.top, other.top) - max(self.bottom, other.bottom)
        return max(width, 0.0) * max(height, 0.0)

    def outside(self, other: _Box) -> float:
        area = (self.right - self.left) * (self.top - self.bottom)
        return area - self.overlap(other)


@dataclass(frozen=True)
class _Point:
    variant: VariantEntry
    median_ms: float
    low_ms: float
    high_ms: float
    loss_percent: float


def is_measured(variant: VariantEntry) -> bool:
    """Whether the variant has what the plot shows."""
    loss = variant.fidelity.loss if variant.fidelity else None
    return variant.latency is not None and loss is not None and math.isfinite(loss)


def draw(variants: Sequence[VariantEntry], budget: float | None) -> dict[str, str]:
    """SVG elements by layout, `wide` and `narrow`; none where no variant was measured."""
    points = list(_points(variants))
    if not points:
        return {}
    percent = None if budget is None else 100 * budget
    return {layout.name: _draw(points, percent, layout) for layout in _LAYOUTS}


def _points(variants: Iterable[VariantEntry]) -> Iterator[_Point]:
    # The chosen one goes last, on top of the others.
    for variant in sorted(variants, key=lambda each: each.verdict == "chosen"):
        latency, fidelity = variant.latency, variant.fidelity
        if is_measured(variant) and latency and fidelity and fidelity.loss is not None:
            yield _Point(
                variant, latency.median_ms, latency.low_ms, latency.high_ms, 100 * fidelity.loss
            )


@contextmanager
def _settings(layout: Layout) -> Iterator[None]:
    """matplotlib's own defaults and ours, whatever the user's matplotlibrc says."""
    import matplotlib

    with matplotlib.rc_context(), warnings.catch_warnings():
        # A name in a script that the measuring font lacks is measured roughly; the browser has it.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(
            {
                "svg.fonttype": "none",  # text stays text: searchable, and read aloud
                "svg.hashsalt": f"modelport-{layout.name}",
                "font.size": layout.font,
                "axes.edgecolor": _LINE,
                "axes.labelcolor": _MUTED,
                "xtick.color": _LINE,
                "ytick.color": _LINE,
                "xtick.labelcolor": _MUTED,
                "ytick.labelcolor": _MUTED,
            }
        )
        yield


def _draw(points: Sequence[_Point], budget: float | None, layout: Layout) -> str:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with _settings(layout):
        # At 72 dots per inch a pixel is a point, and what is measured is what the SVG holds.
        figure = Figure(figsize=(layout.width / 72, layout.height / 72), dpi=72)
        canvas = FigureCanvasAgg(figure)
        axes = figure.add_axes(_frame(layout))
        axes.patch.set_visible(False)
        axes.spines[["top", "right"]].set_visible(False)
        _scale(axes, points, budget)
        axes.set_xlabel("median latency of a call, ms (bar: low to high)")
        axes.set_title("loss", loc="left", x=-0.01, ha="right", color=_MUTED, fontsize=layout.font)
        limit = _draw_budget(axes, budget)
        for point in points:
            _draw_point(axes, point)
        canvas.draw()
        taken = [box for point in points for box in _footprint(axes, point)]
        if budget is not None and limit is not None:
            taken += [limit, _label_budget(axes, budget, limit, taken)]
        _draw_labels(axes, points, taken, layout)
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    return _adapt(file.getvalue(), layout, points)


def _frame(layout: Layout) -> tuple[float, float, float, float]:
    """Margins of a fixed width in points, as matplotlib's fractions."""
    left, bottom, right, top = 52.0, 38.0, 12.0, 22.0
    return (
        left / layout.width,
        bottom / layout.height,
        1 - (left + right) / layout.width,
        1 - (bottom + top) / layout.height,
    )


def _scale(axes: Any, points: Sequence[_Point], budget: float | None) -> None:
    from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter, NullLocator

    low, high = min(point.low_ms for point in points), max(point.high_ms for point in points)
    if low > 0 and high / low > _LOG_LATENCY_FROM:
        axes.set_xscale("log")
        axes.set_xlim(low / 1.5, high * 1.5)
    else:
        axes.set_xlim(0, (high or 1) * 1.06)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())

    losses = [point.loss_percent for point in points] + ([] if budget is None else [budget])
    first = _linear_below(losses)
    axes.set_yscale("symlog", linthresh=first, linscale=0.7)
    top = max([first, *losses]) * 4
    axes.set_ylim(min(-0.35 * first, 1.5 * min(losses)), top)
    ticks = [0.0, *_decades(first, top)]
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.yaxis.set_major_formatter(FixedFormatter([words.percent(tick / 100) for tick in ticks]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.grid(axis="y", color=_LINE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, pad=5)


def _linear_below(losses: Iterable[float]) -> float:
    """The power of ten, in percent, from which on the loss axis is logarithmic."""
    smallest = min((loss for loss in losses if loss > 0), default=1.0)
    below = float(10.0 ** math.floor(math.log10(smallest) + 1e-9))
    return min(max(below, _LINEAR_BELOW_AT_LEAST), _LINEAR_BELOW_AT_MOST)


def _decades(first: float, top: float) -> Iterator[float]:
    value = first
    while value <= top:
        yield value
        value *= 10


def _draw_budget(axes: Any, budget: float | None) -> _Box | None:
    """The limit as a line; returns what labels must keep clear of."""
    if budget is None:
        return None
    axes.axhspan(budget, axes.get_ylim()[1], color=_WARN, alpha=0.06, linewidth=0)
    axes.axhline(budget, color=_WARN, linewidth=1.2, dashes=(5, 3))
    frame = _box(axes.get_window_extent())
    height = float(axes.transData.transform((axes.get_xlim()[1], budget))[1])
    return _Box(frame.left, height - 1.5, frame.right, height + 1.5)


def _draw_point(axes: Any, point: _Point) -> None:
    chosen, rejected = (point.variant.verdict == verdict for verdict in ("chosen", "rejected"))
    colour = _ACCENT if chosen else _MUTED if rejected else _INK
    axes.hlines(point.loss_percent, point.low_ms, point.high_ms, color=colour, linewidth=1.3)
    axes.plot(
        [point.median_ms],
        [point.loss_percent],
        marker="D" if chosen else "o",
        markersize=9 if chosen else 6.5,
        markerfacecolor=_CARD if rejected else colour,
        markeredgecolor=colour,
        markeredgewidth=1.3,
        linestyle="none",
        clip_on=False,
    )


# Labels: each takes the nearest place around its point that touches nothing else.

_DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))
_DISTANCES = (9.0, 16.0, 25.0, 36.0, 50.0, 68.0)
_LEADER_FROM = 16.0
"""A label this far from its point, or further, gets a line to it."""


def _label_budget(axes: Any, budget: float, limit: _Box, taken: Sequence[_Box]) -> _Box:
    """Names the line where it meets no point: at its right end if possible."""
    style = {"color": _WARN, "fontweight": "normal"}
    text = f"budget {words.percent(budget / 100)}"
    width, height = _text_size(axes, text, style)
    lefts = [limit.right - width, (limit.left + limit.right - width) / 2, limit.left + 4]
    boxes = [
        _Box(left, bottom, left + width, bottom + height)
        for bottom in (limit.top + 2, limit.bottom - 2 - height)
        for left in lefts
    ]
    box = min(boxes, key=lambda box: round(sum(box.overlap(other) for other in taken), 3))
    _write(axes, text, box, style)
    # A label that begins where this one ends would read on from it.
    return _Box(box.left - 10, box.bottom, box.right + 10, box.top)


def _draw_labels(
    axes: Any, points: Sequence[_Point], obstacles: Sequence[_Box], layout: Layout
) -> None:
    frame = _box(axes.get_window_extent())
    taken = list(obstacles)
    for point in reversed(points):
        name = _printable(point.variant.name)
        chosen = point.variant.verdict == "chosen"
        style = {
            "fontsize": layout.font + (1 if chosen else 0),
            "fontweight": "bold" if chosen else "normal",
            "color": _ACCENT if chosen else _MUTED if point.variant.verdict == "rejected" else _INK,
        }
        size = _text_size(axes, name, style)
        marker, bar = _footprint(axes, point)
        box, distance = _place(marker, bar, size, taken, frame)
        taken.append(box)
        if distance >= _LEADER_FROM:
            _draw_leader(axes, marker, box)
        _write(axes, name, box, style)


def _write(axes: Any, text: str, box: _Box, style: dict[str, Any]) -> None:
    """Centred in its box, since the page's typeface may run narrower than the one measured."""
    axes.annotate(
        text,
        box.centre,
        xycoords="figure pixels",
        ha="center",
        va="center_baseline",
        parse_math=False,
        annotation_clip=False,
        **style,
    )


def _draw_leader(axes: Any, marker: _Box, box: _Box) -> None:
    """A thin line from the point to the nearest place on its label's edge."""
    x, y = marker.centre
    end = min(max(x, box.left), box.right), min(max(y, box.bottom), box.top)
    axes.annotate(
        "",
        end,
        xytext=(x, y),
        xycoords="figure pixels",
        textcoords="figure pixels",
        arrowprops=_LEADER,
        annotation_clip=False,
    )


_LEADER = {"arrowstyle": "-", "color": _MUTED, "linewidth": 0.7, "shrinkA": 5, "shrinkB": 0}


def _footprint(axes: Any, point: _Point) -> tuple[_Box, _Box]:
    """The marker and the bar of a point."""
    transform = axes.transData.transform
    x, y = (float(each) for each in transform((point.median_ms, point.loss_percent)))
    low = float(transform((point.low_ms, point.loss_percent))[0])
    high = float(transform((point.high_ms, point.loss_percent))[0])
    return _Box(x - 6, y - 6, x + 6, y + 6), _Box(low, y - 1.5, high, y + 1.5)


def _place(
    marker: _Box, bar: _Box, size: tuple[float, float], taken: Sequence[_Box], frame: _Box
) -> tuple[_Box, float]:
    """The first free place and its distance, or the least crowded where none is free."""
    candidates = [
        (_candidate(marker, bar, size, direction, distance, frame), distance)
        for distance in _DISTANCES
        for direction in _DIRECTIONS
    ]

    def crowding(candidate: tuple[_Box, float]) -> float:
        box, _ = candidate
        # Beside the frame a label would be cut off, which is worse than touching another.
        return sum(box.overlap(other) for other in taken) + 10 * box.outside(frame)

    return min(candidates, key=lambda candidate: round(crowding(candidate), 3))


def _candidate(
    marker: _Box,
    bar: _Box,
    size: tuple[float, float],
    direction: tuple[int, int],
    distance: float,
    frame: _Box,
) -> _Box:
    """A box whose edge or corner on the point's side is `distance` away from the point.

    To the left and right that is counted from the end of the bar, where that reaches further.
    Above and below, a box that would leave the frame sideways moves back in.
    """
    width, height = size
    x, y = marker.centre
    if direction == (1, 0):
        x = max(x, bar.right - 5)
    elif direction == (-1, 0):
        x = min(x, bar.left + 5)
    left = x + direction[0] * (distance + width / 2) - width / 2
    bottom = y + direction[1] * (distance + height / 2) - height / 2
    if direction[0] == 0:
        left = max(min(left, frame.right - width), frame.left)
    return _Box(left, bottom, left + width, bottom + height)


def _text_size(axes: Any, text: str, style: dict[str, Any]) -> tuple[float, float]:
    """Width and height; the measuring font is wide, so the page's own needs no more."""
    probe = axes.figure.text(0, 0, text, parse_math=False, **style)
    box = _box(probe.get_window_extent())
    probe.remove()
    return box.right - box.left, box.top - box.bottom


def _box(extent: Any) -> _Box:
    return _Box(float(extent.x0), float(extent.y0), float(extent.x1), float(extent.y1))


def _printable(name: str) -> str:
    """XML cannot hold control characters at all, not even escaped."""
    return "".join(each if each.isprintable() else "\ufffd" for each in name)


# From matplotlib's file to an element of the page


def _adapt(svg: str, layout: Layout, points: Sequence[_Point]) -> str:
    """An element for an HTML page: themed, scalable, with ids of its own and no namespaces."""
    tree = ElementTree.fromstring(svg)  # noqa: S314 (matplotlib wrote it a moment ago)
    root = _element(tree, layout.name)
    names = ", ".join(_printable(point.variant.name) for point in points)
    view_box = root.get("viewBox", "")
    root.attrib.clear()
    root.attrib.update(
        {
            "class": f"plot plot-{layout.name}",
            "viewBox": view_box,
            "role": "img",
            "aria-label": f"Latency against loss of {names}",
        }
    )
    return ElementTree.tostring(root, encoding="unicode")


def _element(source: ElementTree.Element, prefix: str) -> ElementTree.Element:
    """A copy without namespaces, metadata and style sheets, which would leak into the page."""
    copy = ElementTree.Element(_local(source.tag))
    for name, value in source.attrib.items():
        copy.set(_local(name), _attribute(_local(name), value, prefix))
    copy.text, copy.tail = source.text, source.tail
    for child in source:
        if _local(child.tag) not in ("metadata", "style"):
            copy.append(_element(child, prefix))
    return copy


def _attribute(name: str, value: str, prefix: str) -> str:
    # Both drawings are in one page, where ids must differ.
    if name == "id":
        return f"{prefix}-{value}"
    if name == "href":
        return value.replace("#", f"#{prefix}-", 1)
    if name == "clip-path":
        return value.replace("url(#", f"url(#{prefix}-", 1)
    if name == "style":
        for colour, variable in _VARIABLES.items():
            value = value.replace(colour, variable)
    return value


def _local(name: str) -> str:
    return name.rpartition("}")[2]
