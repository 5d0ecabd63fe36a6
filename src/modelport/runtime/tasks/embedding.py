"""A vector for a picture or a text: close to those of what is alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from PIL import Image

from modelport.errors import FeedsError, UsageError
from modelport.runtime.decoding.pooling import pool_tokens, without_fillers
from modelport.runtime.decoding.reading import TENSORS, not_nan, output_named
from modelport.runtime.tasks.base import Context, Parameters, Result, Task
from modelport.types import Array, Outputs


@dataclass(frozen=True, eq=False)
class Embedding(Result):
    """A vector, float32."""

    vector: Array

    def similarity(self, other: Embedding) -> float:
        """The cosine of the angle between both: 1 for alike, 0 for unrelated."""
        return float(similarities(self.vector, [other])[0])

    def to_json(self) -> dict[str, Any]:
        return {"vector": [float(value) for value in self.vector]}

    def rows(self) -> list[dict[str, Any]]:
        return [{f"v{place}": float(value) for place, value in enumerate(self.vector)}]


class EmbeddingParameters(Parameters):
    """Attributes:
    output: name of the output; by default the first.
    pooling: `as_is` takes a vector; `cls` the first of several tokens; `mean` all tokens, or all places
        of a feature map; `patches` all tokens but the first; `max` the largest of each number over all
        tokens; `last` the last of several tokens.
    mask: name of the input that has a zero for each token that only fills up a row: these are left
        out. None where there are none.
    layout: of a feature map: `nchw` or `nhwc`.
    normalise: whether vectors have a length of 1, so that their product is their cosine.
    """

    output: str | None = None
    pooling: Literal["as_is", "cls", "last", "max", "mean", "patches"] = "as_is"
    mask: str | None = None
    layout: Literal["nchw", "nhwc"] = "nchw"
    normalise: bool = True


class EmbeddingTask(Task[EmbeddingParameters, Embedding]):
    name: ClassVar[str] = "embedding"
    summary: ClassVar[str] = "a vector, close to those of what is alike"
    Parameters: ClassVar[type[Parameters]] = EmbeddingParameters

    def decode(self, outputs: Outputs, context: Context[EmbeddingParameters]) -> Embedding:
        wanted = context.parameters
        given = not_nan(output_named(outputs, wanted.output), "the vector")
        given = without_fillers(given, wanted.mask, context.feeds)
        vector = pooled(given, wanted.pooling, wanted.layout).astype(np.float64)
        if wanted.normalise:
            vector = vector / max(float(np.linalg.norm(vector)), 1e-12)
        return Embedding(vector.astype(np.float32))

    def draw(self, image: Image.Image, result: Embedding) -> Image.Image:
        return image.copy()

    def describe(self, result: Embedding) -> str:
        few = ", ".join(f"{value:.3f}" for value in result.vector[:3])
        return f"{len(result.vector)} numbers: {few}, ..."


def pooled(given: Array, pooling: str, layout: str) -> Array:
    """One vector of an output: 1 x n, 1 x tokens x n, or a feature map.

    Raises:
        FeedsError: where the output is none of these, or the pooling needs another.
    """
    if pooling == "as_is":
        if given.size and given.size == max(
            given.shape
        ):  # axes of one, as pooled feature maps have
            return np.asarray(given.reshape(-1))
    elif given.ndim == 3 and len(given) == 1 and given.shape[1] > (pooling == "patches"):
        return pool_tokens(given[0], pooling)
    elif given.ndim == 4 and len(given) == 1 and pooling == "mean" and given.size:
        return np.asarray(given[0].mean((1, 2) if layout == "nchw" else (0, 1), np.float64))
    raise FeedsError(
        f"The output has shape {list(given.shape)}, and the pooling is {pooling}",
        expected="1 x n for as_is, 1 x tokens x n for cls, last, max, mean and patches, or a feature map "
        "for mean",
        hint=TENSORS,
    )


def similarities(query: Array | Embedding, others: Sequence[Array | Embedding]) -> Array:
    """The cosines between one vector and others, float64; 0 where one has no length.

    Raises:
        UsageError: where their lengths differ.
    """
    own = _vector(query)
    rows = [_vector(other) for other in others]
    lengths = {len(row) for row in rows} - {len(own)}
    if lengths:
        raise UsageError(
            f"Vectors have {len(own)} and {lengths.pop()} numbers", expected="those of one model"
        )
    table = np.stack(rows) if rows else np.zeros((0, len(own)))
    norms = np.linalg.norm(table, axis=1) * np.linalg.norm(own)
    return np.asarray(table @ own / np.where(norms > 0, norms, 1))


def _vector(given: Array | Embedding) -> Array:
    return np.asarray(given.vector if isinstance(given, Embedding) else given, np.float64)
