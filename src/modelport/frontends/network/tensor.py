"""What a layer takes and gives: a value of the graph, and the network it belongs to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import onnx_ir as ir

from modelport.frontends.network.mistakes import Refused

if TYPE_CHECKING:
    from modelport.frontends.network.core import Core

Size: TypeAlias = int | str | None
"""A number, the name of a free size, or None where nothing is known of it."""


class Tensor:
    """A handle on a value of a network; operators on it add nodes there.

    `==` compares elements, as the other comparisons do. A tensor has no truth value while the network
    is built: see `Network.where` and `Network.cond`.

    Attributes:
        net: the network it belongs to.
        value: what it stands for in the graph.
    """

    __slots__ = ("net", "value")
    __array_ufunc__ = None
    """So that `array * tensor` asks the tensor."""

    def __init__(self, net: Core, value: ir.Value) -> None:
        self.net = net
        self.value = value

    @property
    def name(self) -> str:
        return self.value.name or ""

    @property
    def shape(self) -> tuple[Size, ...]:
        """Raises UsageError where not even the number of dimensions is known."""
        if self.value.shape is None:
            raise Refused(
                f"the number of dimensions of {self.name} is not known",
                hint="Say it with reshape",
            )
        return tuple(size if isinstance(size, int) else size.value for size in self.value.shape)

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def dtype(self) -> str:
        """numpy's name for the type of its elements."""
        if self.value.dtype is None:
            raise Refused(f"the element type of {self.name} is not known", hint="Say it with cast")
        return str(self.value.dtype.numpy().name)

    def reshape(self, *shape: Any) -> Tensor:
        """See `Network.reshape`."""
        return self.net.reshape(self, shape[0] if _is_one_sequence(shape) else shape)

    def transpose(self, *axes: Any) -> Tensor:
        """See `Network.transpose`; without axes, their order is reversed."""
        return self.net.transpose(self, axes[0] if _is_one_sequence(axes) else axes or None)

    def cast(self, dtype: Any) -> Tensor:
        """See `Network.cast`."""
        return self.net.cast(self, dtype)

    def __add__(self, other: Any) -> Tensor:
        return self.net.arithmetic("+", self, other)

    def __radd__(self, other: Any) -> Tensor:
        return self.net.arithmetic("+", other, self)

    def __sub__(self, other: Any) -> Tensor:
        return self.net.arithmetic("-", self, other)

    def __rsub__(self, other: Any) -> Tensor:
        return self.net.arithmetic("-", other, self)

    def __mul__(self, other: Any) -> Tensor:
        return self.net.arithmetic("*", self, other)

    def __rmul__(self, other: Any) -> Tensor:
        return self.net.arithmetic("*", other, self)

    def __truediv__(self, other: Any) -> Tensor:
        return self.net.arithmetic("/", self, other)

    def __rtruediv__(self, other: Any) -> Tensor:
        return self.net.arithmetic("/", other, self)

    def __pow__(self, other: Any) -> Tensor:
        return self.net.arithmetic("**", self, other)

    def __rpow__(self, other: Any) -> Tensor:
        return self.net.arithmetic("**", other, self)

    def __matmul__(self, other: Any) -> Tensor:
        return self.net.arithmetic("@", self, other)

    def __rmatmul__(self, other: Any) -> Tensor:
        return self.net.arithmetic("@", other, self)

    def __lt__(self, other: Any) -> Tensor:
        return self.net.arithmetic("<", self, other)

    def __le__(self, other: Any) -> Tensor:
        return self.net.arithmetic("<=", self, other)

    def __gt__(self, other: Any) -> Tensor:
        return self.net.arithmetic(">", self, other)

    def __ge__(self, other: Any) -> Tensor:
        return self.net.arithmetic(">=", self, other)

    def __eq__(self, other: Any) -> Tensor:  # type: ignore[override]
        return self.net.arithmetic("==", self, other)

    def __ne__(self, other: Any) -> Tensor:  # type: ignore[override]
        return self.net.arithmetic("!=", self, other)

    def __and__(self, other: Any) -> Tensor:
        return self.net.arithmetic("&", self, other)

    def __or__(self, other: Any) -> Tensor:
        return self.net.arithmetic("|", self, other)

    def __invert__(self) -> Tensor:
        return self.net.logical_not(self)

    def __neg__(self) -> Tensor:
        return self.net.neg(self)

    def __abs__(self) -> Tensor:
        return self.net.abs(self)

    def __getitem__(self, index: Any) -> Tensor:
        return self.net.item(self, index)

    def __hash__(self) -> int:
        return id(self.value)

    def __bool__(self) -> bool:
        raise Refused(
            f"{self.name} has no value yet: the network is only being built",
            hint="Choose between values with net.where, and between computations with net.cond",
        )

    def __iter__(self) -> Iterator[Tensor]:
        raise Refused(
            f"{self.name} cannot be taken apart by iterating",
            hint="Use net.split, or an index such as x[:, 0]",
        )

    def __repr__(self) -> str:
        kind = "unknown" if self.value.dtype is None else self.dtype
        return f"<{self.name}: {kind} {written(self.value.shape)}>"


def _is_one_sequence(given: tuple[Any, ...]) -> bool:
    return len(given) == 1 and isinstance(given[0], (tuple, list))


def written(shape: Any) -> str:
    """A shape for messages: `[n, 3, ?, 224]`."""
    if shape is None:
        return "of unknown rank"
    sizes = (size.value if isinstance(size, ir.SymbolicDim) else size for size in shape)
    return f"[{', '.join('?' if size is None else str(size) for size in sizes)}]"
