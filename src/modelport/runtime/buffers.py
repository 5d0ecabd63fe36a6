"""Memory of tensors that are gone, for the next ones.

A large block that was given back to the system comes anew page by page. For eight tensors of 3x416x416
that are alive together, this took as long as resizing the pictures and writing their pixels.
"""

from __future__ import annotations

import math
import weakref
from collections import deque

import numpy as np

from modelport.types import Array

LEAST_BYTES = 1 << 17
"""Smaller blocks stay with the process anyway."""
MOST_SIZES = 8
"""Of how many sizes blocks are kept; where every tensor has another size, nothing is gained."""


class Buffers:
    """Gives arrays, and takes their memory back when nobody holds them any more. For many threads.

    Without a lock: memory comes back whenever Python frees an array, also in the middle of a call.

    Args:
        most: blocks of one size that are kept for later.
    """

    def __init__(self, most: int = 16) -> None:
        self._most = most
        self._idle: dict[int, deque[bytearray]] = {}

    def empty(self, shape: tuple[int, ...], dtype: str) -> Array:
        """A C-contiguous array of any content: the caller's, as long as it or a view of it lives."""
        kind = np.dtype(dtype)
        size = math.prod(shape) * kind.itemsize
        if size < LEAST_BYTES:
            return np.empty(shape, kind)
        block = self._block(size)
        flat = np.frombuffer(block, kind)  # the base of all views, for its own base is no array
        weakref.finalize(flat, self._keep, block).atexit = False
        return flat.reshape(shape)

    def _block(self, size: int) -> bytearray:
        try:
            return self._idle[size].pop()
        except (KeyError, IndexError):
            return bytearray(size)

    def _keep(self, block: bytearray) -> None:
        if len(self._idle) >= MOST_SIZES and len(block) not in self._idle:
            self._idle.clear()
        self._idle.setdefault(len(block), deque(maxlen=self._most)).append(block)
