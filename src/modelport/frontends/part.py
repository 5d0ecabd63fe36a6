"""One module of a larger model, with the inputs that the larger model gives it."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from modelport.errors import UsageError
from modelport.frontends.adapter import Adapter, part
from modelport.frontends.explain import quiet
from modelport.frontends.inputs import Inputs, leaves, read_inputs
from modelport.types import Array, Dim, Feeds, TensorSpec


class _Caught(Exception):
    """The part was called; what follows need not run."""

    def __init__(self, arguments: dict[str, Any]) -> None:
        self.arguments = arguments


class Part:
    """The module at a path, fed by running the whole model up to it."""

    def __init__(self, whole: Adapter, path: str) -> None:
        self._whole = whole
        self.path = path
        self.module: nn.Module = part(whole.module, path)

    def inputs(self, feeds: Feeds, others: Sequence[Feeds]) -> Inputs:
        """Those of the part; sizes that differ for feeds of other sizes are free."""
        found = read_inputs(self._arguments(feeds), self.module)
        shapes = [[array.shape for array in self.arrays(feed)] for feed in others]
        specs = [
            _freed(spec, [shape[index] for shape in shapes])
            for index, spec in enumerate(found.specs)
        ]
        return replace(found, specs=specs, examples=None)

    def arrays(self, feeds: Feeds) -> list[Array]:
        """What the part is called with while the whole model runs on those feeds."""
        values = (value for _, value in leaves(self._arguments(feeds)))
        return [value.cpu().numpy() for value in values if isinstance(value, torch.Tensor)]

    def _arguments(self, feeds: Feeds) -> dict[str, Any]:
        signature = inspect.signature(self.module.forward)

        def catch(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            raise _Caught(dict(signature.bind(*args, **kwargs).arguments))

        hook = self.module.register_forward_pre_hook(catch, with_kwargs=True)
        tensors = [torch.from_numpy(np.array(array)) for array in feeds.values()]
        try:
            with torch.no_grad(), quiet():
                self._whole.results(*tensors)
        except _Caught as caught:
            return caught.arguments
        finally:
            hook.remove()
        raise UsageError(
            f"The model never runs the module {self.path!r} on its inputs",
            hint="Choose a module whose forward is called",
        )


def _freed(spec: TensorSpec, shapes: Sequence[tuple[int, ...]]) -> TensorSpec:
    sizes: list[int | Dim] = []
    for axis, size in enumerate(spec.shape):
        assert isinstance(size, int)
        found = {size, *(shape[axis] for shape in shapes)}
        sizes.append(size if len(found) == 1 else Dim(min(found), max(found)))
    return TensorSpec(spec.name, spec.dtype, tuple(sizes))
