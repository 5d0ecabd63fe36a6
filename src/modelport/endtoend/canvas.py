"""A picture while the graph is built."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from modelport.endtoend.counts import Count, Counts
from modelport.frontends.network import Network, Tensor


@dataclass(frozen=True)
class Axis:
    """One axis of the picture: its size now, and how places on it come from the original's.

    Attributes:
        original: size of the original picture.
        size: size now.
        scale, shift: float64 tensors of shape [1]: place now = place in the original * scale + shift.
    """

    original: Count
    size: Count
    scale: Tensor
    shift: Tensor


@dataclass(frozen=True)
class Canvas:
    """The pixels so far: 1 x channels x height x width; uint8 until they are normalised.

    Attributes:
        normalized: whether the pixels have become the numbers that the model takes.
    """

    net: Network
    pixels: Tensor
    down: Axis
    across: Axis
    channels: int = 3
    normalized: bool = False

    @classmethod
    def of_input(cls, net: Network, image: Tensor) -> Canvas:
        """From the input: uint8, height x width x 3, RGB."""
        shape = net.shape(image)
        axes = []
        for axis in (0, 1):
            size = shape[axis : axis + 1]
            one = net.constant(np.ones(1, np.float64))
            axes.append(Axis(size, size, one, net.constant(np.zeros(1, np.float64))))
        planes = net.unsqueeze(net.transpose(image, (2, 0, 1)), 0)
        return cls(net, planes, axes[0], axes[1])

    @property
    def counts(self) -> Counts:
        return Counts(self.net)

    def with_pixels(self, pixels: Tensor, **changes: Any) -> Canvas:
        return replace(self, pixels=pixels, **changes)

    def resized(self, pixels: Tensor, height: Count, width: Count) -> Canvas:
        """After a resize of the whole picture."""
        down, across = self._scaled(self.down, height), self._scaled(self.across, width)
        return replace(self, pixels=pixels, down=down, across=across)

    def moved(self, pixels: Tensor, top: Count, left: Count, height: Count, width: Count) -> Canvas:
        """After a shift by so many pixels, negative for a crop, into a picture of that size."""
        down = self._shifted(self.down, top, height)
        return replace(
            self, pixels=pixels, down=down, across=self._shifted(self.across, left, width)
        )

    def _scaled(self, axis: Axis, size: Count) -> Axis:
        factor = self.counts.number(size) / self.counts.number(axis.size)
        return Axis(axis.original, size, axis.scale * factor, axis.shift * factor)

    def _shifted(self, axis: Axis, by: Count, size: Count) -> Axis:
        return Axis(axis.original, size, axis.scale, axis.shift + self.counts.number(by))
