"""The two exporters that the zoo compares: `modelport.export`, and `torch.onnx.export` as it comes."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from torch import nn

from zoo_models.case import Case, Leaf, flattened, leaves_of, rebuilt

Exporter = Callable[[Case, nn.Module, Path], None]
"""Writes the model to a path; raises where it cannot."""


def export_plain(case: Case, module: nn.Module, path: Path) -> None:
    """What a user writes who has no modelport: one call, defaults where there are any."""
    feeds = case.feeds(seed=0)
    named = isinstance(feeds, dict)
    free = rebuilt(case.inputs, _plain_axes(case)) if case.sizes > 1 else None
    torch.onnx.export(
        module,
        () if named else feeds,
        str(path),
        kwargs=feeds if named else None,
        dynamo=True,
        dynamic_shapes=_for_plain(free),
        verbose=False,
    )


def _plain_axes(case: Case) -> Callable[[Leaf, str], dict[int, str] | None]:
    names = free_names(case)

    def axes(leaf: Leaf, path: str) -> dict[int, str] | None:
        found = leaf.free_axes()
        return {axis: names[sizes] for axis, sizes in found.items()} if found else None

    return axes


def _for_plain(free: Any) -> Any:
    """Free axes as torch.onnx.export wants them: None for whatever has none."""
    if isinstance(free, dict) and free and all(isinstance(key, int) for key in free):
        return free
    if isinstance(free, dict):
        return {key: _for_plain(value) for key, value in free.items()}
    if isinstance(free, (list, tuple)):
        parts = [_for_plain(value) for value in free]
        return type(free)(*parts) if hasattr(free, "_fields") else type(free)(parts)
    return None


def export_ours(case: Case, module: nn.Module, path: Path) -> None:
    """`modelport.export` with its own check on."""
    import modelport
    from modelport.frontends import ExportOptions

    options = ExportOptions(**case.options)
    examples = [case.feeds(seed, size) for size in range(case.sizes) for seed in (0, 3)]
    modelport.export(
        module,
        our_inputs(case),
        output=path,
        options=options,
        examples=examples if case.picky else None,
    )


def our_inputs(case: Case) -> Any:
    """A specification for every tensor with a free size, an example for every other."""
    from modelport.types import Dim, TensorSpec

    names = free_names(case)
    generator = torch.Generator().manual_seed(0)

    def put(leaf: Leaf, path: str) -> Any:
        example = leaf.make(generator, 0)
        free = leaf.free_axes()
        if not free:
            return example
        shape: list[Any] = list(example.shape)
        for axis, sizes in free.items():
            shape[axis] = Dim(min(sizes), 2 * max(sizes), names[sizes])
        return TensorSpec(path, str(example.dtype).removeprefix("torch."), tuple(shape))

    return rebuilt(case.inputs, put)


def free_names(case: Case) -> dict[tuple[int, ...], str]:
    """A name for each free size. Axes that take the same sizes in turn share one."""
    names: dict[tuple[int, ...], str] = {}
    for leaf in leaves_of(case.inputs):
        for sizes in leaf.free_axes().values():
            names.setdefault(sizes, f"free{len(names)}")
    return names


SIDES: dict[str, Exporter] = {"plain": export_plain, "ours": export_ours}


NEXT = ".next"
"""Ends the name of an output that is the new value of a buffer, which is an input too."""


class Runner:
    """Runs a file with ONNX Runtime, single-threaded.

    Inputs go in by position, and buffers that became inputs by name: they begin with the values that
    they have in the module, and keep what the last call made of them.
    """

    def __init__(self, path: Path, module: nn.Module) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._inputs = [entry.name for entry in self._session.get_inputs()]
        self._outputs = [entry.name for entry in self._session.get_outputs()]
        self._buffers = {name: value.numpy() for name, value in module.named_buffers()}

    def run(self, feeds: Any, calls: int) -> list[np.ndarray]:
        """The outputs of so many calls in a row, one after the other."""
        tensors = [leaf for leaf in flattened(feeds) if isinstance(leaf, torch.Tensor)]
        state = {name: self._buffers[name] for name in self._inputs if name in self._buffers}
        results = []
        for _ in range(calls):
            paired = {**dict(self._paired(tensors, feeds, list(state))), **state}
            outputs = dict(zip(self._outputs, self._session.run(None, paired), strict=True))
            state = {name: outputs.pop(name + NEXT) for name in state}
            results += outputs.values()
        return results

    def _paired(
        self, tensors: Sequence[torch.Tensor], feeds: Any, state: Sequence[str]
    ) -> Iterator[tuple[str, np.ndarray]]:
        """By name where the graph has the names of the feeds, else by position.

        An exporter may leave out an input that the model does not use, and order them as it likes.
        """
        names = [name for name in self._inputs if name not in state]
        named = dict(_named(feeds))
        if len(names) == len(tensors) and not all(name in named for name in names):
            for name, tensor in zip(names, tensors, strict=True):
                yield name, _real(tensor).numpy()
            return
        for name in names:
            assert name in named, f"The graph asks for {name!r}, which is no input"
            yield name, _real(named[name]).numpy()


def _real(tensor: torch.Tensor) -> torch.Tensor:
    """Graphs take complex numbers as pairs, from both exporters."""
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor


def _named(feeds: Any) -> Iterator[tuple[str, torch.Tensor]]:
    pairs = feeds.items() if isinstance(feeds, dict) else enumerate(feeds)
    return ((str(key), value) for key, value in pairs if isinstance(value, torch.Tensor))


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps the remarks of torch and of model libraries out of the output."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
