"""An engine without an engine: zeros of the promised shapes, for tests and for overheads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from modelport.engines.base import Engine, Rules, Session
from modelport.types import Array, Artifact, Dim, Feeds, Outputs, Target, TensorSpec

if TYPE_CHECKING:
    import onnx_ir as ir


class Null(Engine):
    name: ClassVar[str] = "null"
    precisions: ClassVar[tuple[str, ...]] = ("fp32",)
    trusted: ClassVar[bool] = True
    rules: ClassVar[Rules] = Rules(opsets=(1, 99), source="nothing is executed")
    devices: ClassVar[tuple[str, ...]] = ("cpu",)
    deployable: ClassVar[bool] = False
    for_tests: ClassVar[bool] = True

    def _compile(
        self, model: ir.Model, target: Target, directory: Path, calibration: Sequence[Feeds]
    ) -> Artifact:
        from modelport.graph.query import signature_of

        return Artifact(engine=self.name, signature=signature_of(model), files={})

    def _load(self, artifact: Artifact, threads: int) -> Session:
        return NullSession(artifact.signature, self.name)


class NullSession(Session):
    """Gives zeros; free dimensions follow the first input where the counts agree."""

    def _run(self, feeds: Feeds) -> Outputs:
        first = next(iter(feeds.values()), None)
        return {spec.name: _zeros(spec, first) for spec in self.signature.outputs}


def _zeros(spec: TensorSpec, like: Array | None) -> Array:
    shape = [
        (like.shape[axis] if like is not None and axis < like.ndim else size.minimum)
        if isinstance(size, Dim)
        else size
        for axis, size in enumerate(spec.shape)
    ]
    return np.zeros(shape, spec.dtype)
