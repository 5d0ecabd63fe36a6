"""Memory is used again when nobody can see it any more, and never before."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from modelport.runtime.buffers import LEAST_BYTES, MOST_SIZES, Buffers

SHAPE = (1, 3, 128, 128)


def place(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


def test_arrays_are_what_was_asked_for() -> None:
    for shape, dtype in ((SHAPE, "float32"), ((1, 256, 256, 3), "uint8"), ((2, 2), "float32")):
        array = Buffers().empty(shape, dtype)
        assert (array.shape, array.dtype) == (shape, np.dtype(dtype))
        assert array.flags.c_contiguous
        assert array.flags.writeable
        assert array.flags.aligned


def test_memory_comes_back() -> None:
    buffers = Buffers()
    array = buffers.empty(SHAPE, "float32")
    before = place(array)
    del array
    assert place(buffers.empty(SHAPE, "float32")) == before


def test_what_somebody_holds_is_not_given_to_others() -> None:
    buffers = Buffers()
    array = buffers.empty(SHAPE, "float32")
    array[...] = 7
    corner = array[0, :, ::2, 5:].T  # a view of a view of a view
    del array
    others = [buffers.empty(SHAPE, "float32") for _ in range(4)]
    for other in others:
        other[...] = 3
    assert (corner == 7).all()
    assert len({place(other) for other in others}) == 4


def test_other_sizes_get_other_memory() -> None:
    buffers = Buffers()
    del [buffers.empty(SHAPE, "float32")][0]
    assert buffers.empty((1, 3, 256, 128), "float32").shape == (1, 3, 256, 128)


def test_what_is_kept_has_a_bound() -> None:
    buffers = Buffers(most=3)
    alive = [buffers.empty(SHAPE, "float32") for _ in range(10)]
    alive.clear()
    assert [len(blocks) for blocks in buffers._idle.values()] == [3]
    for more in range(3 * MOST_SIZES):
        buffers.empty((LEAST_BYTES + more,), "uint8")
        assert len(buffers._idle) <= MOST_SIZES


def test_threads_share_it() -> None:
    buffers, together = Buffers(), threading.Barrier(4)

    def work(number: int) -> bool:
        together.wait()
        fine = True
        for _ in range(300):
            array = buffers.empty(SHAPE, "float32")
            array[...] = number
            fine = fine and bool((array == number).all())
        return fine

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(work, range(4)))
