"""What a deployment may cost beside fidelity: latency, memory, size, start-up."""

from __future__ import annotations

import re
from dataclasses import dataclass

from modelport.errors import UsageError


@dataclass(frozen=True)
class Limits:
    """The user's budgets; None for no limit.

    Attributes:
        latency_ms: median of a call.
        memory_bytes: most that a process takes which loads the variant and runs it, and nothing else.
        size_bytes: all files of the variant.
        start_up_ms: from the start of such a process to its first answer.
    """

    latency_ms: float | None = None
    memory_bytes: int | None = None
    size_bytes: int | None = None
    start_up_ms: float | None = None

    @property
    def need_a_start(self) -> bool:
        """Whether a process must be started to tell whether they are kept."""
        return self.memory_bytes is not None or self.start_up_ms is not None

    def broken_by(
        self,
        *,
        latency_ms: float | None = None,
        memory_bytes: int | None = None,
        size_bytes: int | None = None,
        start_up_ms: float | None = None,
    ) -> str | None:
        """Which limit those figures are over, in words; None where they keep all, or are not known."""
        found = (
            ("latency", latency_ms, self.latency_ms, milliseconds),
            ("memory", memory_bytes, self.memory_bytes, megabytes),
            ("size", size_bytes, self.size_bytes, megabytes),
            ("start-up", start_up_ms, self.start_up_ms, milliseconds),
        )
        for name, value, limit, words in found:
            if value is not None and limit is not None and value > limit:
                return f"its {name} of {words(value)} is over the limit of {words(limit)}"
        return None


NO_LIMITS = Limits()


def milliseconds(value: float) -> str:
    return f"{value:.3g} ms" if value < 1000 else f"{value / 1000:.3g} s"


def megabytes(value: float) -> str:
    return f"{value / 1e6:.3g} MB"


def parse_duration_ms(text: str) -> float:
    """A time such as `20ms` or `1.5s`, in milliseconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s)", text.strip().lower())
    value = float(match[1]) * (1000 if match[2] == "s" else 1) if match else 0.0
    if value <= 0:
        raise UsageError(
            f"The time {text!r} cannot be read", expected="a number with ms or s, such as 20ms"
        )
    return value
