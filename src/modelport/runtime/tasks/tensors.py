"""Leaves the outputs as they are, for models whose meaning nobody declared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from modelport.runtime.state import StateParameters
from modelport.runtime.tasks.base import Context, Parameters, Result, Task
from modelport.types import Array, Outputs


@dataclass(frozen=True, eq=False)
class Tensors(Result):
    """The outputs by name."""

    outputs: Mapping[str, Array]

    def __getitem__(self, name: str) -> Array:
        return self.outputs[name]

    def to_json(self) -> dict[str, Any]:
        """Nested lists; what is not finite becomes null, for which JSON has no number."""
        return {name: _listed(array) for name, array in self.outputs.items()}


class TensorsTask(Task[StateParameters, Tensors]):
    name: ClassVar[str] = "tensors"
    summary: ClassVar[str] = "the outputs as arrays"
    Parameters: ClassVar[type[Parameters]] = StateParameters

    def decode(self, outputs: Outputs, context: Context[StateParameters]) -> Tensors:
        return Tensors(dict(outputs))

    def draw(self, image: Image.Image, result: Tensors) -> Image.Image:
        return image.copy()

    def describe(self, result: Tensors) -> str:
        return ", ".join(
            f"{name} {array.dtype} {'x'.join(map(str, array.shape)) or 'scalar'}"
            for name, array in result.outputs.items()
        )


def _listed(array: Array) -> Any:
    if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
        array = np.where(np.isfinite(array), array, np.array(None))
    return array.tolist()
