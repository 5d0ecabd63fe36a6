"""The oracle: onnx's reference evaluator, slow and plain, every operator as specified."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from modelport.engines.base import Engine, Rules, Session
from modelport.types import Artifact, Blob, Feeds, Outputs, Target

if TYPE_CHECKING:
    import onnx_ir as ir


class Reference(Engine):
    name: ClassVar[str] = "reference"
    package: ClassVar[str | None] = "onnx"
    module: ClassVar[str | None] = "onnx"
    extra: ClassVar[str | None] = "onnx"
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "int8")
    trusted: ClassVar[bool] = True
    rules: ClassVar[Rules] = Rules(
        opsets=(7, 26), quantization="qdq", source="https://onnx.ai/onnx/api/reference.html"
    )
    devices: ClassVar[tuple[str, ...]] = ("cpu",)
    deployable: ClassVar[bool] = False
    for_tests: ClassVar[bool] = True

    def _compile(
        self, model: ir.Model, target: Target, directory: Path, calibration: Sequence[Feeds]
    ) -> Artifact:
        from modelport.graph.io import save_with_weights
        from modelport.graph.query import signature_of

        files = save_with_weights(model, directory, name="model")
        return Artifact(
            engine=self.name,
            signature=signature_of(model),
            files={role: Blob(path) for role, path in files.items()},
        )

    def _load(self, artifact: Artifact, threads: int) -> Session:
        return ReferenceSession(artifact)


class ReferenceSession(Session):
    def __init__(self, artifact: Artifact) -> None:
        from onnx.reference import ReferenceEvaluator  # noqa: TID251

        super().__init__(artifact.signature, artifact.engine)
        self._evaluator = ReferenceEvaluator(str(artifact.files["model"].path))
        self._names = [spec.name for spec in artifact.signature.outputs]

    def _run(self, feeds: Feeds) -> Outputs:
        values = self._evaluator.run(self._names, dict(feeds))
        return {name: np.asarray(value) for name, value in zip(self._names, values, strict=True)}
