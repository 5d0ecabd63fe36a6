"""Runs a network that tract has simplified."""

from __future__ import annotations

from contextlib import ExitStack

import tract

from modelport.engines.base import Session
from modelport.engines.files import as_file
from modelport.types import Artifact, Feeds, Outputs


class TractSession(Session):
    """One thread: tract's Python has no setting for more."""

    def __init__(self, artifact: Artifact) -> None:
        super().__init__(artifact.signature, artifact.engine)
        with ExitStack() as stack:
            if artifact.options["format"] == "onnx":
                path = as_file(artifact.files["model"], "model.onnx", stack)
                model = tract.onnx().load(str(path)).into_model()
            else:
                path = as_file(artifact.files["model"], "model.nnef.tar", stack)
                model = tract.nnef().with_tract_extra().with_onnx().load(str(path))
            self._runnable = model.into_runnable()

    def _run(self, feeds: Feeds) -> Outputs:
        results = self._runnable.run([feeds[spec.name] for spec in self.signature.inputs])
        return {
            spec.name: result.to_numpy().copy()
            for spec, result in zip(self.signature.outputs, results, strict=True)
        }

    def _close(self) -> None:
        del self._runnable
