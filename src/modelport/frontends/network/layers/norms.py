"""Normalisations, with weights as PyTorch names them."""

from __future__ import annotations

from typing import Any

import numpy as np

from modelport.frontends.network.core import Core, layer
from modelport.frontends.network.mistakes import Refused
from modelport.frontends.network.tensor import Size, Tensor, written

_NAMES = {"weight": "weight", "bias": "bias"}
_BATCH_NAMES = {**_NAMES, "mean": "running_mean", "variance": "running_var"}


class Norms(Core):
    @layer
    def batch_norm(
        self, x: Any, weight: Any = None, bias: Any = None, mean: Any = None, variance: Any = None,
        *, epsilon: float = 1e-5,
    ) -> Tensor:  # fmt: skip
        """Normalises each channel by the mean and variance of the training.

        Args:
            weight, bias, mean, variance: one number for each channel; or a group with `weight`, `bias`,
                `running_mean` and `running_var` as the first. Without weight and bias they are 1 and 0.
        """
        x = self.taken(x)
        given = {"bias": bias, "mean": mean, "variance": variance}
        scale, offset, centre, spread = self.parameters(x, weight, _BATCH_NAMES, given)
        if centre is None or spread is None:
            raise Refused("there is no mean and variance", hint="Use instance_norm without them")
        channels = centre.shape[0]
        scale = scale if scale is not None else self._filled(x, channels, 1)
        offset = offset if offset is not None else self._filled(x, channels, 0)
        parts = {"weight": scale, "bias": offset, "mean": centre, "variance": spread}
        for name, part in parts.items():
            _check_channels(x, part, name)
        return self.one("BatchNormalization", x, *parts.values(), epsilon=epsilon)

    @layer
    def layer_norm(
        self, x: Any, weight: Any = None, bias: Any = None, *, axes: int | None = None,
        epsilon: float = 1e-5,
    ) -> Tensor:  # fmt: skip
        """Normalises along the last axes.

        Args:
            weight, bias: of the shape that is normalised; or a group with them as the first.
            axes: how many; by default as many as the weight has, or one.
        """
        x = self.taken(x)
        scale, offset = self.parameters(x, weight, _NAMES, {"bias": bias})
        count = axes or (scale.rank if scale is not None else 1)
        shape = x.shape[x.rank - count :]
        if scale is None:
            scale = self._filled(x, shape, 1)
        for name, part in (("weight", scale), ("bias", offset)):
            if part is not None and part.shape != shape:
                raise Refused(
                    f"the input ends in {written(shape)}, the {name} has shape {written(part.shape)}"
                )
        inputs = [x, scale] if offset is None else [x, scale, offset]
        return self.node("LayerNormalization", inputs, {"axis": -count, "epsilon": epsilon})[0]

    @layer
    def rms_norm(self, x: Any, weight: Any, *, epsilon: float = 1e-6) -> Tensor:
        """Divides by the root of the mean of squares along the last axis, and multiplies by weight."""
        x = self.taken(x)
        (scale,) = self.parameters(x, weight, {"weight": "weight"}, {})
        squares = self.one("ReduceMean", self.one("Mul", x, x), [-1], keepdims=1)
        root = self.one("Sqrt", self.one("Add", squares, epsilon))
        result = self.one("Div", x, root)
        return result if scale is None else self.one("Mul", result, scale)

    @layer
    def instance_norm(
        self, x: Any, weight: Any = None, bias: Any = None, *, epsilon: float = 1e-5
    ) -> Tensor:
        """Normalises each channel of each sample by its own mean and variance."""
        x = self.taken(x)
        scale, offset = self.parameters(x, weight, _NAMES, {"bias": bias})
        channels = x.shape[1]
        scale = scale if scale is not None else self._filled(x, channels, 1)
        offset = offset if offset is not None else self._filled(x, channels, 0)
        _check_channels(x, scale, "weight")
        _check_channels(x, offset, "bias")
        return self.one("InstanceNormalization", x, scale, offset, epsilon=epsilon)

    @layer
    def group_norm(
        self, x: Any, groups: int, weight: Any = None, bias: Any = None, *, epsilon: float = 1e-5
    ) -> Tensor:
        """Normalises groups of channels of each sample.

        Built from an instance norm: opsets before 21 give a weight to a group, not to a channel.

        Args:
            weight, bias: one number for each channel; or a group of weights with them as the first.
        """
        x = self.taken(x)
        scale, offset = self.parameters(x, weight, _NAMES, {"bias": bias})
        channels = x.shape[1]
        if not isinstance(channels, int) or channels % groups:
            raise Refused(f"{channels} channels cannot be divided into {groups} groups")
        grouped = self.one("Reshape", x, [0, groups, -1])
        even = self.one(
            "InstanceNormalization",
            grouped, self._filled(x, groups, 1), self._filled(x, groups, 0),
            epsilon=epsilon,
        )  # fmt: skip
        result = self.one("Reshape", even, self.one("Shape", x), shape=x.shape)
        for operator, part, name in (("Mul", scale, "weight"), ("Add", offset, "bias")):
            if part is not None:
                _check_channels(x, part, name)
                per_channel = self.one("Reshape", part, [-1, *[1] * (x.rank - 2)])
                result = self.one(operator, result, per_channel)
        return result

    def _filled(self, x: Tensor, shape: Any, number: int) -> Tensor:
        sizes = tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
        if any(not isinstance(size, int) for size in sizes) or x.value.dtype is None:
            raise Refused(f"the size {written(sizes)} is not known", hint="Give a weight")
        return self.taken(np.full(sizes, number, x.value.dtype.numpy()))


def _check_channels(x: Tensor, part: Tensor, name: str) -> None:
    channels: Size = x.shape[1] if x.rank > 1 else None
    known = isinstance(channels, int) and all(isinstance(size, int) for size in part.shape)
    if part.rank != 1 or (known and part.shape[0] != channels):
        raise Refused(
            f"the input has {channels} channels, the {name} has shape {written(part.shape)}"
        )
