"""Runs an ML program with Core ML, on macOS."""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path

import coremltools as ct
import numpy as np

from modelport.engines.base import Session
from modelport.errors import EngineUnavailableError
from modelport.types import Array, Artifact, Feeds, Outputs, TensorSpec

UNITS = {
    "all": ct.ComputeUnit.ALL,
    "cpu": ct.ComputeUnit.CPU_ONLY,
    "gpu": ct.ComputeUnit.CPU_AND_GPU,
    "ane": ct.ComputeUnit.CPU_AND_NE,
}


class CoreMlSession(Session):
    """Core ML has no setting for threads."""

    def __init__(self, artifact: Artifact) -> None:
        super().__init__(artifact.signature, artifact.engine)
        units = _units(str(artifact.options.get("device", "all")))
        self._folder = tempfile.TemporaryDirectory(prefix="modelport-")
        try:
            package = _unpacked(artifact, Path(self._folder.name))
            self._model = ct.models.MLModel(str(package), compute_units=units)
        except BaseException:
            self._folder.cleanup()
            raise
        self._inputs = list(zip(artifact.options["inputs"], self.signature.inputs, strict=True))
        self._outputs = list(zip(artifact.options["outputs"], self.signature.outputs, strict=True))

    def _run(self, feeds: Feeds) -> Outputs:
        given = {name: _narrowed(feeds[spec.name]) for name, spec in self._inputs}
        found = self._model.predict(given)
        return {spec.name: _promised(found[name], spec) for name, spec in self._outputs}

    def _close(self) -> None:
        del self._model
        self._folder.cleanup()


def _units(device: str) -> ct.ComputeUnit:
    if device not in UNITS:
        raise EngineUnavailableError(
            f"Core ML has no device {device!r}", expected=f"one of {', '.join(UNITS)}"
        )
    return UNITS[device]


def _unpacked(artifact: Artifact, folder: Path) -> Path:
    """The package, beside whatever Core ML writes next to it."""
    archive = folder / "model.zip"
    archive.write_bytes(artifact.files["model"].view())
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(folder)
    return next(folder.glob("*.mlpackage"))


def _narrowed(array: Array) -> Array:
    return array.astype(np.int32) if array.dtype == np.int64 else array


def _promised(result: Array, spec: TensorSpec) -> Array:
    """int64 where the signature says so; a scalar comes as a vector of one number."""
    shape = spec.smallest() if spec.is_static else np.shape(result)
    return np.array(result, dtype=spec.dtype).reshape(shape)
