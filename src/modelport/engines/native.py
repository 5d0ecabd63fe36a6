"""Engines that compile for one processor: their artifacts remember which, and are not run on a lesser one."""

from __future__ import annotations

import shutil
from typing import Any

from modelport.engines.cache import features
from modelport.errors import EngineUnavailableError
from modelport.types import Artifact

PROCESSOR = "processor"
"""Setting of a job and option of an artifact: family and instruction sets."""

COMPILERS = ("cc", "gcc", "clang")


def this_processor() -> dict[str, Any]:
    return {PROCESSOR: features()}


def lacks(artifact: Artifact) -> list[str]:
    """What this machine has not of the one that the artifact was compiled on."""
    here = set(features().split())
    return [each for each in str(artifact.options[PROCESSOR]).split() if each not in here]


def demand_processor(artifact: Artifact) -> None:
    """Raises EngineUnavailableError: where the artifact may have instructions that this machine has not."""
    missing = lacks(artifact)
    if missing:
        raise EngineUnavailableError(
            f"This artifact of {artifact.engine} was compiled for another processor: this one has no "
            f"{', '.join(missing[:8])}",
            hint="Deploy the model again on this kind of machine",
        )


def missing_compiler() -> str | None:
    """Why nothing can be linked here, or None where it can."""
    if any(map(shutil.which, COMPILERS)):
        return None
    return "it needs a C compiler, and there is no cc, gcc or clang: install one, as with apt install gcc"
