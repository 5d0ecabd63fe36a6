"""Runs a prototxt and a caffemodel with OpenCV 4, the last reader of Caffe that is still made."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import cv2
import numpy as np

from modelport.engines.base import Session
from modelport.engines.files import as_file
from modelport.errors import EngineError
from modelport.types import Artifact, Feeds, Outputs


class CaffeSession(Session):
    def __init__(self, artifact: Artifact, threads: int) -> None:
        super().__init__(artifact.signature, artifact.engine)
        self._shapes = artifact.options["shapes"]
        if threads:
            cv2.setNumThreads(threads)
        with ExitStack() as stack:
            text = as_file(artifact.files["model"], "model.prototxt", stack)
            weights = as_file(artifact.files["weights"], "model.caffemodel", stack)
            reader: Any = cv2.dnn  # version 5 has other names in it
            self._net = reader.readNetFromCaffe(str(text), str(weights))
        if self._net.empty():
            raise EngineError("caffe failed while loading: the files hold no network")
        self._net.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
        self._net.enableWinograd(False)  # it is faster, and loses digits
        self._net.enableFusion(False)  # it takes a scale behind a power into the power

    def _run(self, feeds: Feeds) -> Outputs:
        for spec in self.signature.inputs:
            self._net.setInput(np.array(feeds[spec.name], np.float32), spec.name)
        results = self._net.forward([spec.name for spec in self.signature.outputs])
        return {
            spec.name: np.array(result, np.float32).reshape(self._shapes[spec.name])
            for spec, result in zip(self.signature.outputs, results, strict=True)
        }

    def _close(self) -> None:
        del self._net
