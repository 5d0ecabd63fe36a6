"""From the numbers of a head to boxes, in the graph: `modelport.runtime.decoding.box_codes` once more."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from modelport.errors import UsageError
from modelport.frontends.network import Network, Tensor
from modelport.runtime.decoding.detection_parameters import HeadParameters

Priors_: TypeAlias = tuple[Tensor, Tensor, Tensor]
"""Middles, sides and strides, N x 2 each."""


def decoded(net: Network, numbers: Tensor, priors: Priors_ | None, how: HeadParameters) -> Tensor:
    """Corners, N x 4, in the unit of the head."""
    first, second = numbers[:, :2], numbers[:, 2:]
    if how.code == "xyxy":
        return numbers
    if how.code == "xywh":
        return net.concat([first, first + second], axis=1)
    if how.code == "cxcywh":
        return _around(net, first, second)
    if priors is None:
        raise UsageError(
            f"The code {how.code} needs the size of the tensor, which is free",
            expected="a model whose input has one height and width",
        )
    return _RELATIVE[how.code](net, numbers, priors, how)


def _around(net: Network, middle: Tensor, sides: Tensor) -> Tensor:
    half = sides * np.float32(0.5)
    return net.concat([middle - half, middle + half], axis=1)


def _ltrb(net: Network, numbers: Tensor, priors: Priors_, how: HeadParameters) -> Tensor:
    centres, _, strides = priors
    near, far = numbers[:, :2], numbers[:, 2:]
    if how.unit == "strides":
        near, far = near * strides, far * strides
    return net.concat([centres - near, centres + far], axis=1)


def _deltas(net: Network, numbers: Tensor, priors: Priors_, how: HeadParameters) -> Tensor:
    centres, sides, _ = priors
    moves = numbers * np.array(how.variances, np.float32)
    powers = moves[:, 2:]
    if how.limit is not None:
        powers = net.minimum(powers, np.float32(how.limit))
    return _around(net, centres + moves[:, :2] * sides, net.exp(powers) * sides)


def _linear(net: Network, numbers: Tensor, priors: Priors_, how: HeadParameters) -> Tensor:
    centres, sides, _ = priors
    moves = numbers * np.array(how.variances, np.float32)
    return _around(net, centres + moves[:, :2] * sides, moves[:, 2:] * sides)


def _yolov3(net: Network, numbers: Tensor, priors: Priors_, how: HeadParameters) -> Tensor:
    centres, sides, strides = priors
    middle = centres + net.sigmoid(numbers[:, :2]) * strides
    return _around(net, middle, net.exp(numbers[:, 2:]) * sides)


def _yolov5(net: Network, numbers: Tensor, priors: Priors_, how: HeadParameters) -> Tensor:
    centres, sides, strides = priors
    shares = net.sigmoid(numbers)
    doubled = shares[:, 2:] * 2.0
    middle = centres + (shares[:, :2] * 2.0 - 0.5) * strides
    return _around(net, middle, doubled * doubled * sides)


def _centre_size(net: Network, numbers: Tensor, priors: Priors_, how: HeadParameters) -> Tensor:
    centres, _, strides = priors
    sides = numbers[:, 2:] * strides if how.unit == "strides" else numbers[:, 2:]
    return _around(net, centres + numbers[:, :2] * strides, sides)


def _edges(net: Network, numbers: Tensor, priors: Priors_, how: HeadParameters) -> Tensor:
    centres, sides, _ = priors
    moves = numbers * np.array(how.variances, np.float32) * net.concat([sides, sides], axis=1)
    return _around(net, centres, sides) + moves


_RELATIVE: dict[str, Callable[[Network, Tensor, Priors_, HeadParameters], Tensor]] = {
    "ltrb": _ltrb,
    "deltas": _deltas,
    "linear": _linear,
    "yolov3": _yolov3,
    "yolov5": _yolov5,
    "centre_size": _centre_size,
    "edges": _edges,
}
