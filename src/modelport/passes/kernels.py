"""The algebra of convolutions: each is a linear map of a value, and their sums are again one.

A kernel says which taps an output position reads, relative to that position, and with which weights.
It sees its input as zero outside its borders, which is what Conv's pads mean; so two kernels over
one input add up where they give as many positions, and one after the other they compose where
nothing of the border is lost between them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from modelport.passes.affine import Affine
from modelport.types import Array

Weights = Callable[[], Array]
"""Makes the weights of a kernel: (outputs, inputs per group, taps...), float64."""


@dataclass(frozen=True)
class Window:
    """Along one axis, what output `i` reads: `i * stride - begin + dilation * tap`.

    Attributes:
        begin, end: pads at both ends.
    """

    taps: int = 1
    stride: int = 1
    dilation: int = 1
    begin: int = 0
    end: int = 0

    @property
    def span(self) -> int:
        return (self.taps - 1) * self.dilation

    @property
    def excess(self) -> int:
        """Decides the number of outputs: `floor((size + excess - 1) / stride) + 1`."""
        return self.begin + self.end - self.span

    def places(self, other: Window) -> slice:
        """Which taps of a window that holds this one read what the taps of this one read."""
        first = (other.begin - self.begin) // other.dilation
        step = self.dilation // other.dilation if self.taps > 1 else 1
        return slice(first, first + (self.taps - 1) * step + 1, step)


@dataclass(frozen=True)
class Kernel:
    """A grouped convolution with one bias to an output channel.

    Attributes:
        work: multiplications to an output position of all the convolutions that it stands for.
    """

    windows: tuple[Window, ...]
    group: int
    inputs: int
    outputs: int
    weights: Weights
    bias: Array
    work: float = 0

    @property
    def taps(self) -> tuple[int, ...]:
        return tuple(window.taps for window in self.windows)

    @property
    def size(self) -> int:
        """Multiplications to an output position."""
        return self.outputs * (self.inputs // self.group) * math.prod(self.taps)


def identity(channels: int, axes: int) -> Kernel:
    """What gives its input back."""
    return Kernel(
        (Window(),) * axes,
        channels,
        channels,
        channels,
        lambda: np.ones((channels, 1, *[1] * axes)),
        np.zeros(channels),
    )


def average(channels: int, windows: tuple[Window, ...]) -> Kernel:
    """A pool that averages over its window, pads included."""
    taps = [window.taps for window in windows]
    count = math.prod(taps)
    return Kernel(
        windows,
        channels,
        channels,
        channels,
        lambda: np.full((channels, 1, *taps), 1 / count),
        np.zeros(channels),
        work=channels * count,
    )


def scaled(kernel: Kernel, affine: Affine) -> Kernel:
    """The kernel with an affine function of each output channel behind it."""
    each = affine.over(kernel.outputs)
    factor = each.factor.reshape(-1, *[1] * (len(kernel.windows) + 1))
    return replace(
        kernel,
        weights=lambda: kernel.weights() * factor,
        bias=kernel.bias * each.factor + each.shift,
    )


def added(left: Kernel, right: Kernel) -> Kernel | str:
    """The sum of two kernels over one input, or why there is none."""
    if (left.inputs, left.outputs) != (right.inputs, right.outputs):
        return "the branches have different numbers of channels"
    windows = []
    for one, other in zip(left.windows, right.windows, strict=True):
        if one.stride != other.stride:
            return "the strides of the branches differ"
        if one.excess != other.excess:
            return "the pads of the branches do not line up"
        windows.append(_union(one, other))
    group, union = math.gcd(left.group, right.group), tuple(windows)
    return Kernel(
        union,
        group,
        left.inputs,
        left.outputs,
        lambda: _spread(left, union, group) + _spread(right, union, group),
        left.bias + right.bias,
        left.work + right.work,
    )


def composed(inner: Kernel, outer: Kernel) -> Kernel | str:
    """The outer kernel behind the inner one as one kernel, or why there is none.

    The outer one's pads stand for zeros, whereas a single kernel continues the inner one outside
    its borders. Both are the same where there are no pads, and where the inner one reads a single
    position and has no bias, for then it gives zero where its input is zero.
    """
    padded = any(window.begin or window.end for window in outer.windows)
    pointwise = all((w.taps, w.begin, w.end) == (1, 0, 0) for w in inner.windows)
    if padded and not (pointwise and not inner.bias.any()):
        return "the border between two convolutions in a row is padded"
    windows = tuple(itertools.starmap(_chained, zip(inner.windows, outer.windows, strict=True)))
    group = math.gcd(inner.group, outer.group)
    bias = outer.bias
    if inner.bias.any():
        bias = bias + _passed_on(outer, inner.bias)
    return Kernel(
        windows,
        group,
        inner.inputs,
        outer.outputs,
        lambda: _product(inner, outer, windows, group),
        bias,
        inner.work * math.prod(window.stride for window in outer.windows) + outer.work,
    )


def _union(one: Window, other: Window) -> Window:
    """The smallest window with the taps of both; they give equally many outputs."""
    begin = max(one.begin, other.begin)
    reach = max(one.span - one.begin, other.span - other.begin)
    dilation = _common_step(
        [window.dilation for window in (one, other) if window.taps > 1]
        + [begin - one.begin, begin - other.begin]
    )
    taps = (begin + reach) // dilation + 1
    return Window(taps, one.stride, dilation, begin, one.excess + reach)


def _chained(inner: Window, outer: Window) -> Window:
    """What the outer window reads through the inner one."""
    steps = [inner.dilation] if inner.taps > 1 else []
    steps += [inner.stride * outer.dilation] if outer.taps > 1 else []
    dilation = _common_step(steps)
    span = inner.span + inner.stride * outer.span
    return Window(
        span // dilation + 1,
        inner.stride * outer.stride,
        dilation,
        inner.begin + inner.stride * outer.begin,
        inner.end + inner.stride * outer.end,
    )


def _common_step(steps: Iterable[int]) -> int:
    return math.gcd(*steps) or 1


def _spread(kernel: Kernel, windows: Sequence[Window], group: int) -> Array:
    """The kernel's weights for a window that holds its own, in fewer groups."""
    weights = _regrouped(kernel, group)
    result = np.zeros((*weights.shape[:2], *(window.taps for window in windows)))
    here = tuple(own.places(window) for own, window in zip(kernel.windows, windows, strict=True))
    result[_at(here)] = weights
    return result


def _regrouped(kernel: Kernel, group: int) -> Array:
    """The kernel's weights in fewer groups; what the old groups kept apart becomes zero."""
    weights = kernel.weights()
    if group == kernel.group:
        return weights
    inputs, wider = kernel.inputs // kernel.group, kernel.inputs // group
    result = np.zeros((kernel.outputs, wider, *weights.shape[2:]))
    for old in range(kernel.group):
        rows = slice(
            old * kernel.outputs // kernel.group, (old + 1) * kernel.outputs // kernel.group
        )
        first = old * inputs % wider
        result[rows, first : first + inputs] = weights[rows]
    return result


def _product(inner: Kernel, outer: Kernel, windows: Sequence[Window], group: int) -> Array:
    first, second = _regrouped(inner, group), _regrouped(outer, group)
    first = first.reshape(group, -1, *first.shape[1:])
    second = second.reshape(group, -1, *second.shape[1:])
    shape = (group, second.shape[1], first.shape[2], *(window.taps for window in windows))
    result = np.zeros(shape)
    for taps in itertools.product(*map(range, inner.taps)):
        for others in itertools.product(*map(range, outer.taps)):
            place = tuple(
                (a.dilation * tap + a.stride * b.dilation * other) // window.dilation
                for a, b, tap, other, window in zip(
                    inner.windows, outer.windows, taps, others, windows, strict=True
                )
            )
            here = _at(place)
            result[here] += second[_at(others)] @ first[_at(taps)]
    return result.reshape(-1, *shape[2:])


def _at(place: tuple[int | slice, ...]) -> tuple[Any, ...]:
    """An index of taps, whatever comes before them."""
    return (..., *place)


def _passed_on(outer: Kernel, bias: Array) -> Array:
    """What a constant of each input channel becomes behind the outer kernel, away from borders."""
    weights = outer.weights()
    sums = weights.reshape(*weights.shape[:2], -1).sum(axis=2)
    blocks = bias.reshape(outer.group, 1, -1)
    total: Array = (sums.reshape(outer.group, -1, sums.shape[1]) * blocks).sum(axis=2)
    return total.reshape(-1)
