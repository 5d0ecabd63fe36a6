"""Layers and calls that behave otherwise in training, and calls that are random."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from modelport.frontends.preflight.finding import Finding, Place

_RANDOM = frozenset(
    ("rand", "randn", "randint", "randperm", "rand_like", "randn_like", "randint_like", "normal",
     "bernoulli", "multinomial", "poisson", "uniform_", "normal_", "random_", "exponential_",
     "cauchy_", "geometric_", "log_normal_", "bernoulli_", "gumbel_softmax")
)  # fmt: skip
_DROPOUTS = frozenset(
    ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout",
     "feature_dropout", "native_dropout", "dropout_", "alpha_dropout_", "feature_dropout_")
)  # fmt: skip


def random_kind(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str | None:
    """`random`, or `train-mode` for a call that is told to train, `batch-statistics` too."""
    if name in _RANDOM:
        return "random"
    if name in _DROPOUTS:
        default = name.startswith("dropout")
        training = _given(args, kwargs, 2, "train", _given(args, kwargs, 2, "training", default))
        return "train-mode" if training and _given(args, kwargs, 1, "p", 0.5) else None
    if name == "rrelu" and _given(args, kwargs, 3, "training", False):
        return "train-mode"
    if name == "scaled_dot_product_attention" and _given(args, kwargs, 4, "dropout_p", 0.0):
        return "train-mode"
    if name == "batch_norm" and _given(args, kwargs, 5, "training", False):
        return "batch-statistics"
    return None


def _given(
    args: Sequence[Any], kwargs: Mapping[str, Any], position: int, name: str, default: Any
) -> Any:
    return kwargs.get(name, args[position] if len(args) > position else default)


@contextmanager
def resting(module: nn.Module) -> Iterator[list[Finding]]:
    """Switches to inference mode, and back at the end; gives a note for each class in training."""
    before = {part: part.training for part in module.modules()}
    trained = {path: part for path, part in module.named_modules() if part.training}
    try:
        module.eval()
        yield [*_notes(trained), *_stubborn(module)]
    finally:
        for part, training in before.items():
            part.training = training


def _notes(trained: Mapping[str, nn.Module]) -> Iterator[Finding]:
    """One for each class, at the first module of it: a whole net is in training mode, or nothing is."""
    different = {path: part for path, part in trained.items() if _trains_differently(part)}
    counts = Counter(type(part) for part in different.values())
    for path, part in different.items():
        if count := counts.pop(type(part), 0):
            yield Finding(
                "train-mode",
                "note",
                f"{type(part).__name__} is in training mode",
                "Call eval() on the module; modelport does so before it exports",
                module_path=path,
                count=count,
            )


def _stubborn(module: nn.Module) -> Iterator[Finding]:
    for path, part in module.named_modules():
        if part.training and _trains_differently(part):
            yield Finding(
                "train-mode",
                "warning",
                f"{type(part).__name__} stays in training mode after eval()",
                "Let its train() set the mode that it is given",
                module_path=path,
            )


def _trains_differently(part: nn.Module) -> bool:
    if isinstance(part, _DropoutNd):
        return part.p > 0
    if isinstance(part, (_BatchNorm, nn.RReLU)):
        return True
    if isinstance(part, (nn.RNNBase, nn.MultiheadAttention)):
        return part.dropout > 0
    return not type(part).__module__.startswith("torch.") and _reads_training(type(part))


def _reads_training(kind: type[nn.Module]) -> bool:
    code = getattr(inspect.unwrap(kind.forward), "__code__", None)
    return code is not None and "training" in code.co_names


def batch_statistics(place: Place) -> Finding:
    return Finding(
        "train-mode",
        "warning",
        "BatchNorm takes the statistics of the batch, not of the training",
        "Build it with track_running_stats=True, so that a sample's result does not depend on "
        "the others in its batch",
        place.file,
        place.line,
        place.module_path,
    )
