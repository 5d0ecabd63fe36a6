"""What a converter is given and gives back: files and plain values, for it may run in another process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np

from modelport.engines.routes import GRAPH
from modelport.engines.workers import wire
from modelport.errors import EngineError
from modelport.types import Array, Signature, Target

CALIBRATION = "calibration"
"""Folder beside the source that has one `.npz` for each feed, arrays by name of input."""


@dataclass(frozen=True)
class Conversion:
    """A job for a converter.

    Attributes:
        source: an ONNX file, or a `.pt2` whose inputs and outputs stand in the order of the signature.
        route: which of the two, `graph` or `program`.
        directory: where files go; it exists and is empty.
        settings: what else the engine was told; JSON values only.
    """

    source: Path
    signature: Signature
    target: Target
    directory: Path
    route: str = GRAPH
    settings: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "source": str(self.source),
            "signature": wire.signature_to_json(self.signature),
            "target": wire.target_to_json(self.target),
            "directory": str(self.directory),
            "route": self.route,
            "settings": dict(self.settings),
        }

    def calibration(self) -> list[dict[str, Array]]:
        """Feeds to quantize with; none where nobody gave any."""
        folder = self.source.parent / CALIBRATION
        feeds = []
        for path in sorted(folder.glob("*.npz")):
            with np.load(path, allow_pickle=False) as found:
                feeds.append({name: found[name] for name in found.files})
        return feeds

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Conversion:
        return cls(
            Path(found["source"]),
            wire.signature_from_json(found["signature"]),
            wire.target_from_json(found["target"]),
            Path(found["directory"]),
            found["route"],
            found["settings"],
        )


@dataclass(frozen=True)
class Converted:
    """Files by role, as names in the directory of the job, and options of the artifact."""

    files: Mapping[str, str]
    options: Mapping[str, Any] = field(default_factory=dict)


Converter = Callable[[Conversion], Converted]


class _Converts(Protocol):
    def convert(self, job: Conversion) -> Converted: ...


def converter_of(engine: Any) -> Converter:
    """The engine's converter, for the worker that runs it."""
    if not hasattr(engine, "convert"):
        raise EngineError(f"{engine.name} has no converter of files")
    return cast(_Converts, engine).convert
