"""An ONNX file as a source."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir

from modelport.engines import ENGINES
from modelport.engines.base import Session
from modelport.errors import UsageError
from modelport.feeds import random_feeds
from modelport.frontends.source import LoadedSource, Source
from modelport.graph import invariants, io, provenance
from modelport.graph.query import signature_of
from modelport.types import Artifact, Blob, Feeds


class OnnxFile(LoadedSource):
    def __init__(self, path: Path, source: Source) -> None:
        self.source = source
        self.path = path
        self.name = source.name or path.stem
        self.notes: list[str] = []
        self._model = io.load(path)
        self._signature = signature_of(self._model)

    def to_graph(self, opset: int | None) -> ir.Model:
        written = self._model.opset_imports.get("", 0)
        if opset is not None and opset != written:
            raise UsageError(
                f"{self.path} is written for opset {written}, and opset {opset} was asked for",
                hint="Leave --opset out: it chooses what an export writes",
            )
        model = self._model.clone()
        provenance.adopt_torch_metadata(model)
        invariants.check(model)
        return model

    def oracle(self) -> Session:
        """The file as it is, run by ONNX Runtime with every optimisation switched off."""
        artifact = Artifact(
            engine="onnxruntime",
            signature=self._signature,
            files={"model": Blob(self.path)},
            options={"optimize": False},
        )
        return ENGINES.get("onnxruntime").load(artifact)

    def example_feeds(self, seed: int) -> Feeds:
        return random_feeds(self._signature, seed)

    def other_sizes(self, seed: int) -> list[Feeds]:
        return []  # a file that says nothing of its bounds may refuse any other size
