"""Opens what answers: a bundle, or a pipeline of bundles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from modelport.bundle.pipelines import is_pipeline
from modelport.errors import UsageError
from modelport.runtime.predictor import Predictor
from modelport.types import Running

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from modelport.runtime.pipeline import Pipeline


def load(
    path: str | Path,
    *,
    variant: str | None = None,
    trust: bool = False,
    **running: Unpack[Running],
) -> Predictor | Pipeline:
    """Opens a bundle and returns a predictor: `load("build/model")("photo.jpg")`.

    What `Pipeline.save` wrote becomes a pipeline, which answers in the same way.

    Args:
        variant: of a bundle; a pipeline has its own for each stage.
        trust, running: see `Predictor`.
    """
    if not is_pipeline(Path(path)):
        return Predictor(path, variant=variant, trust=trust, **running)
    if variant is not None:
        raise UsageError(
            f"{path} is a pipeline, and the variant {variant!r} was asked for",
            hint="Leave the variant out: the stages of a pipeline have their own",
        )
    from modelport.runtime.pipeline import Pipeline  # most bundles are none

    return Pipeline.load(path, trust=trust, **running)
