"""What torch knows of the processor."""

from __future__ import annotations

from functools import cache

_BF16 = {"avx512_bf16", "amx_bf16", "bf16", "arm_bf16"}

_NEVER_CHOSEN = {"aes", "sha", "clflush", "clflushopt", "clwb", "fma4", "sse4a"}
"""Instructions that no compiler takes unless code names them, which ours does not."""


def has_bf16() -> bool:
    return bool(_BF16 & set(instructions()))


@cache
def instructions() -> tuple[str, ...]:
    """Names of the instruction sets that compiled code may use here, the architecture first."""
    import torch

    found = torch.cpu.get_capabilities()
    sets = sorted(name for name, has in found.items() if has is True and name not in _NEVER_CHOSEN)
    return str(found["architecture"]), *sets
