"""What a tiled model is calibrated and proved with: one tile of each picture, from its middle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from modelport.runtime.tiling import Tiler, tiler_of
from modelport.runtime.transforms.base import Prepared, Preprocessor, Stopwatch
from modelport.types import TensorSpec


class OneTile(Preprocessor):
    """A preprocessor whose first tensor is cut down to one tile, where the model takes no more."""

    def __init__(self, inner: Preprocessor, tiler: Tiler) -> None:
        self.inner = inner
        self._tiler = tiler
        self.medium = inner.medium  # type: ignore[misc]

    def prepare(self, item: Any, watch: Stopwatch | None = None) -> Prepared:
        """As the whole, but for the first tensor; it has no placement then."""
        whole = self.inner.prepare(item, watch)
        if not self._tiler.cuts(whole.first):
            return whole
        name, *_ = whole.tensors
        return Prepared({**whole.tensors, name: self._tiler.middle(whole.first)})

    def as_in_training(self) -> Preprocessor | None:
        exact = self.inner.as_in_training()
        return None if exact is None else OneTile(exact, self._tiler)

    @property
    def unit(self) -> float:
        return self.inner.unit


def one_tile(
    preprocess: Preprocessor | None, parameters: BaseModel, inputs: Sequence[TensorSpec]
) -> Preprocessor | None:
    """The preprocessor, for the engine alone: cut to a tile where the task's parameters say tiling."""
    tiler = None if preprocess is None else tiler_of(parameters, inputs)
    return preprocess if preprocess is None or tiler is None else OneTile(preprocess, tiler)
