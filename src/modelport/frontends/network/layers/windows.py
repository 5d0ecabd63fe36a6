"""Sizes, strides and paddings of windows that move over an input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from modelport.frontends.network.mistakes import Refused
from modelport.frontends.network.tensor import Size, Tensor, written

Sizes: TypeAlias = int | Sequence[int]
"""One number for every axis, or one for each."""

Padding: TypeAlias = Sizes | str
"""One number, one for each axis, one for each side (all that begin, then all that end), or `same`."""

_AXES = {1: "length", 2: "height and width", 3: "depth, height and width"}


@dataclass(frozen=True)
class Window:
    """Attributes:
    pads: zeros before each axis, then after each, as ONNX has them; None where `same` decides.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...] | None

    def attributes(self) -> dict[str, Any]:
        """Those of a convolution or pool."""
        padded: dict[str, Any] = {"auto_pad": "SAME_UPPER"} if self.pads is None else {}
        if self.pads is not None and any(self.pads):
            padded["pads"] = self.pads
        if any(step != 1 for step in self.strides):
            padded["strides"] = self.strides
        if any(step != 1 for step in self.dilations):
            padded["dilations"] = self.dilations
        return {"kernel_shape": self.kernel, **padded}

    def sizes_after(self, sizes: Sequence[Size]) -> list[Size]:
        """The names of free sizes that stay what they were; None for the others, which ONNX infers."""
        rank = len(self.kernel)
        if self.pads is None:
            return [
                size if step == 1 else None for size, step in zip(sizes, self.strides, strict=True)
            ]
        found: list[Size] = []
        for axis, size in enumerate(sizes):
            reach = self.dilations[axis] * (self.kernel[axis] - 1)
            stays = self.strides[axis] == 1 and self.pads[axis] + self.pads[axis + rank] == reach
            found.append(size if stays else None)
        return found

    def without_dropped(self, sizes: Sequence[Size]) -> Window:
        """The same window where sizes are rounded up, padded no further than it is used.

        A last window that would begin in the padding is dropped by engines and PyTorch, but counted by
        ONNX's inference.
        """
        if self.pads is None:
            return self
        rank, pads = len(self.kernel), list(self.pads)
        for axis, size in enumerate(sizes):
            if not isinstance(size, int):
                continue
            step, begin, end = self.strides[axis], pads[axis], pads[axis + rank]
            reach = self.dilations[axis] * (self.kernel[axis] - 1) + 1
            last = -(-(size + begin + end - reach) // step) * step
            if last >= size + begin:
                pads[axis + rank] = max(last - step + reach - size - begin, 0)
        return replace(self, pads=tuple(pads))

    def check(self, sizes: Sequence[Size]) -> None:
        """Raises Refused where the window is larger than what it moves over."""
        if self.pads is None:
            return
        rank = len(self.kernel)
        for axis, size in enumerate(sizes):
            reach = self.dilations[axis] * (self.kernel[axis] - 1) + 1
            room = (
                size + self.pads[axis] + self.pads[axis + rank] if isinstance(size, int) else None
            )
            if room is not None and reach > room:
                raise Refused(
                    f"a window of {written(self.kernel)} does not fit into {written(sizes)}, "
                    f"padded by {list(self.pads)}"
                )


def window(kernel: Sizes, stride: Sizes, padding: Padding, dilation: Sizes, rank: int) -> Window:
    sizes = per_axis(kernel, rank, "kernel")
    strides = per_axis(stride, rank, "stride")
    dilations = per_axis(dilation, rank, "dilation")
    return Window(sizes, strides, dilations, _pads(padding, sizes, strides, dilations))


def per_axis(given: Sizes, rank: int, word: str, least: int = 1) -> tuple[int, ...]:
    """One number for each axis."""
    sizes = tuple(given) if isinstance(given, Sequence) else (given,) * rank
    if len(sizes) != rank or any(not isinstance(s, int) or s < least for s in sizes):
        raise Refused(
            f"the {word} is {given!r}",
            expected=f"a number from {least} on, or {rank} of them: {_AXES[rank]}"
            if rank > 1
            else f"a number from {least} on",
        )
    return sizes


def _pads(
    given: Padding, kernel: tuple[int, ...], strides: tuple[int, ...], dilations: tuple[int, ...]
) -> tuple[int, ...] | None:
    rank = len(kernel)
    if given == "same":
        return _pads_that_keep(kernel, dilations) if set(strides) == {1} else None
    if given == "valid":
        return (0,) * (2 * rank)
    if isinstance(given, str):
        raise Refused(f"the padding is {given!r}", expected="a number, numbers, 'same' or 'valid'")
    if isinstance(given, Sequence) and len(given) == 2 * rank:
        if any(not isinstance(side, int) or side < 0 for side in given):
            raise Refused(f"the padding is {given!r}", expected="numbers from 0 on")
        return tuple(int(side) for side in given)
    return per_axis(given, rank, "padding", least=0) * 2


def _pads_that_keep(kernel: tuple[int, ...], dilations: tuple[int, ...]) -> tuple[int, ...]:
    """Sides of a window that moves by one and keeps the size; the odd zero comes last."""
    totals = [step * (size - 1) for step, size in zip(dilations, kernel, strict=True)]
    before = [total // 2 for total in totals]
    return (*before, *(total - start for total, start in zip(totals, before, strict=True)))


def demand_rank(x: Tensor, rank: int) -> tuple[Size, ...]:
    """The sizes of an input of batch, channels and that many axes; raises Refused otherwise."""
    if x.rank != rank + 2:
        raise Refused(
            f"the input has shape {written(x.shape)}",
            expected=f"{rank + 2} dimensions: batch, channels, {_AXES[rank].replace(' and', ',')}",
        )
    return x.shape
