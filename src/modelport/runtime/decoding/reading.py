"""Finds, checks and turns into probabilities what a task needs of the outputs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from modelport.errors import EngineError, FeedsError
from modelport.types import Array, Outputs

TENSORS = "Deploy the model with --task tensors to have the outputs as they are"


def output_named(outputs: Outputs, name: str | None, number: int = 0) -> Array:
    """The output of that name; without a name, the one of that number.

    Raises:
        FeedsError: where there is none.
    """
    if name is None and number < len(outputs):
        return list(outputs.values())[number]
    if name is None or name not in outputs:
        wanted = f"output {name!r}" if name else f"{number + 1} of them"
        raise FeedsError(
            f"The outputs are {', '.join(outputs)}",
            expected=f"{wanted}, by the parameters of the task",
            hint=TENSORS,
        )
    return outputs[name]


def of_shape(array: Array, expected: Sequence[str], what: str) -> Array:
    """The array, which must have an axis for each of those words, the first a batch of one.

    Raises:
        FeedsError: naming the shape that was found.
    """
    if array.ndim != len(expected) or len(array) != 1 or array.size == 0:
        raise FeedsError(
            f"An output has shape {list(array.shape)}",
            expected=f"{what}: {' x '.join(expected)}, with a batch of one",
            hint=TENSORS,
        )
    return array


def not_nan(array: Array, what: str) -> Array:
    """The array; raises EngineError where it holds a NaN or a positive infinity."""
    if np.issubdtype(array.dtype, np.floating) and array.size:
        top = float(array.max())
        if math.isnan(top) or top == math.inf:
            raise EngineError(
                f"The output with {what} holds a NaN or an infinity",
                expected="finite numbers",
                hint="Look at the input, and prove the bundle again with modelport verify",
            )
    return array


def planes_of(array: Array, layout: str, what: str) -> Array:
    """Channels x height x width of one sample, whichever way the output lays them out."""
    order = "1 x channels x height x width" if layout == "nchw" else "1 x height x width x channels"
    sample = of_shape(array, order.split(" x "), what)[0]
    return sample if layout == "nchw" else np.moveaxis(sample, -1, 0)


def sigmoid(values: Array) -> Array:
    """In float32 or wider, without overflow."""
    wide = values if values.dtype.itemsize > 2 else values.astype(np.float32)
    power = np.exp(-np.abs(wide))
    return np.asarray(np.where(wide >= 0, 1.0, power) / (1 + power), wide.dtype)


def softmax(values: Array, axis: int = -1) -> Array:
    """In float32 or wider, without overflow."""
    wide = values if values.dtype.itemsize > 2 else values.astype(np.float32)
    power = np.exp(wide - wide.max(axis, keepdims=True))
    return np.asarray(power / power.sum(axis, keepdims=True))


def logit(share: float) -> float:
    """Whose sigmoid is that share; infinite at 0 and 1."""
    if share <= 0:
        return -math.inf
    return math.inf if share >= 1 else math.log(share / (1 - share))
