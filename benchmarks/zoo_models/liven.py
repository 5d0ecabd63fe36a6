"""Gives an untrained network weights under which its outputs move with its input.

Fresh weights often prove nothing: a layer scale of 1e-6 hides whole branches, a head of zeros hides
everything, and BatchNorms with the statistics 0 and 1 let signals fade or explode.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from zoo_models.judge import results_of

WEAK, WANTED = 0.3, 0.8
"""Gains of a matrix: below the first it is scaled to the second."""


def liven(module: nn.Module, feeds: Any) -> nn.Module:
    """Redraws what is constant, rescales what is weak, and fits every BatchNorm to its activations.

    Seeded; changes the module, and leaves it in inference mode.
    """
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.is_floating_point() and parameter.numel():
                _redraw(name, parameter, generator)
        _fit_batchnorms(module.eval(), feeds)
        _calm(module.eval(), feeds)
    return module.eval()


def _redraw(name: str, parameter: Tensor, generator: torch.Generator) -> None:
    wide = parameter.numel() > max(parameter.shape, default=1)
    if parameter.max() == parameter.min():
        _redraw_constant(name, parameter, wide, generator)
    elif wide and name.endswith("weight"):
        gain = float(parameter.std()) * math.sqrt(_fan_in(parameter))
        if gain < WEAK:
            parameter.mul_(WANTED / max(gain, 1e-12))
    elif name.endswith("weight") and parameter.abs().mean() < WEAK:  # of a norm
        parameter.uniform_(0.7, 1.3, generator=generator)


def _redraw_constant(name: str, parameter: Tensor, wide: bool, generator: torch.Generator) -> None:
    value = float(parameter.flatten()[0])
    if value == 0 and wide:
        parameter.normal_(0, WANTED / math.sqrt(_fan_in(parameter)), generator=generator)
    elif value == 1 and parameter.numel() > 1:
        parameter.uniform_(0.7, 1.3, generator=generator)
    elif value == 0 and name.endswith(("weight", "gamma", "scale", "gain", "alpha")):
        parameter.uniform_(0.3, 0.8, generator=generator)
    elif value == 0:
        parameter.normal_(0, 0.03, generator=generator)
    elif abs(value) < 0.2:  # a layer scale
        parameter.uniform_(0.3, 0.8, generator=generator)


def _fan_in(parameter: Tensor) -> int:
    return max(1, parameter.numel() // parameter.shape[0])


def _fit_batchnorms(module: nn.Module, feeds: Any) -> None:
    """Runs the module once with its BatchNorms in training mode, so that they take averages."""
    norms = list(_batchnorms(module))
    hooks = []
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average
        hooks.append(norm.register_forward_pre_hook(_train_where_possible))
    if norms:
        call(module, feeds)
    for norm, hook in zip(norms, hooks, strict=True):
        hook.remove()
        # A channel that hardly varied in this small batch would blow up other inputs.
        norm.running_var.clamp_(min=0.1 * float(norm.running_var.mean()))
        norm.momentum = 0.1
        norm.eval()


CALM = 2e-4
"""Largest share of the outputs that rounding may make up."""

MOST_CALMED = 16


def _calm(module: nn.Module, feeds: Any) -> None:
    """Lowers what BatchNorms pass on until rounding stays small.

    Fitted to one small batch, some networks are chaotic: the last bit of a weight changes everything,
    and no two correct programs agree.
    """
    norms, others = list(_batchnorms(module)), [_shuffled(feeds, seed) for seed in (1, 2)]
    for _ in range(MOST_CALMED if norms else 0):
        if max(_rounding(module, other) for other in others) < CALM:
            return
        for norm in norms:
            norm.running_var.mul_(1.25)


def _rounding(module: nn.Module, feeds: Any) -> float:
    """The largest relative difference between single and double precision; 0 where there is no telling."""
    try:
        single = results_of(call(copy.deepcopy(module), feeds))
        double = results_of(call(copy.deepcopy(module).double(), _doubled(feeds)))
        pairs = zip(double, single, strict=True)
        found = [
            float(np.abs(exact - own).max()) / max(float(np.abs(exact).max()), 1e-12)
            for exact, own in pairs
            if isinstance(exact, np.ndarray) and exact.dtype.kind == "f" and exact.size
        ]
    except Exception:  # it asks for float32 by name, or gives other sizes
        return 0.0
    return max(found, default=0.0)


def _doubled(feeds: Any) -> Any:
    return _changed(feeds, lambda tensor: tensor.double())


def _shuffled(feeds: Any, seed: int) -> Any:
    """Other inputs of the same numbers: the BatchNorms have been fitted to these."""
    generator = torch.Generator().manual_seed(seed)

    def shuffle(tensor: Tensor) -> Tensor:
        order = torch.randperm(tensor.numel(), generator=generator)
        return tensor.flatten()[order].reshape(tensor.shape)

    return _changed(feeds, shuffle)


def _changed(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same nest with other tensors of floating-point numbers."""
    if isinstance(value, Tensor):
        return change(value) if value.dtype == torch.float32 else value
    if isinstance(value, dict):
        return {key: _changed(part, change) for key, part in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_changed(part, change) for part in value)
    return value


def _train_where_possible(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    """One value to a channel has no variance."""
    norm.train(inputs[0].numel() > inputs[0].shape[1])


def _batchnorms(module: nn.Module) -> Iterator[nn.modules.batchnorm._BatchNorm]:
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.track_running_stats:
            yield part


def call(module: nn.Module, feeds: Any) -> Any:
    """Calls a module with inputs by name or by position."""
    return module(**feeds) if isinstance(feeds, dict) else module(*feeds)
