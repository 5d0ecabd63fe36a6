"""Pools: the largest or the mean of windows."""

from __future__ import annotations

from typing import Any

from modelport.frontends.network.core import Core, layer
from modelport.frontends.network.layers.windows import Padding, Sizes, demand_rank, per_axis, window
from modelport.frontends.network.mistakes import Refused
from modelport.frontends.network.tensor import Tensor, written


class Pools(Core):
    @layer
    def max_pool1d(
        self, x: Any, kernel: Sizes, stride: Sizes | None = None, padding: Padding = 0, *,
        dilation: Sizes = 1, ceil_mode: bool = False,
    ) -> Tensor:  # fmt: skip
        """See `max_pool2d`."""
        return self._pool("MaxPool", 1, x, kernel, stride, padding, ceil_mode, dilation=dilation)

    @layer
    def max_pool2d(
        self, x: Any, kernel: Sizes, stride: Sizes | None = None, padding: Padding = 0, *,
        dilation: Sizes = 1, ceil_mode: bool = False,
    ) -> Tensor:  # fmt: skip
        """The largest of each window.

        Args:
            stride: as large as the window by default.
            padding: in the forms of `conv2d`; what is padded is never the largest.
            ceil_mode: whether a window may begin inside the input and end outside.
        """
        return self._pool("MaxPool", 2, x, kernel, stride, padding, ceil_mode, dilation=dilation)

    @layer
    def max_pool3d(
        self, x: Any, kernel: Sizes, stride: Sizes | None = None, padding: Padding = 0, *,
        dilation: Sizes = 1, ceil_mode: bool = False,
    ) -> Tensor:  # fmt: skip
        """See `max_pool2d`."""
        return self._pool("MaxPool", 3, x, kernel, stride, padding, ceil_mode, dilation=dilation)

    @layer
    def avg_pool1d(
        self, x: Any, kernel: Sizes, stride: Sizes | None = None, padding: Padding = 0, *,
        ceil_mode: bool = False, count_padding: bool = True,
    ) -> Tensor:  # fmt: skip
        """See `avg_pool2d`."""
        return self._pool(
            "AveragePool", 1, x, kernel, stride, padding, ceil_mode, count_padding=count_padding
        )

    @layer
    def avg_pool2d(
        self, x: Any, kernel: Sizes, stride: Sizes | None = None, padding: Padding = 0, *,
        ceil_mode: bool = False, count_padding: bool = True,
    ) -> Tensor:  # fmt: skip
        """The mean of each window.

        Args:
            stride, padding, ceil_mode: as in `max_pool2d`.
            count_padding: whether padded zeros count, as in PyTorch.
        """
        return self._pool(
            "AveragePool", 2, x, kernel, stride, padding, ceil_mode, count_padding=count_padding
        )

    @layer
    def avg_pool3d(
        self, x: Any, kernel: Sizes, stride: Sizes | None = None, padding: Padding = 0, *,
        ceil_mode: bool = False, count_padding: bool = True,
    ) -> Tensor:  # fmt: skip
        """See `avg_pool2d`."""
        return self._pool(
            "AveragePool", 3, x, kernel, stride, padding, ceil_mode, count_padding=count_padding
        )

    @layer
    def global_avg_pool(self, x: Any) -> Tensor:
        """The mean over everything behind batch and channels, each axis kept with size 1."""
        return self.one("GlobalAveragePool", self.taken(x))

    @layer
    def global_max_pool(self, x: Any) -> Tensor:
        """The largest over everything behind batch and channels, each axis kept with size 1."""
        return self.one("GlobalMaxPool", self.taken(x))

    @layer
    def adaptive_avg_pool2d(self, x: Any, size: Sizes) -> Tensor:
        """Means of equal windows, as many as `size` says; the input's size is a multiple of it."""
        return self._adaptive("GlobalAveragePool", "AveragePool", self.taken(x), size)

    @layer
    def adaptive_max_pool2d(self, x: Any, size: Sizes) -> Tensor:
        """The largest of equal windows, as many as `size` says; the input's size is a multiple of it."""
        return self._adaptive("GlobalMaxPool", "MaxPool", self.taken(x), size)

    def _adaptive(self, whole: str, parts: str, x: Tensor, size: Sizes) -> Tensor:
        wanted = per_axis(size, 2, "size")
        if wanted == (1, 1):
            return self.one(whole, x)
        _, _, *sizes = demand_rank(x, 2)
        if any(not isinstance(s, int) or s % w for s, w in zip(sizes, wanted, strict=True)):
            raise Refused(
                f"the input has height and width {written(sizes)}, no multiples of {list(wanted)}",
                hint="Resize it before, or choose another size",
            )
        kernel = [s // w for s, w in zip(sizes, wanted, strict=True) if isinstance(s, int)]
        return self.one(parts, x, kernel_shape=kernel, strides=kernel)

    def _pool(
        self, operator: str, rank: int, x: Any, kernel: Sizes, stride: Sizes | None,
        padding: Padding, ceil_mode: bool, *, dilation: Sizes = 1, count_padding: bool | None = None,
    ) -> Tensor:  # fmt: skip
        x = self.taken(x)
        batch, channels, *sizes = demand_rank(x, rank)
        moved = window(kernel, kernel if stride is None else stride, padding, dilation, rank)
        moved.check(sizes)
        moved = moved.without_dropped(sizes) if ceil_mode else moved
        attributes = moved.attributes()
        if ceil_mode:
            attributes["ceil_mode"] = 1
        if count_padding and moved.pads is not None and any(moved.pads):
            attributes["count_include_pad"] = 1
        shape = [batch, channels, *moved.sizes_after(sizes)]
        return self.node(operator, [x], attributes, shape=shape)[0]
