"""An ONNX model as a source: a file, one in memory, or one that a `Network` builds."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx_ir as ir

from modelport.engines import ENGINES
from modelport.engines.base import Session
from modelport.engines.libraries import OPERATOR_PACKAGES, operator_files
from modelport.errors import UsageError
from modelport.feeds import random_feeds
from modelport.frontends.examples import read_examples
from modelport.frontends.operators import read_operators
from modelport.frontends.options import ExportOptions
from modelport.frontends.source import LoadedSource, Source
from modelport.graph import invariants, io, provenance
from modelport.graph.query import signature_of
from modelport.types import Artifact, Blob, Feeds, Outputs, Signature


class OnnxFile(LoadedSource):
    def __init__(self, source: Source, options: ExportOptions) -> None:
        self.source = source
        self.options = options
        self.notes: list[str] = list(source.notes)
        self.path = Path(source.model) if isinstance(source.model, (str, Path)) else None
        self._model = graph_in_memory(source.model) if self.path is None else io.load(self.path)
        self.name = (
            source.name or (self.path.stem if self.path else self._model.graph.name) or "model"
        )
        self._signature = signature_of(self._model)
        self._examples = read_examples(source.examples, self._signature.inputs)

    def to_graph(self, exporter: str | None = None) -> ir.Model:
        written = self._model.opset_imports.get("", 0)
        wanted = self.options.opset
        if wanted is not None and wanted != written:
            raise UsageError(
                f"{self.path or 'The graph'} is written for opset {written}, and opset {wanted} was "
                "asked for",
                hint="Leave --opset out: it chooses what an export writes",
            )
        model = self._model.clone()
        provenance.adopt_torch_metadata(model)
        invariants.check(model)
        return model

    def oracle(self, graph: ir.Model) -> Session:
        """The model as it is, run by ONNX Runtime with every optimisation switched off."""
        libraries = read_operators(self.source.operators).get("onnxruntime", ())
        if self.path is None:
            return _InMemory(self._model, libraries)
        return ENGINES.get("onnxruntime").load(_unoptimized(self.path, self._signature, libraries))

    def example_feeds(self, seed: int) -> Feeds:
        if self._examples:
            return self._examples[seed % len(self._examples)]
        return random_feeds(self._signature, seed)

    def other_sizes(self, seed: int) -> list[Feeds]:
        return self._examples  # a file that says nothing of its bounds may refuse any other size


def graph_in_memory(model: Any) -> ir.Model:
    """The graph itself, or that of a network."""
    graph: ir.Model = model if isinstance(model, ir.Model) else model.build()
    return graph


def _unoptimized(path: Path, signature: Signature, libraries: Sequence[str]) -> Artifact:
    files, packages = operator_files(libraries)
    return Artifact(
        engine="onnxruntime",
        signature=signature,
        files={"model": Blob(path), **files},
        options={"optimize": False, OPERATOR_PACKAGES: packages},
    )


class _InMemory(Session):
    """A session that keeps the files of its model as long as it is open."""

    def __init__(self, model: ir.Model, libraries: Sequence[str]) -> None:
        super().__init__(signature_of(model), "onnxruntime")
        self._folder = tempfile.TemporaryDirectory(prefix="modelport-")
        file = io.save_with_weights(model, Path(self._folder.name), name="model")["model"]
        self._inner = ENGINES.get("onnxruntime").load(_unoptimized(file, self.signature, libraries))

    def _run(self, feeds: Feeds) -> Outputs:
        return self._inner.run(feeds)

    def _close(self) -> None:
        self._inner.close()
        self._folder.cleanup()
