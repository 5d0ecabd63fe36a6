"""From the vectors of tokens to one vector."""

from __future__ import annotations

import numpy as np

from modelport.errors import FeedsError
from modelport.types import Array, Feeds


def without_fillers(given: Array, mask: str | None, feeds: Feeds | None) -> Array:
    """The vectors of real tokens, 1 x tokens x n, without those that only fill up a row.

    A row may have become longer after its mask was made, at its right end, for the sake of a longer text
    in the same call.

    Args:
        given: 1 x tokens x n; other shapes have no tokens, and stay as they are.
        mask: name of the input with a one for each real token; None leaves everything.
        feeds: what the model was fed.

    Raises:
        FeedsError: where the mask is not there, or does not fit.
    """
    if mask is None or given.ndim != 3:
        return given
    if feeds is None or mask not in feeds:
        raise FeedsError(
            f"The mask {mask!r} is not among the feeds",
            expected=f"one of {', '.join(map(repr, feeds or ())) or 'them'}",
            hint="Name the model's own input in the parameter mask, or set it to null",
        )
    kept = np.asarray(feeds[mask]).reshape(-1).astype(bool)
    if len(kept) > given.shape[1] or not kept.any():
        raise FeedsError(
            f"The mask has {len(kept)} places, {int(kept.sum())} of them real, and the output "
            f"{given.shape[1]} tokens",
            expected="a place for each token, and one real token at least",
        )
    return given[:, : len(kept)][:, kept]


def pool_tokens(tokens: Array, pooling: str) -> Array:
    """One vector of tokens x n, float64: `cls` the first, `last`, `max`, `mean`, or `patches` without the
    first."""
    if pooling in ("cls", "last"):
        return np.asarray(tokens[0 if pooling == "cls" else -1], np.float64)
    if pooling == "max":
        return np.asarray(tokens.max(0), np.float64)
    return np.asarray(tokens[int(pooling == "patches") :].mean(0, np.float64))
