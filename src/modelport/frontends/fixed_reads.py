"""Python's own `if` on what only buffers and weights decide, as in `if self.mask_probability[i] > 0:`.

While torch traces, tensors have no values, so it stops there, although every call would go the same way.
Here small buffers and weights keep their values beside them, and so does what is computed of them alone;
where Python asks for such a value, it gets it. What depends on an input has none, and is refused as ever.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_flatten, tree_map

from modelport.types import Array

MOST_ELEMENTS = 64
"""Settings that models branch on are short; large weights would be computed with twice for nothing."""

_READS = (
    torch.Tensor.__bool__,
    torch.Tensor.__int__,
    torch.Tensor.__float__,
    torch.Tensor.__index__,
    torch.Tensor.item,
    torch.Tensor.tolist,
)


def readable(module: nn.Module, changing: Sequence[str]) -> dict[str, Array]:
    """Values of the small buffers and weights by name, but for those that a call changes."""
    named = [*module.named_buffers(), *module.named_parameters()]
    return {
        name: tensor.detach().cpu().numpy().copy()
        for name, tensor in named
        if tensor.numel() <= MOST_ELEMENTS
        and name not in changing
        and tensor.dtype != torch.bfloat16
        and type(tensor) in (torch.Tensor, nn.Parameter, nn.Buffer)
    }


class FixedReads(TorchFunctionMode):
    """Answers reads of tensors that only those values decide.

    Args:
        module: whose buffers and weights torch has put its own tensors in place of.
        values: as `readable` gave them.
    """

    def __init__(self, module: nn.Module, values: Mapping[str, Array]) -> None:
        super().__init__()
        tensors = {**dict(module.named_buffers()), **dict(module.named_parameters())}
        # Tensors are kept, so that no other one gets the identity of one that is gone.
        with _untraced():
            self._known = {
                id(tensors[name]): (tensors[name], torch.from_numpy(value))
                for name, value in values.items()
                if name in tensors
            }

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        leaves = [leaf for leaf in tree_flatten((args, kwargs))[0] if _is_tensor(leaf)]
        known = bool(leaves) and all(id(leaf) in self._known for leaf in leaves)
        if known and function in _READS:
            with _untraced():
                return function(self._known[id(leaves[0])][1])
        result = function(*args, **kwargs)
        if ("out" in kwargs or _changes_something(function)) and any(
            id(leaf) in self._known for leaf in leaves
        ):
            self._known.clear()  # views share memory: nothing is sure any more
        elif known and _is_tensor(result) and result.numel() <= MOST_ELEMENTS:
            self._learn(result, function, args, kwargs)
        return result

    def _learn(self, result: torch.Tensor, function: Any, args: Any, kwargs: Any) -> None:
        def real(leaf: Any) -> Any:
            return self._known[id(leaf)][1] if _is_tensor(leaf) else leaf

        try:
            with _untraced():
                value = function(*tree_map(real, args), **tree_map(real, kwargs))
        except Exception:  # it was an attempt: without a value, torch says what it would have said
            return
        if _is_tensor(value) and value.shape == result.shape:
            self._known[id(result)] = (result, value)


@contextmanager
def _untraced() -> Iterator[None]:
    with torch._C.DisableTorchFunction(), _disable_current_modes():
        yield


def _is_tensor(leaf: Any) -> bool:
    return isinstance(leaf, torch.Tensor)


def _changes_something(function: Any) -> bool:
    name = getattr(function, "__name__", "")
    if name.startswith("__"):
        return name.startswith("__i") or name in ("__setitem__", "__set__")
    return name.endswith("_")
