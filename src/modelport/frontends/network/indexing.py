"""What `x[...]` means, in nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from modelport.frontends.network.mistakes import Refused
from modelport.frontends.network.tensor import Size, Tensor, written

if TYPE_CHECKING:
    from modelport.frontends.network.core import Core

_END = np.iinfo(np.int64).max


def indexed(net: Core, x: Tensor, index: Any) -> Tensor:
    """`x[index]` as numpy has it, but for masks, and with one list or tensor at most."""
    items = _spread(x, index if isinstance(index, tuple) else (index,))
    slices: dict[int, tuple[int, int, int]] = {}
    gone: list[int] = []
    new: list[int] = []
    picked: list[tuple[int, Any]] = []
    axis = place = 0
    for item in items:
        if item is None:
            new.append(place)
            place += 1
            continue
        if isinstance(item, (int, np.integer)) and not isinstance(item, bool):
            slices[axis] = _single(x, axis, int(item))
            gone.append(axis)
        elif isinstance(item, slice):
            _note_slice(item, axis, slices)
            place += 1
        else:
            picked.append((place, item))
            place += 1
        axis += 1
    result = _sliced(net, x, slices)
    if gone:
        result = net.one("Squeeze", result, gone)
    if new:
        result = net.one("Unsqueeze", result, new)
    return _picked(net, result, picked)


def _spread(x: Tensor, items: tuple[Any, ...]) -> list[Any]:
    """One item for each axis, and None for new ones."""
    dots = [place for place, item in enumerate(items) if item is Ellipsis]
    named = sum(1 for item in items if item is not None and item is not Ellipsis)
    if len(dots) > 1 or named > x.rank:
        raise Refused(
            f"there are {named} indices for a tensor of shape {written(x.shape)}",
            expected=f"at most {x.rank}, and one Ellipsis",
        )
    place = dots[0] if dots else len(items)
    rest = [slice(None)] * (x.rank - named)
    return [*items[:place], *rest, *items[place + len(dots) :]]


def _single(x: Tensor, axis: int, index: int) -> tuple[int, int, int]:
    size: Size = x.shape[axis]
    if isinstance(size, int) and not -size <= index < size:
        raise Refused(f"the index {index} is outside axis {axis} of shape {written(x.shape)}")
    return index, _END if index == -1 else index + 1, 1


def _note_slice(item: slice, axis: int, slices: dict[int, tuple[int, int, int]]) -> None:
    parts = (item.start, item.stop, item.step)
    if any(part is not None and not isinstance(part, (int, np.integer)) for part in parts):
        raise Refused(
            f"the slice {item} has ends that are no numbers",
            hint="Use net.op.Slice with tensors for starts and ends",
        )
    step = 1 if item.step is None else int(item.step)
    if step == 0:
        raise Refused("the step of a slice is 0")
    start = (0 if step > 0 else _END) if item.start is None else int(item.start)
    stop = (_END if step > 0 else -_END) if item.stop is None else int(item.stop)
    if (start, stop, step) != (0, _END, 1):
        slices[axis] = start, stop, step


def _sliced(net: Core, x: Tensor, slices: dict[int, tuple[int, int, int]]) -> Tensor:
    if not slices:
        return x
    starts, ends, steps = (list(part) for part in zip(*slices.values(), strict=True))
    inputs = [x, starts, ends, list(slices)]
    if any(step != 1 for step in steps):
        inputs.append(steps)
    shape = [None if axis in slices else size for axis, size in enumerate(x.shape)]
    return net.node("Slice", inputs, shape=shape)[0]


def _picked(net: Core, x: Tensor, picked: list[tuple[int, Any]]) -> Tensor:
    if not picked:
        return x
    if len(picked) > 1:
        raise Refused("more than one index is a list or tensor", hint="Index one axis at a time")
    ((axis, item),) = picked
    wanted = net.taken(item if isinstance(item, Tensor) else np.asarray(item))
    if "int" not in wanted.dtype:
        raise Refused(
            f"the index is {wanted.dtype}",
            expected="whole numbers",
            hint="Choose by a mask with net.where, or with net.op.Compress",
        )
    return net.one("Gather", x, wanted, axis=axis)
