"""Runs an ONNX artifact with ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import onnxruntime as ort

from modelport.engines.base import Session
from modelport.engines.libraries import operator_libraries
from modelport.types import Array, Artifact, Feeds, Outputs, Signature


class OnnxRuntimeSession(Session):
    def __init__(self, artifact: Artifact, threads: int) -> None:
        super().__init__(artifact.signature, artifact.engine)
        options = _options(threads)
        if artifact.options.get("optimize") is False:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        with ExitStack() as opening:
            libraries = opening.enter_context(operator_libraries(artifact))
            for library in libraries:
                options.register_custom_ops_library(library)
            self._session = _open(artifact, options)
            self._libraries = opening.pop_all()
        self._names = [spec.name for spec in artifact.signature.outputs]

    def _run(self, feeds: Feeds) -> Outputs:
        return dict(zip(self._names, self._session.run(self._names, feeds), strict=True))

    def _close(self) -> None:
        del self._session
        self._libraries.close()


class MemorySession(Session):
    """Runs a model whose weights stay where they are, for checks while a model is built."""

    def __init__(
        self,
        signature: Signature,
        model: bytes,
        weights: Mapping[str, Array],
        folder: Path | None,
        threads: int,
    ) -> None:
        super().__init__(signature, "onnxruntime")
        options = _options(threads)
        if folder is not None:
            options.add_session_config_entry(_FOLDER, f"{folder.resolve()}/")
        # Weights laid out anew for the kernels would be a second copy of all of them.
        in_files = folder is not None
        if in_files or sum(array.nbytes for array in weights.values()) > PACKED_MOST_BYTES:
            options.add_session_config_entry("session.disable_prepacking", "1")
        values = [ort.OrtValue.ortvalue_from_numpy(array) for array in weights.values()]
        options.add_external_initializers(list(weights), values)
        self._session = _started(model, options)
        self._weights = values
        self._names = [spec.name for spec in signature.outputs]

    def _run(self, feeds: Feeds) -> Outputs:
        return dict(zip(self._names, self._session.run(self._names, feeds), strict=True))

    def _close(self) -> None:
        del self._session, self._weights


_FOLDER = "session.model_external_initializers_file_folder_path"

PACKED_MOST_BYTES = 1_000_000_000
"""Above it a check would rather be slower than take the memory twice."""


def _options(threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # Idle worker threads would otherwise spin on a core that the rest of the pipeline needs.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return options


def _started(model: str | bytes, options: ort.SessionOptions) -> ort.InferenceSession:
    return ort.InferenceSession(
        model, options, providers=["CPUExecutionProvider"], disabled_optimizers=list(WRONG)
    )


WRONG = ("Pad_Fusion",)
"""Optimisers that change results: it takes zeros before MaxPool for the pads of MaxPool. What it may
fold, our own passes fold."""


def _open(artifact: Artifact, options: ort.SessionOptions) -> ort.InferenceSession:
    model = artifact.files["model"]
    if model.whole_file is not None:
        return _started(str(model.whole_file), options)
    weights = artifact.files.get("weights")
    if weights is not None:
        name = str(artifact.options.get("weights_name", "model.onnx.data"))
        view = bytes(weights.view())
        options.add_external_initializers_from_files_in_memory([name], [view], [len(view)])
    return _started(bytes(model.view()), options)
