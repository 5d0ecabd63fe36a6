"""Systems that Core ML models are made for."""

from __future__ import annotations

from modelport.errors import UsageError

DEFAULT = "ios17"

TARGETS = {
    name.lower(): name
    for name in ("iOS15", "iOS16", "iOS17", "iOS18", "macOS12", "macOS13", "macOS14", "macOS15")
}
"""As users write them, and as coremltools does. Each iOS stands for the macOS of the same year."""


def deployment_target(device: str) -> str:
    """coremltools' name of it; `cpu`, where nobody named a system, is the default.

    Raises:
        UsageError: for a system that is not known.
    """
    name = device.strip().lower()
    name = DEFAULT if name in ("", "cpu") else name
    if name not in TARGETS:
        raise UsageError(
            f"Core ML is not made for the system {device!r}",
            expected=f"one of {', '.join(TARGETS)}",
        )
    return TARGETS[name]
