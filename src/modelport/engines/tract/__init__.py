"""tract: an engine in Rust, small and without dependencies, for servers, phones and small devices."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from modelport.engines.base import Rules, Session
from modelport.engines.conversion import Conversion, Converted
from modelport.engines.converting import ConvertingEngine
from modelport.types import Artifact


class Tract(ConvertingEngine):
    name: ClassVar[str] = "tract"
    package: ClassVar[str | None] = "tract"
    module: ClassVar[str | None] = "tract"
    precisions: ClassVar[tuple[str, ...]] = ("fp32",)
    devices: ClassVar[tuple[str, ...]] = ("cpu",)
    deployable: ClassVar[bool] = False
    requirements: ClassVar[Path | None] = Path(__file__).with_name("requirements.txt")
    rules: ClassVar[Rules] = Rules(
        opsets=(9, 24),
        legalize=("inline_functions",),
        source="https://github.com/sonos/tract#tract-in-the-landscape",
        operators=Path(__file__).with_name("operators.json"),
    )

    def convert(self, job: Conversion) -> Converted:
        from modelport.engines.tract.convert import convert

        return convert(job)

    def _load(self, artifact: Artifact, threads: int) -> Session:
        from modelport.engines.tract.session import TractSession

        return TractSession(artifact)
