"""Watches a module run: where it leaves the world of tensors, and what is random in it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from modelport.frontends.inputs import leaves
from modelport.frontends.preflight.finding import Place
from modelport.frontends.preflight.modes import random_kind
from modelport.frontends.preflight.places import Places

_LEAVING = {
    "item": "item",
    "tolist": "item",
    "__bool__": "branch",
    "__contains__": "branch",
    "is_nonzero": "branch",
    "equal": "branch",
    "allclose": "branch",
    "__int__": "python-number",
    "__float__": "python-number",
    "__complex__": "python-number",
    "__index__": "python-number",
    "numpy": "numpy",
    "__array__": "numpy",
}
"""Calls that turn a tensor into something else, and the kind of the finding."""

_EDITS = frozenset(
    ("resize_", "resize_as_", "set_", "unsqueeze_", "squeeze_", "transpose_", "t_", "swapaxes_",
     "swapdims_", "as_strided_")
)  # fmt: skip
_CREATORS = frozenset(("tensor", "as_tensor", "scalar_tensor", "from_numpy"))
_SHAPE_ONLY = frozenset(
    ("zeros_like", "ones_like", "empty_like", "new_zeros", "new_ones", "new_empty", "rand_like",
     "randn_like", "new_tensor")
)  # fmt: skip
"""Their result has the shape of the first argument, and nothing of its values."""
_SET_DATA = torch.Tensor.data.__set__  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Sighting:
    """Attributes:
    name: the call, `item` say.
    value: what it gave; to be compared with what it gives on other inputs.
    """

    kind: str
    name: str
    place: Place
    value: Any = None


class Watch(TorchFunctionMode):
    """Notes sightings on tensors that hold something computed from the inputs, while it is active.

    Args:
        inputs: the arguments of the module.
    """

    def __init__(self, places: Places, inputs: Any) -> None:
        super().__init__()
        self.sightings: list[Sighting] = []
        self._places = places
        self._mark = _Mark()
        self._mark.put(value for _, value in leaves(inputs))

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        result = func(*args, **given)
        depends = self._mark.on(tree_leaves((args[1:] if name in _SHAPE_ONLY else args, given)))
        if depends:
            self._spread(name, args, given, result)
        self._note(func, name, args, given, result, depends)
        return result

    def depends(self, tensor: torch.Tensor) -> bool:
        """Whether the tensor was computed from the inputs, as far as that went through torch."""
        return self._mark.on([tensor])

    def _spread(self, name: str, args: Any, kwargs: Mapping[str, Any], result: Any) -> None:
        self._mark.put(tree_leaves(result))
        if args and (name.endswith("_") or "out" in kwargs):  # __setitem__ and __set__ too
            self._mark.put([args[0], *tree_leaves(kwargs.get("out"))])

    def _note(
        self, func: Any, name: str, args: Any, kwargs: dict[str, Any], result: Any, depends: bool
    ) -> None:
        if depends and name in _LEAVING:
            self._add(_LEAVING[name], name, result)
        elif depends and (name in _EDITS or func == _SET_DATA):
            self._add("shape-edit", "data" if func == _SET_DATA else name)
        elif depends and name == "unbind" and self._is_iteration():
            self._add("size-loop", "for", len(result))
        elif name in _CREATORS and not depends:
            self._add("created", name, result)
        elif (kind := random_kind(name, args, kwargs)) is not None:
            self._add(kind, name)

    def _add(self, kind: str, name: str, value: Any = None) -> None:
        place = self._places.here()
        if place.file is not None:
            self.sightings.append(Sighting(kind, name, place, _kept(value)))

    @staticmethod
    def _is_iteration() -> bool:
        return sys._getframe(3).f_code.co_name == "__iter__"


def _kept(value: Any) -> Any:
    """A copy that later edits do not reach."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy() if not value.is_sparse else None
    return value.copy() if hasattr(value, "copy") else value


class _Mark:
    """Marks memory, so that views of marked tensors are marked too."""

    def __init__(self) -> None:
        self._token = object()

    def put(self, values: Iterator[Any] | Sequence[Any]) -> None:
        for holder in _holders(values):
            holder._modelport_mark = self._token

    def on(self, values: Sequence[Any]) -> bool:
        return any(
            getattr(holder, "_modelport_mark", None) is self._token for holder in _holders(values)
        )


def _holders(values: Iterator[Any] | Sequence[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, torch.Tensor):
            try:
                yield value.untyped_storage()
            except (NotImplementedError, RuntimeError):  # sparse tensors have no single storage
                yield value
