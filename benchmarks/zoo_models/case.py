"""One model of the zoo: how it is built, and what it takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Leaf:
    """A tensor that a case takes, in one or more sizes; what differs between them is free.

    The export is traced with the first size. Its free axes must be 2 or more there, since
    torch.export takes a size of 0 or 1 for a constant.

    Attributes:
        low, high: bounds of the values; `high` itself is left out for integers. None for floats
            means a normal distribution.
        smooth: values are those of a picture, alike in neighbours: a mean over white noise is the
            same for every picture, and would prove nothing.
    """

    shapes: tuple[Shape, ...]
    dtype: torch.dtype = torch.float32
    low: float | None = None
    high: float | None = None
    smooth: bool = False

    def make(self, generator: torch.Generator, size: int) -> Tensor:
        """A tensor of that size, or of the last one where there are fewer."""
        shape = self.shapes[min(size, len(self.shapes) - 1)]
        if self.dtype == torch.bool:
            return torch.rand(shape, generator=generator) < 0.5
        if not (self.dtype.is_floating_point or self.dtype.is_complex):
            low, high = int(self.low or 0), int(100 if self.high is None else self.high)
            return torch.randint(low, high, shape, generator=generator, dtype=self.dtype)
        if self.smooth:
            return picture(shape, generator).to(self.dtype)
        if self.high is not None:
            low = self.low or 0.0
            return (low + (self.high - low) * torch.rand(shape, generator=generator)).to(self.dtype)
        return torch.randn(shape, generator=generator).to(self.dtype)

    def free_axes(self) -> dict[int, tuple[int, ...]]:
        """The axes whose size is free, each with the sizes it takes in turn."""
        sizes = [tuple(shape[axis] for shape in self.shapes) for axis in range(len(self.shapes[0]))]
        return {axis: found for axis, found in enumerate(sizes) if len(set(found)) > 1}


def floats(*shapes: Shape, dtype: torch.dtype = torch.float32) -> Leaf:
    return Leaf(shapes, dtype)


def uniform(low: float, high: float, *shapes: Shape) -> Leaf:
    return Leaf(shapes, low=low, high=high)


def ints(high: int, *shapes: Shape, low: int = 0, dtype: torch.dtype = torch.int64) -> Leaf:
    return Leaf(shapes, dtype, low, high)


def bools(*shapes: Shape) -> Leaf:
    return Leaf(shapes, torch.bool)


def pictures(*shapes: Shape) -> Leaf:
    return Leaf(shapes, smooth=True)


def picture(shape: Shape, generator: torch.Generator) -> Tensor:
    """Smooth patches with some grain, each with a colour of its own. The last two axes are pixels."""
    height, width = shape[-2:]
    coarse = torch.randn(*shape[:-2], 4, 4, generator=generator)
    flat = coarse.reshape(-1, 1, 4, 4)
    size = (height, width)
    patches = nn.functional.interpolate(flat, size, mode="bilinear").reshape(shape)
    tint = torch.randn(*shape[:-2], 1, 1, generator=generator)
    return patches + tint + 0.2 * torch.randn(shape, generator=generator)


Inputs = dict[str, Any] | tuple[Any, ...]
"""What `forward` takes: by parameter name, or by position. Leaves stand for tensors."""


@dataclass(frozen=True)
class Case:
    """A model with its inputs.

    Attributes:
        inputs: with a `Leaf` wherever a tensor goes; containers may be nested, and anything else
            is passed as it is.
        compare: `rows` where outputs hold sets of boxes or queries, whose order means nothing.
        moves: False where outputs depend on sizes alone by design.
        liven: whether weights are drawn again so that outputs move with the input.
        shorten: whether rows of equal blocks are cut to two.
        calls: how often it is called in a row; twice where a call changes what the next one gives.
        picky: whether it does not accept random inputs; ours is then given examples, of every size.
            The plain exporter traces with an example in any case.
        options: fields of `modelport.ExportOptions` that a user of this module would set.
    """

    name: str
    build: Callable[[], nn.Module]
    inputs: Inputs
    compare: Literal["tensors", "rows"] = "tensors"
    moves: bool = True
    liven: bool = False
    shorten: bool = False
    calls: int = 1
    picky: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def sizes(self) -> int:
        return max((len(leaf.shapes) for leaf in leaves_of(self.inputs)), default=1)

    def feeds(self, seed: int, size: int = 0) -> Any:
        """The inputs with tensors in them."""
        generator = torch.Generator().manual_seed(seed)
        return rebuilt(self.inputs, lambda leaf, _: leaf.make(generator, size))


def rebuilt(value: Any, put: Callable[[Leaf, str], Any], path: str = "") -> Any:
    """The same nest of containers, with something else for every leaf.

    Args:
        put: takes a leaf and its path, `options.scale` or `boxes.0` for instance.
    """
    if isinstance(value, Leaf):
        return put(value, path)
    if isinstance(value, Mapping):
        items = {key: rebuilt(part, put, _join(path, key)) for key, part in value.items()}
        return type(value)(items)
    if isinstance(value, (list, tuple)):
        parts = [rebuilt(part, put, _join(path, index)) for index, part in enumerate(value)]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        changes = {name: rebuilt(getattr(value, name), put, _join(path, name)) for name in names}
        return dataclasses.replace(value, **changes)
    return value


def _join(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)


def leaves_of(value: Any) -> Iterator[Leaf]:
    found: list[Leaf] = []
    rebuilt(value, lambda leaf, _: found.append(leaf))
    return iter(found)


def flattened(value: Any) -> list[Any]:
    """Everything in a nest of containers that is no container, in order; None is left out."""
    if value is None:
        return []
    if isinstance(value, Mapping):
        return [leaf for part in value.values() for leaf in flattened(part)]
    if isinstance(value, (list, tuple)):
        return [leaf for part in value for leaf in flattened(part)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = [getattr(value, field.name) for field in dataclasses.fields(value)]
        return [leaf for part in parts for leaf in flattened(part)]
    return [value]
