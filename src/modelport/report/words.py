"""Numbers in words for the report. What was not measured is a dash, never a zero."""

from __future__ import annotations

import math

DASH = "—"
_SPACE = "\u00a0"  # keeps a number and its unit on one line

_SMALLEST_PERCENT = 1e-4
"""Below this a percentage is rounding noise, and its digits would only look like knowledge."""


def percent(fraction: float | None) -> str:
    """`0.0128` as `1.28 %`, to three significant digits."""
    if fraction is None or not math.isfinite(fraction):
        return DASH
    value = abs(fraction) * 100
    sign = "\u2212" if fraction < 0 else ""
    if value == 0:
        return f"0{_SPACE}%"
    if value < _SMALLEST_PERCENT * (1 - 1e-9):
        return f"<{_SPACE}{sign}{_SMALLEST_PERCENT:g}{_SPACE}%"
    if value >= 99:
        # Nothing short of perfect may be rounded up to it.
        value = math.floor(value * 100 + 1e-6) / 100
    digits = f"{value:.3g}" if value < 99 else f"{value:.2f}".rstrip("0").rstrip(".")
    return f"{sign}{digits}{_SPACE}%"


def milliseconds(value: float | None) -> str:
    """Without its unit, which stands in the heading or after a range."""
    if value is None or not math.isfinite(value):
        return DASH
    decimals = 3 if value < 0.1 else 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{decimals}f}"


def megabytes(size_bytes: int | None) -> str:
    """In millions of bytes. Zero bytes means that nothing was kept, so that is a dash too."""
    if not size_bytes:
        return DASH
    value = size_bytes / 1e6
    return f"{value:.1f}" if value >= 0.1 else f"{value:.2g}"


def decimal(value: float | None, decimals: int) -> str:
    if value is None:
        return DASH
    if not math.isfinite(value):
        return "∞" if value > 0 else DASH
    return f"{value:.{decimals}f}"


def significant(value: float | None, digits: int = 3) -> str:
    if value is None or not math.isfinite(value):
        return DASH
    mantissa, _, exponent = f"{value:.{digits}g}".partition("e")
    return f"{mantissa}e{int(exponent)}".replace("-", "\u2212") if exponent else mantissa


def ratio(value: float) -> str:
    """`2.2x`; a factor of ten or more needs no decimals."""
    return f"{value:.1f}x" if value < 9.95 else f"{value:.0f}x"


def or_dash(value: object) -> str:
    text = "" if value is None else str(value)
    return text if text.strip() else DASH


def sentence(clause: str) -> str:
    """With a capital and a full stop."""
    return f"{clause[:1].upper()}{clause[1:].rstrip('.')}."


def count(number: int, noun: str) -> str:
    return f"{number:,}".replace(",", "\u202f") + f" {noun}{'' if number == 1 else 's'}"
