"""An ONNX file that nobody describes: it takes tensors and gives tensors."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from modelport.runtime.foreign.base import ForeignBundle, Meaning, Opener
from modelport.runtime.foreign.networks import onnx_model
from modelport.runtime.foreign.onnx_file import OnnxFile


class OnnxOpener(Opener):
    name: ClassVar[str] = "onnx"
    summary: ClassVar[str] = "an ONNX file"
    marks: ClassVar[str] = "a file whose name ends in .onnx"

    def claims(self, path: Path) -> bool:
        return path.suffix.lower() == ".onnx" and path.is_file()

    def open(self, path: Path) -> ForeignBundle:
        model, found = onnx_model(path)
        meaning = Meaning(
            name=path.stem,
            toolkit=found.producer or "ONNX",
            task="tensors",
            notes=tuple(_notes(found)),
        )
        return ForeignBundle(path, meaning, [model])


def _notes(found: OnnxFile) -> list[str]:
    notes = [
        "the file does not say what it was fed in training, so it takes feeds and no pictures",
        "the file does not say what its outputs mean, so they come as tensors",
    ]
    if found.metadata:
        notes.append(f"its metadata has {', '.join(sorted(found.metadata)[:8])}")
    notes += [f"the shape of its output {name!r} is not in the file" for name in found.unknown]
    return notes
