"""Layers that move elements about: shapes, parts, pads, sizes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from modelport.frontends.network import indexing, operands
from modelport.frontends.network.core import Core, layer
from modelport.frontends.network.mistakes import Refused
from modelport.frontends.network.tensor import Size, Tensor, written

_MODES = {"nearest": "nearest", "linear": "linear", "bilinear": "linear", "cubic": "cubic",
          "bicubic": "cubic"}  # fmt: skip


class Shapes(Core):
    @layer
    def reshape(self, x: Any, shape: Any) -> Tensor:
        """Args:
        shape: numbers, one of which may be -1 for what is left, 0 for the input's size at that place;
            names of free sizes; or a tensor of whole numbers.
        """
        x = self.taken(x)
        if isinstance(shape, Tensor):
            return self.one("Reshape", x, shape)
        wanted = [shape] if isinstance(shape, (int, str)) else list(shape)
        known = [size if size is not None else -1 for size in wanted]
        return self.one("Reshape", x, self._sizes(x, known), shape=_promised(x, known))

    @layer
    def flatten(self, x: Any, axis: int = 1) -> Tensor:
        """Joins all axes from that one on."""
        x = self.taken(x)
        start = axis + x.rank if axis < 0 else axis
        if start == 1:
            return self.one("Flatten", x, axis=1)
        return self.reshape(x, [*[0] * start, -1])

    @layer
    def transpose(self, x: Any, axes: Sequence[int] | None = None) -> Tensor:
        """Args:
        axes: the axis of the input that comes first, second and so on; reversed by default.
        """
        x = self.taken(x)
        order = list(axes) if axes is not None else list(range(x.rank))[::-1]
        order = [axis + x.rank if axis < 0 else axis for axis in order]
        if sorted(order) != list(range(x.rank)):
            raise Refused(
                f"the axes are {list(axes or [])}, the input has shape {written(x.shape)}",
                expected=f"each of 0 to {x.rank - 1} once",
            )
        return self.one("Transpose", x, perm=order)

    @layer
    def squeeze(self, x: Any, axes: int | Sequence[int]) -> Tensor:
        """Without those axes, which have size 1."""
        return self.one("Squeeze", self.taken(x), _listed(axes))

    @layer
    def unsqueeze(self, x: Any, axes: int | Sequence[int]) -> Tensor:
        """With new axes of size 1 at those places."""
        return self.one("Unsqueeze", self.taken(x), _listed(axes))

    @layer
    def expand(self, x: Any, shape: Any) -> Tensor:
        """Repeats axes of size 1, as numpy.broadcast_to; sizes may be names, as in `reshape`."""
        x = self.taken(x)
        if isinstance(shape, Tensor):
            return self.one("Expand", x, shape)
        return self.one("Expand", x, self._sizes(x, list(shape)))

    @layer
    def concat(self, tensors: Sequence[Any], axis: int = 1) -> Tensor:
        """One after another along that axis; all other sizes are equal."""
        parts = [self.taken(part) for part in tensors]
        if not parts:
            raise Refused("there is nothing to join")
        place = axis + parts[0].rank if axis < 0 else axis
        for part in parts[1:]:
            if not _fit(parts[0].shape, part.shape, place):
                raise Refused(
                    f"{written(parts[0].shape)} and {written(part.shape)} differ beside axis {axis}"
                )
        return self.one("Concat", *parts, axis=axis)

    @layer
    def stack(self, tensors: Sequence[Any], axis: int = 0) -> Tensor:
        """Along a new axis at that place."""
        parts = [self.one("Unsqueeze", self.taken(part), [axis]) for part in tensors]
        return self.one("Concat", *parts, axis=axis)

    @layer
    def split(self, x: Any, parts: int | Sequence[int], axis: int = 1) -> tuple[Tensor, ...]:
        """Args:
        parts: how many equal ones, or the size of each.
        """
        x = self.taken(x)
        size = x.shape[axis]
        if isinstance(parts, int):
            if isinstance(size, int) and size % parts:
                raise Refused(f"axis {axis} of {written(x.shape)} has no {parts} equal parts")
            attributes = {"axis": axis, "num_outputs": parts}
            return tuple(self.node("Split", [x], attributes, outputs=parts))
        if isinstance(size, int) and sum(parts) != size:
            raise Refused(
                f"parts of {list(parts)} are {sum(parts)}, axis {axis} of {written(x.shape)} has "
                f"{size}"
            )
        sizes = np.array(parts, np.int64)
        return tuple(self.node("Split", [x, sizes], {"axis": axis}, outputs=len(parts)))

    @layer
    def pad(
        self, x: Any, widths: Mapping[int, Sequence[int]] | Sequence[Sequence[int]],
        mode: str = "constant", value: float = 0.0,
    ) -> Tensor:  # fmt: skip
        """Args:
        widths: how many before and after: a pair for each axis as in numpy.pad, or pairs by axis,
            `{2: (1, 1), 3: (0, 2)}`.
        mode: constant, reflect, edge or wrap.
        """
        x = self.taken(x)
        pairs = dict(widths) if isinstance(widths, Mapping) else dict(enumerate(widths))
        sides = np.zeros((2, x.rank), np.int64)
        for axis, pair in pairs.items():
            if not -x.rank <= axis < x.rank or len(tuple(pair)) != 2:
                raise Refused(
                    f"axis {axis} is padded by {pair!r}, and the input has shape {written(x.shape)}",
                    expected="a pair of numbers for an axis",
                )
            sides[:, axis] = pair
        inputs = [x, sides.reshape(-1)]
        return self.node("Pad", [*inputs, value] if value else inputs, {"mode": mode})[0]

    @layer
    def resize(
        self, x: Any, size: Sequence[int] | None = None, *,
        scale: float | Sequence[float] | None = None, mode: str = "nearest",
        align_corners: bool = False,
    ) -> Tensor:  # fmt: skip
        """To another size, with the coordinates of PyTorch's interpolate.

        Args:
            size: of the axes behind batch and channels.
            scale: instead of it, by how much they grow.
            mode: nearest, linear (or bilinear) or cubic (or bicubic).
        """
        x = self.taken(x)
        if mode not in _MODES:
            raise Refused(f"the mode is {mode!r}", expected=f"one of {', '.join(_MODES)}")
        if (size is None) == (scale is None):
            raise Refused("there is either a size or a scale to be given")
        attributes = _resize_attributes(_MODES[mode], align_corners)
        count = x.rank - 2
        if size is not None:
            wanted = _as_many(size, count, "size")
            sizes = self._sizes(x, [*_named(x.shape[:2]), *wanted])
            return self.node(
                "Resize", [x, None, None, sizes], attributes, shape=[*x.shape[:2], *wanted]
            )[0]
        factors = [1.0, 1.0, *_as_many(scale, count, "scale")]
        inputs = [x, None, np.array(factors, np.float32)]
        return self.node("Resize", inputs, attributes, shape=[*x.shape[:2], *[None] * count])[0]

    @layer
    def upsample(self, x: Any, scale: float | Sequence[float], mode: str = "nearest") -> Tensor:
        """See `resize`."""
        return self.resize(x, scale=scale, mode=mode)

    @layer
    def pixel_shuffle(self, x: Any, factor: int) -> Tensor:
        """Channels become height and width, each that many times larger, as in PyTorch."""
        return self.one("DepthToSpace", x, blocksize=factor, mode="CRD")

    @layer
    def cast(self, x: Any, dtype: Any) -> Tensor:
        """To another element type, by numpy's name."""
        return self.one("Cast", self.taken(x), to=int(operands.element_type(dtype)))

    @layer
    def shape(self, x: Any) -> Tensor:
        """The sizes as a tensor, for what is free; `x.shape` says what is known already."""
        return self.one("Shape", self.taken(x))

    def item(self, x: Any, index: Any) -> Tensor:
        """`x[index]`: numbers, slices, lists, tensors of whole numbers, None and Ellipsis."""
        with self.calling("x[index]"):
            return indexing.indexed(self, self.taken(x), index)

    def _sizes(self, x: Tensor, wanted: list[Any]) -> Any:
        """Sizes for a node, those with a name read from a tensor that has them."""
        if all(isinstance(size, int) for size in wanted):
            return np.array(wanted, np.int64)
        parts = [
            self.one("Shape", *self._place(x, size)[:1], start=place, end=place + 1)
            if isinstance(size, str) and (place := self._place(x, size)[1]) is not None
            else self.taken(np.array([size], np.int64))
            for size in wanted
        ]
        return self.one("Concat", *parts, axis=0)

    def _place(self, x: Tensor, name: str) -> tuple[Tensor, int]:
        """A tensor and its axis that has the size of that name."""
        for tensor in [x, *map(self.tensor, self._graph.inputs)]:
            sizes = tensor.shape
            if name in sizes:
                return tensor, sizes.index(name)
        raise Refused(f"no input has a size named {name!r}")


def _named(sizes: Sequence[Size]) -> list[Size]:
    if any(size is None for size in sizes):
        raise Refused(f"the sizes {written(sizes)} are not known")
    return list(sizes)


def _promised(x: Tensor, wanted: Sequence[Any]) -> list[Size]:
    """What the result of a reshape is known to be, names as they were given."""
    kept = [*x.shape, *[None] * len(wanted)]
    sizes: list[Size] = [kept[place] if size == 0 else size for place, size in enumerate(wanted)]
    return [_rest(x, sizes) if size == -1 else size for size in sizes]


def _rest(x: Tensor, wanted: Sequence[Size]) -> Size:
    """What -1 stands for, where the free sizes of the input are among those that are wanted."""
    left = list(x.shape)
    for size in wanted:
        if isinstance(size, str) and size in left:
            left.remove(size)
        elif not isinstance(size, int):
            return None
    numbers = [size for size in left if isinstance(size, int)]
    others = math.prod(size for size in wanted if isinstance(size, int) and size != -1)
    return math.prod(numbers) // others if len(numbers) == len(left) and others else None


def _resize_attributes(mode: str, align_corners: bool) -> dict[str, Any]:
    if mode == "nearest":
        return {
            "mode": mode,
            "coordinate_transformation_mode": "asymmetric",
            "nearest_mode": "floor",
        }
    place = "align_corners" if align_corners else "half_pixel"
    return {"mode": mode, "coordinate_transformation_mode": place}


def _as_many(given: Any, count: int, word: str) -> list[Any]:
    found = list(given) if isinstance(given, Sequence) else [given] * count
    if len(found) != count:
        raise Refused(f"the {word} is {given!r}", expected=f"one number for each of {count} axes")
    return found


def _listed(axes: int | Sequence[int]) -> list[int]:
    return [axes] if isinstance(axes, int) else list(axes)


def _fit(one: tuple[Size, ...], other: tuple[Size, ...], axis: int) -> bool:
    return len(one) == len(other) and all(
        place == axis or a == b or not (isinstance(a, int) and isinstance(b, int))
        for place, (a, b) in enumerate(zip(one, other, strict=True))
    )
