"""Convolutions and the linear layer, with weights as PyTorch lays them out."""

from __future__ import annotations

from typing import Any

import numpy as np

from modelport.frontends.network.core import Core, layer
from modelport.frontends.network.layers.windows import (
    Padding,
    Sizes,
    demand_rank,
    per_axis,
    window,
)
from modelport.frontends.network.mistakes import Refused
from modelport.frontends.network.tensor import Size, Tensor, written

_NAMES = {"weight": "weight", "bias": "bias"}


class Convolutions(Core):
    @layer
    def conv1d(
        self, x: Any, weight: Any, bias: Any = None, *, stride: Sizes = 1, padding: Padding = 0,
        dilation: Sizes = 1, groups: int = 1,
    ) -> Tensor:  # fmt: skip
        """See `conv2d`; a pair of paddings is that of the start and that of the end."""
        return self._conv(1, x, weight, bias, stride, padding, dilation, groups)

    @layer
    def conv2d(
        self, x: Any, weight: Any, bias: Any = None, *, stride: Sizes = 1, padding: Padding = 0,
        dilation: Sizes = 1, groups: int = 1,
    ) -> Tensor:  # fmt: skip
        """A convolution.

        Args:
            x: batch, channels, height, width.
            weight: outputs, inputs / groups, height, width; or a group with `weight` and `bias`.
            bias: one number for each output.
            padding: one number; height and width; top, left, bottom and right; or `same`, which gives
                the input's size divided by the stride, the odd zero at the end.
        """
        return self._conv(2, x, weight, bias, stride, padding, dilation, groups)

    @layer
    def conv3d(
        self, x: Any, weight: Any, bias: Any = None, *, stride: Sizes = 1, padding: Padding = 0,
        dilation: Sizes = 1, groups: int = 1,
    ) -> Tensor:  # fmt: skip
        """See `conv2d`."""
        return self._conv(3, x, weight, bias, stride, padding, dilation, groups)

    @layer
    def conv_transpose1d(
        self, x: Any, weight: Any, bias: Any = None, *, stride: Sizes = 1, padding: Padding = 0,
        output_padding: Sizes = 0, dilation: Sizes = 1, groups: int = 1,
    ) -> Tensor:  # fmt: skip
        """See `conv_transpose2d`."""
        return self._transposed(
            1, x, weight, bias, stride, padding, output_padding, dilation, groups
        )

    @layer
    def conv_transpose2d(
        self, x: Any, weight: Any, bias: Any = None, *, stride: Sizes = 1, padding: Padding = 0,
        output_padding: Sizes = 0, dilation: Sizes = 1, groups: int = 1,
    ) -> Tensor:  # fmt: skip
        """A transposed convolution.

        Args:
            weight: inputs, outputs / groups, height, width; or a group with `weight` and `bias`.
            padding: what is cut off the result, in the forms of `conv2d` but for `same`.
            output_padding: by how much the result is larger at its end.
        """
        return self._transposed(
            2, x, weight, bias, stride, padding, output_padding, dilation, groups
        )

    @layer
    def conv_transpose3d(
        self, x: Any, weight: Any, bias: Any = None, *, stride: Sizes = 1, padding: Padding = 0,
        output_padding: Sizes = 0, dilation: Sizes = 1, groups: int = 1,
    ) -> Tensor:  # fmt: skip
        """See `conv_transpose2d`."""
        return self._transposed(
            3, x, weight, bias, stride, padding, output_padding, dilation, groups
        )

    @layer
    def linear(self, x: Any, weight: Any, bias: Any = None) -> Tensor:
        """`x @ weight.T + bias` along the last axis.

        Args:
            weight: outputs, inputs; or a group with `weight` and `bias`.
        """
        x = self.taken(x)
        group, x_sizes = weight, x.shape
        matrix, offset = self.parameters(x, group, _NAMES, {"bias": bias})
        outputs, inputs = _checked(matrix, 2).shape
        assert matrix is not None
        if not x_sizes or _differ(x_sizes[-1], inputs):
            raise Refused(
                f"the input has {x_sizes[-1] if x_sizes else 'no'} features, the weight of shape "
                f"{written(matrix.shape)} expects {inputs}"
            )
        _check_bias(offset, outputs)
        if len(x_sizes) == 2:
            return self.node("Gemm", _given(x, matrix, offset), {"transB": 1})[0]
        product = self.one("MatMul", x, self._turned(matrix))
        return product if offset is None else self.one("Add", product, offset)

    def _turned(self, matrix: Tensor) -> Tensor:
        """The matrix transposed; at once where it is a weight."""
        constant = matrix.value.const_value
        if constant is None:
            return self.one("Transpose", matrix, perm=[1, 0])
        turned = np.ascontiguousarray(constant.numpy().T)
        value = self.value(turned, role=f"{(matrix.name or 'weight').rpartition('.')[2]}_turned")
        return self.taken(value)

    def _conv(
        self, rank: int, x: Any, weight: Any, bias: Any, stride: Sizes, padding: Padding,
        dilation: Sizes, groups: int,
    ) -> Tensor:  # fmt: skip
        x = self.taken(x)
        _, channels, *sizes = demand_rank(x, rank)
        kernel, offset = self.parameters(x, weight, _NAMES, {"bias": bias})
        outputs, inputs, *extent = _checked(kernel, rank + 2).shape
        assert kernel is not None
        _check_channels(channels, inputs, groups, kernel)
        if isinstance(outputs, int) and outputs % groups:
            raise Refused(f"{outputs} outputs cannot be divided into {groups} groups")
        _check_bias(offset, outputs)
        moved = window(_known(extent), stride, padding, dilation, rank)
        moved.check(sizes)
        return self.node(
            "Conv",
            _given(x, kernel, offset),
            {**moved.attributes(), "group": groups},
            shape=[x.shape[0], outputs, *moved.sizes_after(sizes)],
        )[0]

    def _transposed(
        self, rank: int, x: Any, weight: Any, bias: Any, stride: Sizes, padding: Padding,
        output_padding: Sizes, dilation: Sizes, groups: int,
    ) -> Tensor:  # fmt: skip
        x = self.taken(x)
        _, channels, *_ = demand_rank(x, rank)
        kernel, offset = self.parameters(x, weight, _NAMES, {"bias": bias})
        inputs, outputs, *extent = _checked(kernel, rank + 2).shape
        assert kernel is not None
        if _differ(channels, inputs):
            raise Refused(
                f"the input has {channels} channels, the weight of shape {written(kernel.shape)} "
                f"expects {inputs}",
                hint="A transposed convolution has its inputs first",
            )
        if isinstance(inputs, int) and inputs % groups:
            raise Refused(f"{inputs} inputs cannot be divided into {groups} groups")
        if padding == "same":
            raise Refused("the padding is 'same'", expected="numbers")
        _check_bias(offset, outputs * groups if isinstance(outputs, int) else None)
        moved = window(_known(extent), stride, padding, dilation, rank)
        more = per_axis(output_padding, rank, "output padding", least=0)
        attributes = {**moved.attributes(), "group": groups}
        if any(more):
            attributes["output_padding"] = more
        return self.node("ConvTranspose", _given(x, kernel, offset), attributes)[0]


def _checked(weight: Tensor | None, rank: int) -> Tensor:
    if weight is None:
        raise Refused("there is no weight")
    if weight.rank != rank:
        raise Refused(
            f"the weight has shape {written(weight.shape)}", expected=f"{rank} dimensions"
        )
    return weight


def _known(sizes: list[Size]) -> list[int]:
    if any(not isinstance(size, int) for size in sizes):
        raise Refused("the size of the weight's window is not known")
    return [size for size in sizes if isinstance(size, int)]


def _check_channels(channels: Size, inputs: Size, groups: int, weight: Tensor) -> None:
    if not isinstance(channels, int) or not isinstance(inputs, int):
        return
    if channels % groups:
        raise Refused(f"{channels} channels cannot be divided into {groups} groups")
    if channels != inputs * groups:
        among = f" in {groups} groups" if groups > 1 else ""
        raise Refused(
            f"the input has {channels} channels, the weight of shape {written(weight.shape)} "
            f"expects {inputs * groups}{among}",
            hint=f"Perhaps groups={channels // inputs}" if channels % inputs == 0 else None,
        )


def _check_bias(bias: Tensor | None, outputs: Size) -> None:
    if bias is not None and (bias.rank != 1 or _differ(bias.shape[0], outputs)):
        raise Refused(f"the bias has shape {written(bias.shape)}, and there are {outputs} outputs")


def _differ(one: Size, other: Size) -> bool:
    return isinstance(one, int) and isinstance(other, int) and one != other


def _given(*inputs: Tensor | None) -> list[Tensor | None]:
    """Without what is left out at the end."""
    found: list[Tensor | None] = list(inputs)
    while found and found[-1] is None:
        found.pop()
    return found
