"""Runs what PyTorch compiled, in this process."""

from __future__ import annotations

import threading
import warnings
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from modelport.engines.base import Session
from modelport.types import Array, Artifact, Feeds, Outputs, TensorSpec


class TorchSession(Session):
    """A subclass loads its library's file in `_open` and calls it in `_call`."""

    def __init__(self, artifact: Artifact, threads: int) -> None:
        super().__init__(artifact.signature, artifact.engine)
        self._threads = threads
        self._copies = bool(artifact.options.get("changes_inputs"))
        with THREADS.set_to(threads), quiet():
            self._open_files(artifact)

    @abstractmethod
    def _open_files(self, artifact: Artifact) -> None: ...

    @abstractmethod
    def _call(self, tensors: Sequence[torch.Tensor]) -> Any: ...

    def _run(self, feeds: Feeds) -> Outputs:
        tensors = [self._tensor(feeds[spec.name]) for spec in self.signature.inputs]
        with THREADS.set_to(self._threads), torch.inference_mode():
            results = self._call(tensors)
        results = results if isinstance(results, (list, tuple)) else (results,)
        pairs = zip(self.signature.outputs, results, strict=True)
        return {spec.name: _array(result, spec) for spec, result in pairs}

    def _tensor(self, array: Array) -> torch.Tensor:
        """The caller's own memory, but for what the program writes into, or torch takes it for."""
        return torch.from_numpy(
            array.copy() if self._copies or not array.flags.writeable else array
        )


def _array(result: Any, spec: TensorSpec) -> Array:
    """A copy, for a result may be an input or a weight."""
    tensor = torch.as_tensor(result).to(getattr(torch, spec.dtype))
    return tensor.numpy().copy()


class _Threads:
    """torch has one number of threads for the whole process: ours holds while a session runs, and no
    longer. Runs that overlap in several Python threads may see the number of another one meanwhile.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running = 0
        self._theirs = 0

    @contextmanager
    def set_to(self, threads: int) -> Iterator[None]:
        if not threads:
            yield
            return
        with self._lock:
            if not self._running:
                self._theirs = torch.get_num_threads()
            self._running += 1
            torch.set_num_threads(threads)
        try:
            yield
        finally:
            with self._lock:
                self._running -= 1
                torch.set_num_threads(self._theirs)


THREADS = _Threads()


@contextmanager
def quiet() -> Iterator[None]:
    """torch deprecates what it still offers; whoever opens a bundle can do nothing about that."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
