"""A pair of ncnn files that nobody describes: it takes tensors and gives tensors."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from modelport.runtime.foreign.base import ForeignBundle, Meaning, Model, Opener
from modelport.runtime.foreign.folder import Folder
from modelport.runtime.foreign.networks import ncnn_model


class NcnnOpener(Opener):
    name: ClassVar[str] = "ncnn"
    summary: ClassVar[str] = "an ncnn network"
    marks: ClassVar[str] = "a file whose name ends in .param, with one in .bin beside it"

    def claims(self, path: Path) -> bool:
        return path.suffix.lower() == ".param" and path.is_file()

    def open(self, path: Path) -> ForeignBundle:
        model = ncnn_model(Folder(path.parent, "its converter"), path.name, f"{path.stem}.bin")
        meaning = Meaning(
            name=path.stem, toolkit="ncnn", task="tensors", notes=tuple(_notes(model))
        )
        return ForeignBundle(path, meaning, [model])


def _notes(model: Model) -> list[str]:
    taken, given = model.signature.inputs, model.signature.outputs
    return [
        "the files do not say what the network was fed in training, so it takes feeds and no pictures",
        "the files do not say what its outputs mean, so they come as tensors",
        *(f"sizes of its input are free, for no layer depends on them, or none are in the file: {spec}"
          for spec in taken if not spec.is_static),
        *(f"the shape of its output {spec.name!r} is not in the file" for spec in given
          if not spec.shape),
    ]  # fmt: skip
